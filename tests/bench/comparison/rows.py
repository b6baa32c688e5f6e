"""What is measured: each row drives a cluster and returns figures by name.

A figure is a number; its row's table says what it is called, which of two is better, and what is wanted of it.
"""

import json
import shutil
import subprocess
import time

from .servers import ServersFailed

# Bytes of a node's last path component and of its data in the rows about memory.
COMPONENT_BYTES = 11
VALUE_BYTES = 100


class Context:
    """How long and how much: the whole thing, or a look at whether the tool runs."""

    def __init__(self, binaries, quick, duration_s):
        self.binaries = binaries
        self.quick = quick
        self.duration_s = 0.3 if quick else duration_s
        self.warmup_s = 0.1 if quick else min(2.0, duration_s)
        self.sessions = 20 if quick else 5000
        self.nodes = 500 if quick else 1_000_000
        self.failovers = 1 if quick else 10

    def command(self, cluster, words):
        """The command line of `zab bench` against a cluster."""
        return [self.binaries["zab"], "-server", cluster.servers(), "bench",
                *[str(word) for word in words], "--json"]

    def bench(self, cluster, words, duration_s=None):
        """Runs `zab bench` to its end and returns its report."""
        return finish(self.start(cluster, words, duration_s))

    def start(self, cluster, words, duration_s=None):
        """Starts `zab bench`; `finish` waits for it."""
        words = [*words, "--duration-s", duration_s or self.duration_s]
        if cluster.kind not in ("zabd", "apache"):
            words += ["--reuse", "--no-verify"]
        command = [str(word) for word in self.command(cluster, words)]
        if "--warmup-s" not in command:
            command += ["--warmup-s", str(self.warmup_s)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


def finish(process):
    """The report of a `zab bench` that was started."""
    out, err = process.communicate(timeout=1800)
    if process.returncode != 0:
        raise ServersFailed(f"zab bench failed: {err.strip()}\n{out.strip()}")
    return json.loads(out)


class Figure:
    """A column of a row."""

    def __init__(self, name, unit, better, wanted=None, digits=0):
        self.name, self.unit, self.better = name, unit, better
        # The ratio to Apache ZooKeeper that is wanted, at least or at most.
        self.wanted = wanted
        self.digits = digits


class Row:
    """Something that is measured."""

    def __init__(self, name, title, size, figures, measure, limit=None, limit_wanted=None,
                 settings=None, contestants=("zabd", "apache")):
        self.name, self.title, self.size = name, title, size
        self.figures, self.measure = figures, measure
        # Which limit it is held against, and the share of it that is wanted.
        self.limit, self.limit_wanted = limit, limit_wanted
        self.settings = settings
        self.contestants = contestants
        # Whether the row may run on servers that other rows have used.
        self.shares = settings is None


OPS = "ops/s"
MORE, LESS = "more", "less"


def load(name, title, size, words, wanted, limit=None, limit_wanted=None, p99=None, cpu=None,
         limit_words=None):
    """A row about throughput. A limit is driven by `limit_words` where these are given."""
    figures = [Figure(OPS, "", MORE, wanted)]
    if p99 is not None:
        figures.append(Figure("p99", "ms", LESS, p99, 1))
    if cpu is not None:
        figures.append(Figure("server CPU", "µs/op", LESS, cpu, 1))

    def measure(context, cluster):
        cpu_s = cluster.cpu_s()
        is_limit = cluster.kind not in ("zabd", "apache")
        report = context.bench(cluster, limit_words if is_limit and limit_words else words)
        cpu_s = cluster.cpu_s() - cpu_s
        kinds = report["times_ms"].values()
        # The load before the measuring costs, too; it runs at the same rate.
        share = context.duration_s / (context.duration_s + context.warmup_s)
        return {
            OPS: report["per_second"],
            "p99": max(kind["p99"] for kind in kinds),
            "server CPU": cpu_s * share / max(1, report["answered"]) * 1e6,
        }

    return Row(name, title, size, figures, measure, limit, limit_wanted)


def words(workload, connections, in_flight, *more):
    """Options of `zab bench`."""
    return [workload, "--connections", connections, "--in-flight", in_flight, *more]


def fill(context, cluster):
    """Makes many nodes and leaves them."""
    context.bench(cluster, words("load", 16, 64, "--keys", context.nodes, "--keep"))


def measure_million(context, cluster):
    """Memory with many nodes, and a restart after kill -9."""
    process = cluster.processes[0]
    empty = cluster.resident_bytes()
    fill(context, cluster)
    time.sleep(0 if context.quick else 5)
    loaded = cluster.resident_bytes()
    process.end()
    process.start()
    took_s = cluster.wait_until(lambda: process.mode() is not None, "restart", 600)
    context.bench(cluster, words("read", 1, 1, "--keys", context.nodes, "--reuse"), 0.2)
    time.sleep(0 if context.quick else 5)
    restarted = cluster.resident_bytes()
    payload = COMPONENT_BYTES + VALUE_BYTES
    return {
        "loaded": loaded / 1e6,
        "restarted": restarted / 1e6,
        "a node beyond name and data": (restarted - empty) / context.nodes - payload,
        "restart": took_s,
    }


def measure_snapshot(context, cluster):
    """Writes at a rate while snapshots are written, and before."""
    fill(context, cluster)
    rate = 200 if context.quick else 2000
    report = context.bench(
        cluster,
        words("write", 16, 16, "--keys", context.nodes, "--reuse", "--rate", rate),
        None if context.quick else 20,
    )
    return {"p99.9": report["times_ms"]["write"]["p99_9"]}


def measure_idle(context, cluster):
    """Idle sessions: processor time and memory."""
    before = cluster.resident_bytes()
    count, watched_s = context.sessions, 1 if context.quick else 20
    running = context.start(cluster, words("sessions", count, 1), watched_s + 5)
    cluster.wait_until(lambda: cluster.connections() >= count, "take the sessions", pause_s=0.1)
    time.sleep(1)
    cpu_s, started = cluster.cpu_s(), time.monotonic()
    time.sleep(watched_s)
    cpu_s, took_s = cluster.cpu_s() - cpu_s, time.monotonic() - started
    memory = cluster.resident_bytes() - before
    finish(running)
    return {"server CPU": cpu_s / took_s * 1000, "a session": memory / count / 1000}


def measure_watch(context, cluster):
    """One change that many wait for."""
    report = context.bench(cluster, words("watch", context.sessions, 1))
    return {"last event": report["times_ms"]["last_event"]["p50"]}


def scale_row(workload):
    """A row about the cost of an operation with few and many nodes."""

    def measure(context, cluster):
        few, many = (100, 500) if context.quick else (10_000, 5_000_000)
        costs = []
        for keys in (few, many):
            options = ["--keys", keys, "--keep"]
            root = ["--root", f"/bench-{workload}-{keys}"]
            context.bench(cluster, words("load", 16, 64, *options, *root))
            cpu_s = cluster.cpu_s()
            report = context.bench(
                cluster, words(workload, 32, 16, "--keys", keys, "--reuse", *root))
            costs.append((cluster.cpu_s() - cpu_s) / max(1, report["answered"]) * 1e6)
        return {"few": costs[0], "many": costs[1], "many / few": costs[1] / costs[0]}

    figures = [
        Figure("few", "µs/op", LESS, None, 2), Figure("many", "µs/op", LESS, None, 2),
        Figure("many / few", "", LESS, None, 2),
    ]
    return Row(f"scale-{workload}", f"server CPU of a {workload}, 10 k and 5 M znodes", 1,
               figures, measure, settings={}, contestants=("zabd",))


def measure_failover(context, cluster):
    """The longest gap without an acknowledged write after kill -9 of the leader."""
    gaps = []
    # Made before, so that the writes begin at once.
    context.bench(cluster, words("load", 1, 16, "--keep"))
    for _ in range(context.failovers):
        running = context.start(
            cluster, words("failover", 6, 1, "--warmup-s", 0.5, "--reuse"), 8)
        time.sleep(3)
        leader = cluster.leader()
        leader.end()
        report = finish(running)
        gaps.append(report["longest_gap"]["ms"])
        cluster.start()
    gaps.sort()
    return {"gap": gaps[len(gaps) // 2], "longest gap": gaps[-1]}


def measure_reattach(context, cluster):
    """All sessions attach to other servers after kill -9 of the leader."""
    count = context.sessions
    running = context.start(cluster, words("sessions", count, 1), 5 if context.quick else 40)
    cluster.wait_until(lambda: cluster.connections() >= count, "take the sessions", pause_s=0.1)
    time.sleep(1)
    leader = cluster.leader()
    killed_ms = time.time() * 1000
    leader.end()
    report = finish(running)
    cluster.start()
    return {
        "all back": (report["reattached"]["last_back_unix_ms"] - killed_ms) / 1000,
        "expired": report["errors"].get("session expired", 0),
    }


def measure_join(context, cluster):
    """An empty server joins while writes go on."""
    fill(context, cluster)
    leader = cluster.leader()
    fresh = next(process for process in cluster.processes if process is not leader)
    fresh.end()
    data = fresh.directory / "data"
    for entry in data.iterdir():
        if entry.name != "myid":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    rate = 100 if context.quick else 1000
    options = words("write", 8, 16, "--keys", context.nodes, "--reuse", "--rate", rate)
    duration_s = 2 if context.quick else 15
    others = Others(cluster, fresh)
    before = context.bench(others, options, duration_s)
    running = context.start(others, options, duration_s)
    time.sleep(1)
    fresh.start()
    took_s = cluster.wait_until(lambda: fresh.mode() is not None, "join", 600)
    meanwhile = finish(running)
    p99_9 = meanwhile["times_ms"]["write"]["p99_9"]
    return {
        "serving": took_s,
        "p99.9 / before": p99_9 / before["times_ms"]["write"]["p99_9"],
        "p99.9": p99_9,
    }


class Others:
    """A cluster without one of its servers, for clients."""

    def __init__(self, cluster, without):
        self.kind = cluster.kind
        self._ports = [process.port for process in cluster.processes if process is not without]

    def servers(self):
        """The connect string."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports)


SNAPSHOTS = [Figure("p99.9", "ms", LESS, None, 2)]

ROWS = [
    # A server that stands alone.
    load("read-1x1", "getData, 1 connection, 1 in flight", 1,
         words("read", 1, 1), 3, "echo", 0.6),
    load("read-32x1", "getData, 32 connections, 1 in flight", 1,
         words("read", 32, 1), 1.9, "echo", 0.8),
    load("read-100x32", "getData, 100 connections, 32 in flight", 1,
         words("read", 100, 32), 8, "echo", 0.3, cpu=0.1),
    load("write-1x1", "setData, 1 connection, 1 in flight", 1,
         words("write", 1, 1), 2.5, "group commit", 0.7),
    load("write-100x1", "setData, 100 connections, 1 in flight", 1,
         words("write", 100, 1), 3.5, "group commit", 0.55),
    load("write-100x16", "setData, 100 connections, 16 in flight", 1,
         words("write", 100, 16), 5, "group commit"),
    load("create-32x4", "create, 32 connections, 4 in flight", 1, words("create", 32, 4), 5,
         "group commit", limit_words=words("write", 32, 4)),
    load("delete-32x4", "delete, 32 connections, 4 in flight", 1,
         words("delete", 32, 4, "--keys", 400_000), 5,
         "group commit", limit_words=words("write", 32, 4)),
    load("mixed-32x4", "90 % reads, 32 connections, 4 in flight", 1,
         words("mixed", 32, 4), 5, "group commit"),
    load("multi-32x4", "multi of ten setData, 32 connections, 4 in flight", 1,
         words("multi", 32, 4), None),
    load("children-32x1", "getChildren2 of 1,000 children, 32 connections", 1,
         words("children", 32, 1), None),
    Row("watch-5000", "one change, 5,000 watchers on as many connections", 1,
        [Figure("last event", "ms", LESS, 1 / 3, 1)], measure_watch),
    Row("idle-5000", "5,000 idle sessions", 1,
        [Figure("server CPU", "ms/s", LESS, 1 / 5, 1), Figure("a session", "kB", LESS, None, 1)],
        measure_idle, settings={}),
    Row("million", "1 M znodes: memory, and a restart after kill -9", 1,
        [Figure("loaded", "MB", LESS, 1 / 6), Figure("restarted", "MB", LESS, 1 / 6),
         Figure("a node beyond name and data", "B", LESS, None),
         Figure("restart", "s", LESS, 1 / 6, 2)],
        measure_million, settings={}),
    Row("snapshot-none", "writes at 2,000/s with 1 M znodes, no snapshot", 1, SNAPSHOTS,
        measure_snapshot, settings={"snapCount": "100000000"}),
    Row("snapshot-some", "the same while snapshots are written", 1, SNAPSHOTS,
        measure_snapshot, settings={"snapCount": "10000"}),
    scale_row("read"),
    scale_row("write"),
    # Three servers.
    load("three-write-1x1", "setData, 1 connection, 1 in flight", 3, words("write", 1, 1), 2),
    load("three-write-100x16", "setData, 100 connections over 3 servers, 16 in flight", 3,
         words("write", 100, 16), 3.5, p99=1 / 3),
    load("three-mixed-32x4", "90 % reads, 32 connections, 4 in flight", 3,
         words("mixed", 32, 4), 4),
    Row("three-failover", "longest time without an acknowledged write after kill -9 of the leader",
        3, [Figure("gap", "ms", LESS, 1 / 2), Figure("longest gap", "ms", LESS)],
        measure_failover, settings={}),
    Row("three-reattach", "5,000 sessions attached again after kill -9 of the leader", 3,
        [Figure("all back", "s", LESS, 1 / 3, 2), Figure("expired", "", LESS)],
        measure_reattach, settings={}),
    Row("three-join", "an empty server joins with 1 M znodes while writes go on", 3,
        [Figure("serving", "s", LESS, 1 / 4, 2), Figure("p99.9 / before", "", LESS, None, 2),
         Figure("p99.9", "ms", LESS, None, 1)],
        measure_join, settings={}),
]
