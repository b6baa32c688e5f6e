"""zkCli, driven by a script: what it prints must be what it prints against Apache ZooKeeper."""

import os
import re
import subprocess

from . import cache
from .server import apache_jars, zab_binary

SESSION = cache.INTEROP / "zkcli" / "session.txt"
# A command that only the shell itself answers; it separates the answers of the others.
MARK = "printwatches"
MARK_ANSWER = "printwatches is on"
TIMEOUT_S = 120
COMPARISON_TIMEOUT_S = 900


def prepare():
    """Fetches the jars."""
    apache_jars()


def command(server):
    """The shell, connected to the server."""
    return [
        cache.tool("java"), "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-Duser.timezone=UTC",
        "-cp", f"{apache_jars()}/*", "org.apache.zookeeper.ZooKeeperMain", "-server", server.address,
    ]


def parse(text):
    """The comment at the top, and pairs of a command and the lines that it must print."""
    header, pairs = [], []
    for line in text.splitlines():
        if line.startswith("> "):
            pairs.append((line[2:], []))
        elif pairs:
            pairs[-1][1].append(line)
        else:
            header.append(line)
    return header, pairs


def counter(zxid):
    """What is below the epoch of a zxid."""
    return int(zxid, 0) & 0xFFFFFFFF


def normal(line):
    """A line without what differs from run to run."""
    line = re.sub(r"^([cm]time) = .*", r"\1 = TIME", line)
    # In an ensemble a zxid has an epoch above its counter.
    line = re.sub(r"^([cmp]Zxid) = (\S+)", lambda found: f"{found[1]} = {counter(found[2]):#x}", line)
    line = re.sub(r"zxid: ([1-9]\d*)$", lambda found: f"zxid: {counter(found[1])}", line)
    if line.startswith("[/"):
        line = "[" + ", ".join(sorted(line[1:-1].split(", "))) + "]"
    return line


def of_members(line, answer, members):
    """What a command prints in an ensemble of these members, if its servers alone print `answer`."""
    if not members or line not in ("config", "config -s"):
        return answer
    changed = {"dataVersion = 0": "dataVersion = -1", "dataLength = 0": f"dataLength = {len(members)}"}
    return members.split("\n") + [changed.get(printed, printed) for printed in answer]


def converse(server, commands):
    """The answer to each command, and the events of the whole session in their order."""
    script = "".join(f"{line}\n{MARK}\n" for line in [MARK, *commands]) + "quit\n"
    done = subprocess.run(command(server), input=script, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_S, check=False)
    events, answers, current = [], [], []
    for line in done.stdout.splitlines():
        # Events are printed by a thread of their own, in between.
        if line.startswith("WatchedEvent "):
            events.append(normal(line.removeprefix("WatchedEvent ")))
        elif line == MARK_ANSWER:
            answers.append(current)
            current = []
        elif line not in ("", "WATCHER::"):
            current.append(normal(line))
    # The first two marks end the greeting.
    return answers[2:], events, done


def run(server, report):
    """Compares the session with the file, then checks the exit codes of single commands."""
    header, pairs = parse(SESSION.read_text(encoding="utf-8"))
    commands = [line for line, _ in pairs if line != "events"]
    wanted = {index: answer for index, (_, answer) in enumerate(pairs)}
    answers, events, done = converse(server, commands)
    output = done.stdout.splitlines()
    if len(answers) != len(commands):
        report.fails("session", f"{len(commands)} commands, {len(answers)} answers, "
                                f"exit code {done.returncode}")
        return output
    if os.environ.get("REWRITE") == "1":
        lines = list(header)
        for line, answer in [*zip(commands, answers), ("events", events)]:
            lines += [f"> {line}", *answer]
        SESSION.write_text("\n".join(lines) + "\n", encoding="utf-8")
        report.skips("session", "rewritten, not compared")
        return output
    for index, (line, answer) in enumerate([*zip(commands, answers), ("events", events)]):
        name = f"{index} {line}"
        expected = of_members(line, wanted.get(index), server.members)
        if answer == expected:
            report.passes(name)
        else:
            report.fails(name, f"printed {answer}, wanted {expected}")
    for arguments, code in ((["create", "/single", "x"], 0), (["get", "/single"], 0),
                            (["get", "/none"], 1), (["create", "/single", "x"], 1)):
        single = subprocess.run([*command(server), *arguments], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                timeout=TIMEOUT_S, check=False)
        name = f"exit code of {' '.join(arguments)}"
        if single.returncode == code:
            report.passes(name)
        else:
            report.fails(name, f"{single.returncode}, wanted {code}: {single.stdout[-300:]}")
    return output


def run_comparison(server, report):
    """Every command of the shell beside zab's, by a script that stands with zab."""
    environment = dict(os.environ, ZAB=zab_binary(), ZAB_TEST_SERVER=server.address,
                       ZKCLI_CLASSPATH=f"{apache_jars()}/*")
    script = cache.INTEROP.parent.parent / "cli" / "tests" / "compare_zkcli.py"
    done = subprocess.run([script], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=COMPARISON_TIMEOUT_S, check=False)
    output = done.stdout.splitlines()
    for line in output:
        if line.startswith("### "):
            report.fails(line.removeprefix("### "), "zkCli and zab differ")
    counts = re.match(r"(\d+) commands compared, (\d+) differ$", output[-1] if output else "")
    if not counts or (done.returncode != 0) != bool(report.failed):
        report.fails("comparison", f"ended with {done.returncode}")
    else:
        for number in range(int(counts[1]) - int(counts[2])):
            report.passes(f"command {number}")
    return output
