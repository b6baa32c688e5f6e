#!/usr/bin/env python3
"""Becomes a program on another library that uses recipes: recipes.py kazoo|java|c PROGRAM ARGUMENTS.

PROGRAM is a file of `recipes/` without its ending; tests/tests/recipes runs it beside zab, tests/tests/rolling_move.rs
while servers are exchanged.
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


def c_program(program):
    """Compiles one; returns its path."""
    source = HERE / f"{program}.c"
    program_suites.c_library()

    def build(directory):
        cache.run([cache.tool("gcc"), "-std=gnu11", "-Wall", "-Wextra", "-O1", "-g", "-DTHREADED",
                   source, "-lzookeeper_mt", "-lpthread", "-o", directory / program])

    return cache.built(f"c-{program}", [source], build) / program


def main():
    """Builds what is not built, and becomes the program."""
    kind, program, *arguments = sys.argv[1:]
    if kind == "kazoo":
        command = [kazoo_suite.venv_python(), HERE / f"{program}.py"]
    elif kind == "c":
        command = [c_program(program)]
    else:
        command = [cache.tool("java"), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                   "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", java_classes(),
                   program]
    os.execv(command[0], [str(part) for part in [*command, *arguments]])


main()
