"""A pytest plugin that skips what `skips.txt` lists, and fails on an entry that matches no test."""

import pathlib

import pytest


def entries():
    """Pairs of a test name or prefix, and the reason."""
    text = (pathlib.Path(__file__).parent / "skips.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, reason = line.split(maxsplit=1)
            yield name, reason


def pytest_collection_modifyitems(items):
    """Marks the listed tests."""
    for name, reason in entries():
        matched = False
        for item in items:
            test = item.nodeid.rpartition("/")[2]
            if test == name or test.startswith(name + "::"):
                item.add_marker(pytest.mark.skip(reason=reason))
                matched = True
        if not matched:
            raise pytest.UsageError(f"skips.txt: no test is called {name}")
