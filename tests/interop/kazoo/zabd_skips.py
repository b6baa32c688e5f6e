"""A pytest plugin that skips what `skips.txt` and the list for the kind of server say.

It fails on an entry that matches no test.
"""

import os
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parent


def entries():
    """Triples of the list, a test name or prefix, and the reason."""
    role = os.environ.get("SUITE_THROUGH")
    kinds = ("ensemble", role) if role else ("standalone",)
    for file in ("skips.txt", *(f"skips_{kind}.txt" for kind in kinds)):
        if not (FOLDER / file).exists():
            continue
        text = (FOLDER / file).read_text(encoding="utf-8")
        for line in text.splitlines():
            if line.strip() and not line.startswith("#"):
                name, reason = line.split(maxsplit=1)
                yield file, name, reason


def pytest_collection_modifyitems(items):
    """Marks the listed tests."""
    for file, name, reason in entries():
        matched = False
        for item in items:
            test = item.nodeid.rpartition("/")[2]
            if test == name or test.startswith(name + "::"):
                item.add_marker(pytest.mark.skip(reason=reason))
                matched = True
        if not matched:
            raise pytest.UsageError(f"{file}: no test is called {name}")
