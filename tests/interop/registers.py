#!/usr/bin/env python3
"""Becomes a client program that records a history: registers.py kazoo|java HOSTS FILE CLIENTS FIRST.

tests/tests/netns.rs runs it beside its own clients; `kazoo/registers.py` says what the arguments mean.
"""

import os
import sys

from harness import cache, kazoo_suite, program_suites


def main():
    """Builds what is not built, and becomes the program."""
    kind, *arguments = sys.argv[1:]
    if kind == "kazoo":
        command = [kazoo_suite.venv_python(), kazoo_suite.KAZOO / "registers.py"]
    else:
        # Names are looked up anew: servers may come back with other addresses.
        command = [cache.tool("java"), "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
                   "-Dsun.net.inetaddr.ttl=0", "-cp", program_suites.java_classes(),
                   "zabd.interop.Registers"]
    os.execv(command[0], [str(part) for part in [*command, *arguments]])


main()
