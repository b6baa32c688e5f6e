"""A pytest plugin that sends kazoo's clients through one server of the ensemble that kazoo starts.

SUITE_THROUGH=follower or observer: the clients get the address of a server of that role in place of all
addresses, and the ensemble stays up from class to class. Without it nothing is changed.
"""

import os
import re
import socket
import time

from kazoo.testing.harness import KazooTestCase, KazooTestHarness

PATIENCE_S = 30
# Stops servers, whoever they are, and looks for one that is left.
NEEDS_ALL = "TestReadOnlyMode"


def mode(server):
    """The mode in which a server serves, or None."""
    try:
        with socket.create_connection((server.host, server.client_port), timeout=2) as connection:
            connection.sendall(b"srvr")
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError:
        return None
    found = re.search(rb"^Mode: (\S+)$", answer, re.MULTILINE)
    return found and found.group(1).decode()


def servers(harness):
    """The address of a server of the role, once there is one."""
    if type(harness).__name__ == NEEDS_ALL:
        return ",".join(server.address for server in harness.cluster)
    role = os.environ["SUITE_THROUGH"]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        # The last one: some tests stop the first.
        for server in reversed(list(harness.cluster)):
            if mode(server) == role:
                return server.address
        time.sleep(0.05)
    raise TimeoutError(f"no server became {role}")


def pytest_configure():
    """Takes the place of the harness's own list of addresses."""
    if os.environ.get("SUITE_THROUGH"):
        KazooTestHarness.servers = property(servers)
        # The harness would start four servers anew for each of some forty classes.
        KazooTestCase.tearDownClass = classmethod(lambda cls: None)
