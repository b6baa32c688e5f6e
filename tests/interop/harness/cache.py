"""Where downloads and build products live, and rebuilding them only when their inputs change.

Nothing is written into the source tree: a checkout stays clean and a second run is fast.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess

INTEROP = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = INTEROP.parent.parent

# Maven's goal that copies jars, by its full name: the same version everywhere.
COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class Missing(Exception):
    """A tool this machine does not have; the suite is skipped with this reason."""


class BuildFailed(Exception):
    """A client program that could not be built; the suite fails."""


def cache_dir():
    """The cache directory, shared with the scripts in `scripts/`."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = pathlib.Path(base) / "zabd"
    path.mkdir(parents=True, exist_ok=True)
    return path


def cargo_target_dir():
    """Cargo's target directory, as `scripts/test` sets it."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or cache_dir() / "target")


def tool(name):
    """The path of an executable, or `Missing`."""
    path = shutil.which(name)
    if path is None:
        raise Missing(f"no {name} on PATH")
    return path


def run(command, cwd=None, env=None, timeout=900):
    """Runs a build command; its output is shown only if it fails."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=env,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{command[0]} took longer than {timeout} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-40:])
        raise BuildFailed(f"{' '.join(map(str, command))} exited {done.returncode}\n{tail}")
    return done.stdout


def built(name, inputs, build):
    """The directory `name` in the cache, (re)built by `build(directory)` when an input changed.

    `inputs` are files, or strings such as a version. The stamp is written last, so that an
    interrupted build is done again.
    """
    digest = hashlib.sha256()
    for item in inputs:
        data = item.read_bytes() if isinstance(item, pathlib.Path) else str(item).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    directory = cache_dir() / name
    stamp = directory / ".stamp"
    # Two suites may need the same build, and two runs may share the cache.
    with open(cache_dir() / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            return directory
        if directory.exists():
            shutil.rmtree(directory)
        directory.mkdir(parents=True)
        build(directory)
        stamp.write_text(digest.hexdigest())
    return directory
