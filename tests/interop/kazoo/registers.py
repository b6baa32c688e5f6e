"""Reads, writes, and compares and sets znodes through kazoo, and writes down what it was told and when.

registers.py HOSTS FILE CLIENTS FIRST: so many clients, numbered from FIRST. A line on standard input is
the number of the page of registers to go on with; at its end the history goes to FILE, as
tests/linearizability reads it.
"""

import json
import logging
import random
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, KazooException, NoNodeError

REGISTERS = 3
TIMEOUT_S = 6.0
PATIENCE_S = 1.0
REST_S = 0.01

page = 0
stop = threading.Event()


class Client:
    """One session; what it did is in `operations`."""

    def __init__(self, hosts, number):
        self.number = number
        self.kazoo = KazooClient(hosts, timeout=TIMEOUT_S, connection_retry={"max_tries": -1})
        self.random = random.Random(number)
        self.known = {}
        self.operations = []
        self.written = 0

    def run(self):
        """Goes on until the end."""
        self.kazoo.start_async()
        while not stop.is_set():
            if not self.kazoo.connected:
                time.sleep(0.02)
                continue
            self.operate(f"/registers/{page}-{self.random.randrange(REGISTERS)}")
            time.sleep(REST_S)
        self.kazoo.stop()

    def operate(self, key):
        """One operation, with its outcome."""
        choice = self.random.randrange(10)
        operation = {"client": self.number, "key": key, "if": 0, "version": 0, "outcome": "unknown"}
        if choice < 4:
            operation["op"] = "read"
        else:
            self.written += 1
            operation["value"] = f"{self.number}.{self.written}"
            operation["op"] = "cas" if choice < 8 and key in self.known else "write"
            operation["if"] = self.known[key] if operation["op"] == "cas" else 0
        operation["call"] = time.monotonic_ns()
        operation["return"] = 0
        try:
            if operation["op"] == "read":
                synced, read = self.kazoo.sync_async(key), self.kazoo.get_async(key)
                synced.get(timeout=PATIENCE_S)
                value, stat = read.get(timeout=PATIENCE_S)
                operation["value"] = value.decode()
            else:
                version = operation["if"] if operation["op"] == "cas" else -1
                stat = self.kazoo.set_async(key, operation["value"].encode(), version).get(
                    timeout=PATIENCE_S)
            operation["outcome"] = "done"
            operation["version"] = self.known[key] = stat.version
        except BadVersionError:
            operation["outcome"] = "refused"
            del self.known[key]
        except NoNodeError:
            raise
        except (KazooException, self.kazoo.handler.timeout_exception):
            pass  # Nobody knows; kazoo finds another server.
        operation["return"] = time.monotonic_ns()
        if operation["op"] != "read" or operation["outcome"] == "done":
            self.operations.append(operation)


def main():
    """Starts the clients, follows standard input, writes the history."""
    global page
    logging.disable(logging.CRITICAL)
    hosts, file, count, first = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    clients = [Client(hosts, first + number) for number in range(count)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for line in sys.stdin:
        page = int(line)
    stop.set()
    for thread in threads:
        thread.join()
    with open(file, "w", encoding="utf-8") as out:
        for client in clients:
            for operation in client.operations:
                out.write(json.dumps(operation) + "\n")


main()
