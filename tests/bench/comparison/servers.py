"""zabd, Apache ZooKeeper and the limits: servers with a data directory each, alone or three together."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

# Of the tests with stock clients, which know where Apache ZooKeeper is.
from harness import cache, server as interop

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60
HEAP = {1: "2g", 3: "1g"}


class ServersFailed(Exception):
    """Servers did not start, stop or do what a row needs."""


class Process:
    """One server: a process that comes and goes, on a directory that stays."""

    def __init__(self, command, directory, port):
        self.command = command
        self.directory = directory
        self.port = port
        self.process = None
        self.cpu_before_s = 0.0

    def start(self):
        """Starts the process and does not wait for it to serve."""
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def running(self):
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    def end(self, number=signal.SIGKILL):
        """Ends the process with a signal and waits for it."""
        if self.process is None:
            return
        self.cpu_before_s = self.cpu_s()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def word(self, word):
        """The answer to a four-letter word, or an empty one."""
        return interop.four_letter_word(self.port, word) or ""

    def mode(self):
        """`leader`, `follower`, `standalone`, or None if it does not serve."""
        for line in self.word("srvr").splitlines():
            if line.startswith("Mode: "):
                return line[len("Mode: "):]
        return None

    def connections(self):
        """How many clients are connected."""
        for line in self.word("srvr").splitlines():
            if line.startswith("Connections: "):
                return int(line.split()[1])
        return 0

    def cpu_s(self):
        """Processor seconds over all runs of this server."""
        if not self.running():
            return self.cpu_before_s
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = stat.rsplit(")", 1)[1].split()
        return self.cpu_before_s + (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def resident_bytes(self):
        """Resident memory of the process."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def log_tail(self):
        """The end of what it has said."""
        log = self.directory / "server.log"
        if not log.exists():
            return ""
        return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


class Cluster:
    """Servers of one kind that belong together."""

    def __init__(self, kind, size, binaries, settings=None):
        self.kind = kind
        self.binaries = binaries
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"zabd-compare-{kind}-"))
        self.settings = {"maxClientCnxns": "0", "admin.enableServer": "false"}
        self.settings.update(settings or {})
        self.processes = []
        ports = [[interop.free_port() for _ in range(3)] for _ in range(size)]
        peers = ""
        if size > 1:
            self.settings.update({"tickTime": "2000", "initLimit": "10", "syncLimit": "5"})
            peers = "".join(
                f"server.{number}=127.0.0.1:{quorum}:{election}\n"
                for number, (_, quorum, election) in enumerate(ports, 1)
            )
        for number, (port, _, _) in enumerate(ports, 1):
            directory = self.directory / str(number)
            directory.mkdir()
            self.processes.append(Process(self._command(size, directory, port), directory, port))
            if kind in ("zabd", "apache"):
                self._configure(directory, port, peers, number)

    def _command(self, size, directory, port):
        if self.kind == "apache":
            return [
                cache.tool("java"), f"-Xmx{HEAP[size]}",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-Dzookeeper.admin.enableServer=false",
                "-cp", f"{interop.apache_jars()}/*",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", directory / "zoo.cfg",
            ]
        if self.kind == "zabd":
            return [self.binaries["zabd"], directory / "zoo.cfg"]
        command = [self.binaries["zabd-limits"], "--port", port]
        return command + (["--log", directory / "log"] if self.kind == "group commit" else [])

    def _configure(self, directory, port, peers, number):
        (directory / "data").mkdir()
        lines = dict(self.settings, dataDir=directory / "data", clientPort=port,
                     clientPortAddress="127.0.0.1")
        text = "".join(f"{key}={value}\n" for key, value in lines.items())
        (directory / "zoo.cfg").write_text(text + peers, encoding="utf-8")
        if peers:
            (directory / "data" / "myid").write_text(f"{number}\n", encoding="ascii")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        """Starts what does not run, and waits until everything serves."""
        for process in self.processes:
            if not process.running():
                process.start()
        self.wait_until(lambda: all(self._serves(process) for process in self.processes), "serve")

    def _serves(self, process):
        if not process.running():
            raise ServersFailed(f"{self.kind} ended:\n{process.log_tail()}")
        if self.kind in ("zabd", "apache"):
            return process.mode() is not None
        return _accepts(process.port)

    def wait_until(self, condition, what, timeout_s=START_TIMEOUT_S, pause_s=0.01):
        """Waits for a condition, and says how long that took."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > timeout_s:
                logs = "\n".join(process.log_tail() for process in self.processes)
                raise ServersFailed(f"{self.kind} did not {what} in {timeout_s} s\n{logs}")
            time.sleep(pause_s)
        return time.monotonic() - started

    def servers(self):
        """The connect string."""
        return ",".join(f"127.0.0.1:{process.port}" for process in self.processes)

    def leader(self):
        """The process that leads."""
        self.wait_until(
            lambda: any(process.mode() == "leader" for process in self.processes), "elect")
        return next(process for process in self.processes if process.mode() == "leader")

    def cpu_s(self):
        """Processor seconds of all of them."""
        return sum(process.cpu_s() for process in self.processes)

    def resident_bytes(self):
        """Resident memory of all of them."""
        return sum(process.resident_bytes() for process in self.processes if process.running())

    def connections(self):
        """How many clients are connected to any of them."""
        return sum(process.connections() for process in self.processes)

    def close(self):
        """Ends everything and removes the directories."""
        for process in self.processes:
            process.end()
        shutil.rmtree(self.directory, ignore_errors=True)


def _accepts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
