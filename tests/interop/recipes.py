#!/usr/bin/env python3
"""Becomes a program on another library that uses the same recipes as zab: recipes.py kazoo|java PROGRAM ARGUMENTS.

PROGRAM is a file of `recipes/` without its ending; tests/tests/recipes.rs runs it beside zab.
"""

import os
import sys

from harness import cache, kazoo_suite, program_suites

HERE = cache.INTEROP / "recipes"


def java_classes():
    """Compiles the programs; returns the class path."""
    libraries = program_suites.java_libraries()
    files = program_suites.sources(HERE, "*.java")

    def build(directory):
        cache.run([cache.tool("javac"), "--release", "17", "-d", directory, "-cp", f"{libraries}/*",
                   *files])

    return f"{cache.built('java-recipes', files, build)}:{libraries}/*"


def main():
    """Builds what is not built, and becomes the program."""
    kind, program, *arguments = sys.argv[1:]
    if kind == "kazoo":
        command = [kazoo_suite.venv_python(), HERE / f"{program}.py"]
    else:
        command = [cache.tool("java"), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                   "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", java_classes(),
                   program]
    os.execv(command[0], [str(part) for part in [*command, *arguments]])


main()
