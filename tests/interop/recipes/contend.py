"""Holds something of kazoo's again and again, and writes down when: contend.py HOSTS KIND PATH ROUNDS FILE NAME.

KIND is lock, read, write, election, or as-curator or as-latch: kazoo's lock under the names of Curator's. A line
`enter NAME TOKEN` goes to FILE when it is held, and `leave NAME TOKEN` before it is given up. A round that comes to
nothing as the connection or the session is lost is begun again, with a new session.
"""

import logging
import os
import sys
import time

from kazoo.client import KazooClient
from kazoo.exceptions import CancelledError, KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.recipe.lock import Lock

HOLD_S = 0.01


class AsCurator(Lock):
    """Excludes Curator's InterProcessMutex."""

    _NODE_NAME = "-lock-"
    _EXCLUDE_NAMES = ["-lock-"]


class AsLatch(Lock):
    """Stands in one line with Curator's LeaderLatch."""

    _NODE_NAME = "-latch-"
    _EXCLUDE_NAMES = ["-latch-"]


def append(file, line):
    """One write, so that lines of several processes stay whole and in order."""
    os.write(file, f"{line}\n".encode())


def connected(hosts):
    """A client with a session of its own."""
    client = KazooClient(hosts, timeout=4.0)
    client.start(timeout=60)
    return client


def main():
    """Goes through its rounds."""
    hosts, kind, path, rounds, log, name = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    client = connected(hosts)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    mark = "r" if kind == "read" else "w"

    def hold(lock):
        # A node that is there belongs to this session, which lives for some seconds more.
        token = client.get(f"{path}/{lock.node}")[1].czxid
        append(file, f"enter {name} {token} {mark}")
        time.sleep(HOLD_S)
        append(file, f"leave {name} {token} {mark}")

    def once():
        if kind == "election":
            election = client.Election(path, name)
            election.run(hold, election.lock)
            return
        lock = {
            "lock": client.Lock,
            "read": client.ReadLock,
            "write": client.WriteLock,
            "as-curator": lambda path, name: AsCurator(client, path, name),
            "as-latch": lambda path, name: AsLatch(client, path, name),
        }[kind](path, name)
        with lock:
            hold(lock)

    left = int(rounds)
    while left > 0:
        try:
            once()
            left -= 1
        except (KazooException, KazooTimeoutError, CancelledError, ConnectionError):
            client.stop()
            client.close()
            client = connected(hosts)
    client.stop()


main()
