"""Follows a namespace of the configuration centre: follow.py HOSTS NODE INSTANCE KEY FILE [ADDRESS [NAME=VALUE...]].

ADDRESS and labels are what rules of grey releases go by, besides the instance's name. Appends a line `REVISION VALUE` of the key to FILE whenever there is something else to take, as docs/config-centre.md
says, until it is killed.
"""

import json
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError


def applies(rule, instance, address, labels):
    """Says whether a grey release is for this instance; what is not in the rule is for nobody."""
    return (
        instance in rule.get("instances", [])
        or (address != "" and address in rule.get("addresses", []))
        or any(f"{name}={value}" in rule.get("labels", []) for name, value in labels.items())
    )


def hold(client, node, holder):
    """Tells the others, by a node of this session: one of an earlier run would go with that."""
    stat = client.exists(node)
    if stat and stat.owner_session_id == client.client_id[0]:
        client.set(node, holder)
        return
    if stat:
        client.delete(node)
    client.create(node, holder, ephemeral=True)


def main():
    """Follows."""
    hosts, node, instance, key, file, *rest = sys.argv[1:]
    address = rest[0] if rest else ""
    labels = dict(label.split("=", 1) for label in rest[1:])
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
                rule = grey.pop("rule")
                document = grey if applies(rule, instance, address, labels) else None
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
            holder = json.dumps({"revision": document["revision"], "address": address, "labels": labels}).encode()
            hold(client, f"{node}/holders/{instance}", holder)
        changed.wait()


main()
