"""Follows a service, as docs/naming.md says: discover.py HOSTS BASE SERVICE FILE.

Appends a line with ID=ADDRESS:PORT of each instance that can be used to FILE whenever there is another state, until it is
killed.
"""

import json
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError


def read(client, node, changed):
    """The instance at a node; none if it is gone, or something else."""
    try:
        data = client.get(node, watch=lambda event: changed.set())[0]
        instance = json.loads(data)
        return instance if isinstance(instance, dict) else None
    except (NoNodeError, ValueError):
        return None


def main():
    """Follows."""
    hosts, base, service, file = sys.argv[1:]
    client = KazooClient(hosts, timeout=10.0)
    client.start(timeout=30)
    node = f"{base}/{service}"
    changed = threading.Event()
    told = None
    while True:
        changed.clear()
        try:
            names = client.get_children(node, watch=lambda event: changed.set())
        except NoNodeError:
            names = []
            if client.exists(node, watch=lambda event: changed.set()):
                continue
        found = []
        for name in sorted(names):
            instance = read(client, f"{node}/{name}", changed)
            if instance and instance.get("enabled", True) and instance.get("address"):
                found.append(f"{name}={instance['address']}:{instance.get('port')}")
        line = " ".join(found)
        if line != told:
            told = line
            with open(file, "a", encoding="utf-8") as out:
                out.write(line + "\n")
        changed.wait()


main()
