"""Apache ZooKeeper's own tests, the compiled classes from Maven Central.

They start their servers inside of their JVM; `apache_suite/` makes a process of each (its
README.md says how), which is the server under test. `apache_suite/classes.txt` says which classes
run where, `apache_suite/skips.txt` which tests do not and why. Environment:

    APACHE_TESTS=all                     every class of the list, not only those that CI runs
    APACHE_TESTS=test.ClientTest,...     these classes, or `test.ClientTest#testPing`
    APACHE_JVMS=4                        as many JVMs side by side (2)
    APACHE_SLOT=5                        the first of eight ranges of ports, for a second run beside (1)
"""

import concurrent.futures
import os
import signal
import subprocess

from . import cache
from .server import apache_jars, zabd_binary
from .program_suites import sources

ROOT = cache.INTEROP / "apache_suite"
# Of one JVM; every test has a limit of its own.
TIMEOUT_S = 1500


def class_path():
    """Fetches the tests and compiles what stands before them; returns the class path."""
    cache.tool("java")
    javac = cache.tool("javac")
    pom = ROOT / "pom.xml"

    def fetch(directory):
        cache.run([cache.tool("mvn"), "-q", "-B", "-f", pom, cache.COPY_DEPENDENCIES,
                   f"-DoutputDirectory={directory}"])

    libraries = cache.built("apache-tests-libraries", [pom], fetch)
    files = sources(ROOT / "src", "**/*.java")

    def build(directory):
        cache.run([javac, "--release", "17", "-d", directory, "-cp", f"{libraries}/*", *files])

    # Before the tests' own: JMXEnv stands in both.
    return f"{cache.built('apache-tests-classes', [pom, *files], build)}:{libraries}/*"


def groups(where):
    """The classes to run, by JVM: tests that set what is static cannot share one."""
    asked = os.environ.get("APACHE_TESTS", "")
    if asked not in ("", "all"):
        return [[name] for name in asked.split(",")]
    chosen = []
    for line in (ROOT / "classes.txt").read_text(encoding="utf-8").splitlines():
        words = line.split("#")[0].split()
        if words and words[0] == where and (asked == "all" or words[1] == "quick"):
            chosen.append(words[2:])
    return chosen


def run(server, report):
    """Runs every group in a JVM of its own, two at a time."""
    chosen = groups("ensemble" if server.through else "one")
    path = class_path()
    # The port is not used: the tests choose theirs.
    server.close(keep=True)
    jvms = int(os.environ.get("APACHE_JVMS", "2"))
    first = int(os.environ.get("APACHE_SLOT", "1"))
    slots = list(range(first, first + jvms))

    def one(classes):
        slot = slots.pop()
        try:
            return run_jvm(server, path, classes, slot)
        finally:
            slots.append(slot)

    output = []
    with concurrent.futures.ThreadPoolExecutor(jvms) as pool:
        for lines in pool.map(one, chosen):
            output += lines
            read_results(lines, report)
    return output


def run_jvm(server, path, classes, slot):
    """Runs one group; returns what it has printed, and what went wrong as one more result."""
    directory = server.directory / classes[0].replace("#", ".")
    directory.mkdir()
    env = dict(os.environ, SUITE_LOG=str(directory / "servers.log"))
    if server.kind == "apache":
        env["SUITE_APACHE"] = f"{apache_jars()}/*"
    else:
        env["SUITE_ZABD"] = str(zabd_binary())
    command = [
        cache.tool("java"), "-Xmx1g", "-Djdk.attach.allowAttachSelf=true",
        f"-Dlogback.configurationFile={ROOT / 'logback.xml'}",
        # As their own build has it: the password `test`.
        "-Dzookeeper.DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        f"-Dbuild.test.dir={directory / 'data'}", f"-Dtest.data.dir={directory / 'none'}",
        # Each takes its ports from a range of its own.
        "-Dtest.junit.threads=8", f"-Dzookeeper.junit.threadid={slot}",
        "-cp", path, "zabd.suite.Main", str(ROOT / "skips.txt"), *classes,
    ]
    log = directory / "tests.log"
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=directory, env=env, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        wrong = None
        try:
            code = process.wait(TIMEOUT_S)
            if code not in (0, 1):
                wrong = f"exited with {code}"
        except subprocess.TimeoutExpired:
            wrong = f"did not end within {TIMEOUT_S} s"
        finally:
            # Its servers are in the same process group.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    lines = log.read_text(errors="replace").splitlines()
    if not wrong and not any(line.startswith("END ") for line in lines):
        wrong = "ended before its last test"
    if wrong:
        lines.append(f"FAIL {classes[0]}: {wrong}")
    return lines


def read_results(lines, report):
    """Counts the lines that say what came of a test."""
    count = 0
    for line in lines:
        word, _, rest = line.partition(" ")
        name, _, reason = rest.partition(": ")
        if word == "PASS":
            report.passes(rest)
        elif word == "FAIL":
            report.fails(name, reason[:300])
        elif word == "SKIP":
            report.skips(name, reason)
        elif word == "END" and int(rest) != count:
            report.fails("results", f"announced {rest}, {count} were read")
        count += word in ("PASS", "FAIL", "SKIP")


def prepare():
    """Fetches and compiles."""
    class_path()
