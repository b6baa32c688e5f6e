"""One server, zabd or Apache ZooKeeper, started from the same zoo.cfg."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from . import cache

APACHE_VERSION = "3.9.5"

# Session timeouts are bounded by 2 and 20 ticks; a short tick lets a test wait for an expiry, the
# explicit maximum lets another keep a session through a restart.
CONFIG = {
    "tickTime": "500",
    "maxSessionTimeout": "60000",
    "maxClientCnxns": "0",
    "4lw.commands.whitelist": "*",
    "admin.enableServer": "false",
    "extendedTypesEnabled": "true",
    "enforceQuota": "true",
    "znode.container.checkIntervalMs": "1000",
    # The digest of `super:super-secret`.
    "DigestAuthenticationProvider.superDigest": "super:2KCAOlea08rlrYvOZvQwvrr82Jc=",
}

# Java reads these only as system properties (they have no `zookeeper.` prefix).
JAVA_PROPERTIES = ["-Dznode.container.checkIntervalMs=1000"]

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


class ServerFailed(Exception):
    """The server did not start, stop or stay up."""


def free_port():
    """A loopback port free at this moment, below the range from which clients get theirs."""
    for _ in range(200):
        port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerFailed("no free port found")


def apache_jars():
    """The directory of Apache ZooKeeper's jars, fetched by Maven."""
    cache.tool("java")
    pom = cache.INTEROP / "apache" / "pom.xml"

    def build(directory):
        mvn = cache.tool("mvn")
        cache.run(
            [mvn, "-q", "-B", "-f", pom, cache.COPY_DEPENDENCIES,
             f"-DoutputDirectory={directory}"],
        )

    return cache.built("apache", [pom], build)


def apache_command():
    """The command that starts Apache ZooKeeper, up to the configuration file."""
    return [
        cache.tool("java"), "-Xmx512m", "-Dfile.encoding=UTF-8", *JAVA_PROPERTIES,
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
        "-cp", f"{apache_jars()}/*", "org.apache.zookeeper.server.quorum.QuorumPeerMain",
    ]


def zabd_binary():
    """The zabd to test: `$ZABD_BIN`, else the release build, else the debug build."""
    named = os.environ.get("ZABD_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise ServerFailed(f"ZABD_BIN={named} is not an executable")
        return named
    for profile in ("release", "debug"):
        candidate = cache.cargo_target_dir() / profile / "zabd"
        if candidate.exists():
            return str(candidate)
    raise ServerFailed("no zabd found: build it with `cargo build --release` or set ZABD_BIN")


def zab_binary():
    """The zab to test: `$ZAB_BIN`, else the one beside zabd."""
    found = os.environ.get("ZAB_BIN") or os.path.join(os.path.dirname(zabd_binary()), "zab")
    if not os.access(found, os.X_OK):
        raise ServerFailed(f"{found} is not an executable: build zab or set ZAB_BIN")
    return os.path.abspath(found)


def server_command(kind):
    """The command that starts a server of this kind, up to the configuration file."""
    return apache_command() if kind == "apache" else [zabd_binary()]


def four_letter_word(port, word, timeout_s=2.0):
    """The answer to a four-letter word, or None when there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(word.encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError:
        return None
    return answer.decode(errors="replace")


def mode(port):
    """The mode in which a server serves (`standalone`, `leader`, ...), or None when it does not."""
    found = re.search(r"^Mode: (\S+)$", four_letter_word(port, "srvr") or "", re.MULTILINE)
    return found.group(1) if found else None


class Server:
    """A server with a data directory of its own, which survives stop, kill and start."""

    # Beyond what a suite asks for, the role that the server has in an ensemble: none.
    through = None

    # What /zookeeper/config says: nothing, as it stands alone.
    members = ""

    def __init__(self, kind, label, config=None, myid=None):
        self.kind = kind
        self.port = free_port()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"zabd-interop-{label}-"))
        (self.directory / "data").mkdir()
        if myid is not None:
            (self.directory / "data" / "myid").write_text(f"{myid}\n")
        self.config_file = self.directory / "zoo.cfg"
        lines = dict(CONFIG, **(config or {}))
        lines["dataDir"] = str(self.directory / "data")
        lines["clientPort"] = str(self.port)
        lines["clientPortAddress"] = "127.0.0.1"
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        self.config_file.write_text(text)
        self.log_file = self.directory / "server.log"
        self.process = None
        self.starts = 0
        self._command = server_command(kind)
        # A client program may ask for a restart while the runner is stopping it.
        self._lock = threading.RLock()

    @property
    def address(self):
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts the server and waits until it serves."""
        self.spawn()
        self.wait_until_serving()

    def spawn(self):
        """Starts the server and does not wait: a member of an ensemble cannot serve without others."""
        with self._lock:
            if self.process is not None:
                raise ServerFailed("started twice")
            with open(self.log_file, "ab") as log:
                log.write(f"==== start {self.starts}\n".encode())
                log.flush()
                self.process = subprocess.Popen(
                    [*self._command, str(self.config_file)],
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            self.starts += 1

    def wait_until_serving(self):
        """Waits until the server serves, and returns its mode."""
        with self._lock:
            deadline = time.monotonic() + START_TIMEOUT_S
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    code, self.process = self.process.returncode, None
                    raise ServerFailed(f"server exited with {code} while starting")
                role = mode(self.port)
                if role is not None:
                    return role
                time.sleep(0.05)
            raise ServerFailed(f"server did not serve within {START_TIMEOUT_S} s")

    def stop(self):
        """SIGTERM; the server must end by itself in time, and not by a fault of its own."""
        with self._lock:
            self._check_up()
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                self.process = None
                raise ServerFailed(f"server did not end within {STOP_TIMEOUT_S} s of SIGTERM")
            self.process = None
            # A JVM reports the signal it handled; zabd ends cleanly.
            allowed = (0, 143, -signal.SIGTERM) if self.kind == "apache" else (0,)
            if code not in allowed:
                raise ServerFailed(f"server exited with {code} on SIGTERM")

    def kill(self):
        """SIGKILL."""
        with self._lock:
            self._check_up()
            self.process.kill()
            self.process.wait()
            self.process = None

    def _check_up(self):
        if self.process is None:
            raise ServerFailed("server is not running")
        if self.process.poll() is not None:
            code, self.process = self.process.returncode, None
            raise ServerFailed(f"server had exited with {code} by itself")

    def close(self, keep):
        """Ends the server whatever its state, and removes its directory unless it is to be kept."""
        with self._lock:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
                self.process = None
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def log_tail(self, lines=40):
        """The end of the server's log."""
        if not self.log_file.exists():
            return ""
        text = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(text[-lines:])
