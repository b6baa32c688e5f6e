#!/usr/bin/env python3
"""Runs `zab` and Apache's ZooKeeperMain against the same server and compares stdout, stderr and exit codes.

    ZAB=target/debug/zab ZAB_TEST_SERVER=127.0.0.1:2181 ZKCLI_CLASSPATH='lib/*' cli/tests/compare_zkcli.py

ZAB_TEST_SERVER   a server that may be scribbled on, below /zab-compare and /zookeeper/quota; three cases want
                  extended node types to be enabled.
ZKCLI_CLASSPATH   the jars of ZooKeeper 3.9.5 with commons-cli.

Each case runs once with each shell, each time from the same state of the server. What may differ is masked: zxids,
times, session ids. Exits with 0 if nothing else differs, 1 if something does, 77 if there is nothing to compare with.
"""

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
ROOT = "/zab-compare"

# Names are relative to ROOT: `@` stands for it. (what to set up, the command line)
TREE = [["create", "@", "root"], ["create", "@/a", "hello"], ["create", "@/b", ""], ["create", "@/a/z"],
        ["create", "@/b/y", "1"]]
WITH_QUOTA = TREE + [["setquota", "-n", "5", "@/a"]]
# The password is p.
DIGEST = "digest:u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=:r"

CASES = [
    (TREE, line) for line in [
        # Reading.
        ["ls", "@"], ["ls", "-s", "@"], ["ls", "-R", "@"], ["ls", "-w", "@"], ["ls", "@", "true"], ["ls"],
        ["ls", "-sR", "@"], ["ls", "-?", "@"], ["ls", "@/none"], ["ls", "-R", "@/none"], ["ls", "@/"], ["ls", "x"],
        ["ls", "/a//b"], ["ls", "/a/../b"], ["ls", ""], ["ls", "-z", "@"], ["ls", "--nonsense", "@"], ["ls", "-", "@"],
        ["ls", "-s", "@", "true"],
        ["get", "@"], ["get", "-s", "@/a"], ["get", "@/a", "-s"], ["get", "-b", "@/a"], ["get", "-x", "@/a"],
        ["get", "-bx", "@/a"], ["get", "-sx", "@/a"], ["get", "@/b"], ["get", "-x", "@/b"], ["get", "@/a/z"],
        ["get", "@/a/z", "-x"], ["get", "@/a", "true"], ["get", "-w", "@/a"], ["get"], ["get", "@/none"],
        ["get", "-szx", "@"], ["get", "-s=1", "@"],
        ["stat", "@"], ["stat", "-w", "@"], ["stat", "@", "1"], ["stat", "@/none"], ["stat"], ["stat", "-s", "@"],
        ["getAcl", "@"], ["getAcl", "-s", "@"], ["getAcl", "@/none"], ["getAcl"], ["getAcl", "/zookeeper/config"],
        ["getAllChildrenNumber", "@"], ["getAllChildrenNumber"], ["getAllChildrenNumber", "@/none"],
        ["getEphemerals"], ["getEphemerals", "@"], ["getEphemerals", "x"],
        # Writing.
        ["create", "@/c"], ["create", "@/c", "data"], ["create", "-s", "@/c", "data"], ["create", "-e", "@/c"],
        ["create", "-es", "@/c-"], ["create", "-c", "@/c"], ["create", "-t", "5000", "@/c"],
        ["create", "-t5000", "@/c"], ["create", "-s", "-t=5000", "@/c"], ["create", "-s", "@/"], ["create", "@/"],
        ["create", "-c", "-e", "@/c"], ["create", "-t", "x", "@/c"], ["create", "-t", "5", "-e", "@/c"],
        ["create", "-t", "5", "-c", "@/c"], ["create", "-t", "0", "@/c"], ["create", "-t", "-1", "@/c"],
        ["create", "-t", "1099511627776", "@/c"], ["create", "-t"], ["create", "-t", "-s", "@/c"], ["create"],
        ["create", "@/a"], ["create", "@/none/c"], ["create", "@/c", "x", "world:anyone:r"],
        ["create", "@/c", "x", "foo"], ["create", "@/c", "x", "world:anyone:rz,bad"], ["create", "@/c", "x", ""],
        ["create", "@/c", "x", "auth::cdrwa"], ["create", "@/c", "x", "ip:300.1.1.1:r"], ["create", "@/c", "x", DIGEST],
        ["create", "@/c", "x", "world:anyone:r", "more"],
        ["set", "@/a", "new"], ["set", "@/a", "new", "-s"], ["set", "-v", "0", "@/a", "new"],
        ["set", "-v", "7", "@/a", "new"], ["set", "@/a"], ["set", "-b", "@/a", "aGVsbG8="], ["set", "@/none", "x"],
        ["set", "-v", "-1", "@/a", "new"], ["set", "-bs", "@/a", "aGk"], ["set", "@/a", "x", "y"],
        ["delete", "@/a/z"], ["delete", "@/a"], ["delete", "-v", "0", "@/a/z"], ["delete", "-v", "3", "@/a/z"],
        ["delete", "@/a/z", "3"], ["delete", "@/none"], ["delete", "/"], ["delete"], ["delete", "-v"],
        ["delete", "/zookeeper"],
        ["deleteall", "@"], ["deleteall", "@", "-b", "2"], ["deleteall", "-b", "0", "@"], ["deleteall", "@/none"],
        ["deleteall", "-b", "x", "@"], ["deleteall"], ["deleteall", "x"], ["deleteall", "/zookeeper"],
        ["setAcl", "@/a", "world:anyone:cdrwa"], ["setAcl", "-s", "@/a", "world:anyone:ra"],
        ["setAcl", "-v", "0", "@/a", "world:anyone:ra"], ["setAcl", "-v", "5", "@/a", "world:anyone:ra"],
        ["setAcl", "-R", "@", "world:anyone:cdrwa"], ["setAcl", "-R", "-v", "5", "@", "world:anyone:cdrwa"],
        ["setAcl", "@/a"], ["setAcl", "@/a", "x"], ["setAcl", "@/none", "world:anyone:r"],
        ["setAcl", "@/a", "nosuch:x:r"], ["setAcl", "-R", "@/none", "world:anyone:r"],
        # The session and the ensemble.
        ["sync", "@"], ["sync", "x"], ["sync"], ["whoami"], ["whoami", "-x"], ["addauth", "digest", "u:p"], ["addauth"],
        ["addauth", "digest"], ["version", "x"],
        ["config"], ["config", "-c"], ["config", "-s"], ["config", "-w"], ["config", "-csw"], ["config", "-z"],
        ["reconfig"], ["reconfig", "-add", "1=h:1:2;3"], ["reconfig", "-remove", "1"], ["reconfig", "-v", "x", "-add", "1"],
        ["reconfig", "-add", "1", "-members", "2"], ["reconfig", "-file", "f", "-members", "2"],
        ["reconfig", "-members", "server.1=h:1:2;3"], ["reconfig", "-s", "-v", "5", "-add", "1=h:1:2;3"],
        ["reconfig", "-file", "nosuch"],
        # Quotas.
        ["setquota", "-n", "5", "@/a"], ["setquota", "-n", "1", "@/a"], ["setquota", "-b", "1", "@/a"],
        ["setquota", "-N", "9", "@/a"], ["setquota", "-B", "99", "@/a"], ["setquota", "-n", "0", "@/a"],
        ["setquota", "-n", "x", "@/a"], ["setquota", "-B", "-1", "@/a"], ["setquota", "@/a"], ["setquota", "-n", "5"],
        ["setquota", "-n", "5", "-b", "5", "@/a"], ["setquota", "-n", "5", "@/none"], ["setquota", "-n", "5", "/"],
        ["setquota", "-n", "5", "/zookeeper/quota/x"], ["setquota", "-n"],
        ["listquota", "@/a"], ["listquota"], ["listquota", "/"], ["delquota", "@/a"], ["delquota"],
        ["delquota", "-n", "-b", "@/a"], ["delquota", "-n", "@/a"],
        # No such thing.
        ["nosuch"], ["rmr", "@"], ["help"],
    ]
] + [
    (WITH_QUOTA, line) for line in [
        ["setquota", "-n", "9", "@/a"], ["setquota", "-N", "1", "@/a"], ["setquota", "-n", "1", "@/a/z"],
        ["setquota", "-n", "1", "@"], ["setquota", "-b", "9", "@/b"],
        ["listquota", "@/a"], ["delquota", "@/a"], ["delquota", "-n", "@/a"], ["delquota", "-b", "@/a"], ["delquota", "-N", "@/a"], ["delquota", "-B", "@/a"],
        ["get", "/zookeeper/quota@/a/zookeeper_limits"], ["get", "/zookeeper/quota@/a/zookeeper_stats"],
        ["ls", "-R", "/zookeeper/quota@"],
    ]
]
# Also under a chroot, where paths come and go without it.
CHROOT_CASES = [(TREE, line) for line in [
    ["ls", "/"], ["ls", "-R", "/"], ["get", "/a"], ["create", "/c"], ["create", "-s", "/c"], ["delete", "/"],
    ["get", "/none"], ["stat", "/"], ["deleteall", "/a"], ["config"], ["sync", "/"], ["setAcl", "/a", "world:anyone:ra"],
]]

# What makes sense in a session only. tests/tests/shell/pipe.rs compares sessions.
SESSION_COMMANDS = {"addWatch", "close", "connect", "history", "printwatches", "quit", "redo", "removewatches"}

# After every case both shells must have left the same tree behind, as far as it can be compared.
MASKS = [
    (re.compile(r"^([cmp]Zxid) = 0x[0-9a-f]+$", re.M), r"\1 = ZXID"),
    (re.compile(r"^([cm]time) = (\w{3} \w{3} \d\d \d\d:\d\d:\d\d UTC \d{4})$", re.M), r"\1 = DATE"),
    (re.compile(r"^ephemeralOwner = 0x[1-9a-f][0-9a-f]*$", re.M), "ephemeralOwner = SESSION"),
    (re.compile(r"^SLF4J.*\n", re.M), ""),
    # The usage names the program, and lists what it has.
    (re.compile(r"^(?:ZooKeeper|zab) -?\[?-server .*\n(?:\t.*\n)+", re.M), "USAGE\n"),
]
# Printed by another thread of the Java shell: whether and where it comes out, and how much of it, is a matter of chance.
EVENT = re.compile(r"\nWATCHER::\n\n?(?:WatchedEvent state:\w+ type:None path:null zxid: -1\n)?")


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


class Shells:
    def __init__(self):
        self.server = os.environ.get("ZAB_TEST_SERVER") or skip("ZAB_TEST_SERVER is not set")
        zab = os.environ.get("ZAB") or skip("ZAB does not name the zab binary")
        self.zab = os.path.abspath(zab)
        classpath = os.environ.get("ZKCLI_CLASSPATH") or skip("ZKCLI_CLASSPATH is not set")
        java = shutil.which("java") or skip("there is no java")
        self.java = [java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Duser.timezone=UTC",
                     "-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", classpath,
                     "org.apache.zookeeper.ZooKeeperMain"]

    def run(self, program, words, chroot=""):
        result = subprocess.run([*program, "-server", self.server + chroot, *words], capture_output=True, timeout=120,
                                check=False, stdin=subprocess.DEVNULL)
        out, err = result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace")
        for pattern, mask in MASKS:
            out, err = pattern.sub(mask, out), pattern.sub(mask, err)
        return f"exit code {result.returncode}\n-- stdout\n{EVENT.sub('', out)}\n-- stderr\n{err}"

    def set_up(self, lines):
        """Brings the server to a known state, whatever the case before has done to access control lists."""
        clean = [["setAcl", "-R", ROOT, "world:anyone:cdrwa"], ["deleteall", ROOT],
                 ["deleteall", "/zookeeper/quota" + ROOT]]
        for line in [*clean, *lines]:
            result = subprocess.run([self.zab, "-server", self.server, "-auth", "digest:u:p",
                                     *(word.replace("@", ROOT) for word in line)],
                                    capture_output=True, timeout=60, check=False)
            absent = line in clean and b"Node does not exist" in result.stderr
            if b"Connecting to" not in result.stdout or (result.returncode != 0 and not absent):
                sys.exit(f"set-up failed: {line}: {result.stderr.decode()}")

    def compare(self, lines, command, chroot=""):
        words = [word.replace("@", ROOT) for word in command]
        seen = []
        for program in (self.java, [self.zab]):
            self.set_up(lines)
            seen.append(self.run(program, words, chroot).splitlines())
        return list(difflib.unified_diff(*seen, "zkCli", "zab", n=99, lineterm=""))


    def not_compared(self):
        """Commands and options of the Java shell's usage that no case has."""
        usage = subprocess.run([*self.java, "-server", "127.0.0.1:1", "help"], capture_output=True, timeout=120,
                               check=False, stdin=subprocess.DEVNULL)
        lines = re.findall(r"^\t(\w+) (.*)$", (usage.stdout + usage.stderr).decode(errors="replace"), re.M)
        if len(lines) < 20:
            sys.exit("the Java shell's usage cannot be read")
        used = {}
        for _, line in [*CASES, *CHROOT_CASES]:
            options = used.setdefault(line[0], set())
            for word in line[1:]:
                options.update([word, *(f"-{letter}" for letter in word[1:])] if word.startswith("-") else [])
        missing = []
        for name, syntax in lines:
            if name in SESSION_COMMANDS:
                continue
            if name not in used:
                missing.append(name)
            missing += [f"{name} {option}" for option in re.findall(r"(?<!\w)-\w+", syntax)
                        if option not in used.get(name, ())]
        return missing


def main():
    shells = Shells()
    only = sys.argv[1:]
    different = 0
    cases = [(lines, line, "") for lines, line in CASES] + [(lines, line, ROOT) for lines, line in CHROOT_CASES]
    if only:
        cases = [case for case in cases if case[1][0] in only]
    missing = [] if only else shells.not_compared()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        for lines, line, chroot in cases:
            difference = shells.compare(lines, line, chroot)
            if difference:
                different += 1
                print(f"### {' '.join(line)}{f' (chroot {chroot})' if chroot else ''}")
                print("\n".join(difference), flush=True)
        shells.set_up([])
    for what in missing:
        print(f"### {what}: no case has it")
    different += len(missing)
    print(f"{len(cases)} commands compared, {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
