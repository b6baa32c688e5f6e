"""Runs a client program and reads its results from its standard output.

The program writes one line for each test and a last line that counts them, so that neither a crash
nor an early exit can pass for success:

    PASS <name>
    FAIL <name>: <reason>
    SKIP <name>: <reason>
    END <number of the lines above>

A line `@server stop`, `@server start`, `@server kill` or `@server restart` asks for that to be done
to the server; the answer, `ok` or `error <reason>`, arrives on the program's standard input. A line
that begins with `NOTE ` is printed; every other line is the program's own trace and is shown only
when something failed.
"""

import os
import subprocess
import threading

from .server import ServerFailed

SERVER_ACTIONS = {
    "stop": lambda server: server.stop(),
    "start": lambda server: server.start(),
    "kill": lambda server: server.kill(),
    "restart": lambda server: (server.stop(), server.start()),
}


def run_program(command, server, report, timeout_s, env=None, cwd=None):
    """Runs one client program to its end and adds its results to `report`.

    Returns the program's output, for the log of a failed suite.
    """
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=dict(os.environ, ZK_ADDRESS=server.address, ZK_MEMBERS=server.members, **(env or {})),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
    )
    timed_out = threading.Event()

    def on_timeout():
        timed_out.set()
        process.kill()

    timer = threading.Timer(timeout_s, on_timeout)
    timer.start()
    output, results, announced = [], 0, None
    try:
        for line in process.stdout:
            line = line.rstrip("\n")
            output.append(line)
            word, _, rest = line.partition(" ")
            name, _, reason = rest.partition(": ")
            if word == "PASS":
                report.passes(rest)
                results += 1
            elif word == "FAIL":
                report.fails(name, reason)
                results += 1
            elif word == "SKIP":
                report.skips(name, reason)
                results += 1
            elif word == "END":
                announced = int(rest)
            elif word == "@server":
                answer(process, server, rest)
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
    if timed_out.is_set():
        report.fails("program", f"did not end within {timeout_s} s")
    elif announced is None:
        report.fails("program", f"exited with {code} before its last test")
    elif announced != results:
        report.fails("program", f"announced {announced} results, {results} were read")
    elif code != 0 and not report.failed:
        report.fails("program", f"exited with {code} although no test failed")
    return output


def answer(process, server, action):
    """Does what an `@server` line asks for."""
    try:
        if action not in SERVER_ACTIONS:
            raise ServerFailed(f"unknown action {action}")
        SERVER_ACTIONS[action](server)
        reply = "ok"
    except ServerFailed as error:
        reply = f"error {error}"
    try:
        process.stdin.write(reply + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # The program has ended; its missing END line tells.
