"""kazoo's own test suite, from its source package on PyPI.

Its harness starts `java ... QuorumPeerMain zoo.cfg`; the shim `kazoo/shim/java`, first on PATH,
starts the server under test instead.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree

from . import cache
from .ensemble import VOTERS
from .server import APACHE_VERSION, apache_jars, free_port, zabd_binary

# kazoo 2.11 still builds certificates with pyOpenSSL calls that were removed in 25.
REQUIREMENTS = [
    "kazoo==2.11.0",
    "pytest==8.4.2",
    "pytest-timeout==2.4.0",
    "gevent==25.9.1",
    "eventlet==0.40.4",
    "objgraph==3.6.2",
    "pyjks==20.0.0",
    "pyopenssl==24.3.0",
    "setuptools<81",
]
TIMEOUT_S = 900
KAZOO = cache.INTEROP / "kazoo"


def venv_python():
    """The interpreter of the environment that has kazoo."""

    def build(directory):
        try:
            cache.run([sys.executable, "-m", "venv", directory])
        except cache.BuildFailed as error:
            raise cache.Missing(f"python3 -m venv does not work: {error}") from error
        cache.run([directory / "bin" / "pip", "install", "-q", "--no-binary", "kazoo",
                   *REQUIREMENTS])

    return cache.built("kazoo", REQUIREMENTS, build) / "bin" / "python"


def prepare():
    """Installs kazoo and what its tests import."""
    venv_python()


def cluster(through):
    """What kazoo's harness is to start: one server, or three voters and an observer behind one of them."""
    if through is None:
        return {"ZOOKEEPER_CLUSTER_SIZE": "1"}
    return {
        "ZOOKEEPER_CLUSTER_SIZE": str(VOTERS + 1),
        "ZOOKEEPER_OBSERVER_START_ID": str(VOTERS + 1),
        "SUITE_THROUGH": through,
    }


def run(server, report):
    """Runs pytest and reads its JUnit file."""
    python = venv_python()
    # A server that does not start at all would cost each of hundreds of tests its timeout.
    server.start()
    server.stop()
    server.close(keep=True)
    results = server.directory / "junit.xml"
    log = server.directory / "pytest.log"
    env = dict(
        os.environ,
        PATH=f"{KAZOO / 'shim'}{os.pathsep}{os.environ['PATH']}",
        PYTHONPATH=str(KAZOO),
        PYTHONDONTWRITEBYTECODE="1",
        # Also compares the version that `srvr` names with ZOOKEEPER_VERSION.
        CI="true",
        ZOOKEEPER_VERSION=APACHE_VERSION,
        **cluster(server.through),
        ZOOKEEPER_PORT_OFFSET=str(free_port()),
        ZOOKEEPER_CLASSPATH="set-by-the-shim",
        TMPDIR=str(server.directory),
        SHIM_SERVER=server.kind,
        SHIM_LOG=str(server.log_file),
    )
    if server.kind == "apache":
        env["SHIM_CLASSPATH"] = f"{apache_jars()}/*"
        env["SHIM_COMMAND"] = cache.tool("java")
    else:
        env["SHIM_COMMAND"] = zabd_binary()
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [python, "-m", "pytest", "--pyargs", "kazoo.tests", "-q", "-p", "no:cacheprovider",
             "-p", "zabd_skips", "-p", "zabd_through", "--timeout", "120", "--tb", "short", "--show-capture", "no",
             "--durations", "10", "--junitxml", results],
            cwd=server.directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            report.fails("pytest", f"did not end within {TIMEOUT_S} s")
        finally:
            # The server that kazoo started is in the same process group.
            try:
                os.killpg(process.pid, 9)
            except ProcessLookupError:
                pass
            process.wait()
    if results.exists():
        read_junit(results, report)
    elif not report.failed:
        report.fails("pytest", f"exited with {process.returncode} and wrote no results")
    if process.returncode not in (0, 1) and not report.failed:
        report.fails("pytest", f"exited with {process.returncode}")
    # Clients that outlive their tests go on reporting that no server is there.
    return [line for line in log.read_text(errors="replace").splitlines()
            if not line.startswith(("Connection dropped", "Transition to"))]


def read_junit(path, report):
    """Adds the results in a JUnit file to the report."""
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}".removeprefix("kazoo.tests.")
        outcome = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        if outcome is None:
            report.passes(name)
        elif outcome.tag == "skipped":
            report.skips(name, outcome.get("message"))
        else:
            report.fails(name, (outcome.get("message") or "").splitlines()[0][:200])
