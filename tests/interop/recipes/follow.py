"""Follows a namespace of the configuration centre: follow.py HOSTS NODE INSTANCE KEY FILE.

Appends a line `REVISION VALUE` of the key to FILE whenever there is something else to take, as docs/config-centre.md
says, until it is killed.
"""

import json
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError


def main():
    """Follows."""
    hosts, node, instance, key, file = sys.argv[1:]
    client = KazooClient(hosts, timeout=10.0)
    client.start(timeout=30)
    client.ensure_path(f"{node}/holders")
    changed = threading.Event()
    taken = None
    while True:
        changed.clear()
        document = None
        if client.exists(f"{node}/grey", watch=lambda event: changed.set()):
            try:
                grey = json.loads(client.get(f"{node}/grey")[0])
                document = grey if instance in grey["rule"]["instances"] else None
                if document is not None:
                    del document["rule"]
            except NoNodeError:
                pass
        data = client.get(node, watch=lambda event: changed.set())[0]
        if document is None and data:
            document = json.loads(data)
        if document is not None and document != taken:
            taken = document
            value = document["values"][key]["value"]
            with open(file, "a", encoding="utf-8") as out:
                out.write(f"{document['revision']} {value}\n")
            holder = json.dumps({"revision": document["revision"], "address": "", "labels": {}}).encode()
            if client.exists(f"{node}/holders/{instance}"):
                client.set(f"{node}/holders/{instance}", holder)
            else:
                client.create(f"{node}/holders/{instance}", holder, ephemeral=True)
        changed.wait()


main()
