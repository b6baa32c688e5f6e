#!/usr/bin/env python3
"""Runs stock ZooKeeper clients against a server: zabd, or Apache ZooKeeper for reference.

    run.py                          every suite against zabd, but for those of applications
    run.py --only kazoo,go          some of them
    run.py --server apache          the same suites against Apache ZooKeeper
    run.py --ensemble follower      against three voters and an observer, through a follower
    run.py --ensemble observer      the same, through the observer
    run.py --ensemble some          most suites, each through the one or the other: what CI runs
    run.py --prepare                only fetch and build what the suites need

The last line is `N passed, N failed, N skipped`; the exit code is 1 if anything failed. A suite whose
tools are missing is skipped with the reason, unless CI=true: there `scripts/install-test-deps` must
have provided them, and it fails.
"""

import argparse
import concurrent.futures
import os
import sys
import threading
import time
import traceback

from harness.cache import BuildFailed, Missing
from harness.ensemble import ROLES, Ensemble
from harness.report import Report
from harness.server import Server, ServerFailed, server_command
from harness.suites import SOME, SUITES

PRINT = threading.Lock()


def say(text):
    """Prints whole lines, also when suites run side by side."""
    with PRINT:
        print(text, flush=True)


def missing(report, reason):
    """A tool is missing: a skip for a developer, a failure in CI."""
    if os.environ.get("CI") == "true":
        report.fails("prepare", f"{reason} (CI=true: scripts/install-test-deps must provide it)")
    else:
        report.skips("suite", str(reason))


def run_suite(suite, kind, through, keep):
    """Prepares and runs one suite against a server or an ensemble of its own; never raises."""
    report = Report(f"{suite.name} through the {through}" if through else suite.name)
    started = time.monotonic()
    output, server = [], None
    try:
        suite.prepare()
        started = time.monotonic()
        if through:
            server = Ensemble(kind, suite.name, suite.config, through)
        else:
            server = Server(kind, suite.name, suite.config)
        if suite.starts_server:
            server.start()
        output = suite.run(server, report)
        if suite.starts_server and not report.failed:
            server.stop()
    except Missing as reason:
        missing(report, reason)
    except (BuildFailed, ServerFailed) as error:
        report.fails("suite", str(error))
    except Exception:  # A fault of the harness must not hide the other suites' results.
        report.fails("suite", traceback.format_exc())
    report.seconds = time.monotonic() - started
    lines = [f"{report.suite}: {line[5:]}" for line in output if line.startswith("NOTE ")]
    lines += [f"FAIL {report.suite} {name}: {reason}" for name, reason in report.failed]
    lines += [f"SKIP {report.suite} {name}: {reason}" for name, reason in report.skipped]
    if report.failed:
        lines += [f"---- last output of {report.suite}", *output[-150:]]
        if server is not None:
            lines += [f"---- last lines of the server's log in {report.suite}", server.log_tail()]
    if server is not None:
        if keep:
            lines.append(f"kept {server.directory}")
        server.close(keep)
    lines.append(f"done {report.line()}")
    say("\n".join(lines))
    return report


def main():
    """Parses the arguments, runs the suites, prints the summary."""
    parser = argparse.ArgumentParser(description="stock ZooKeeper clients against a server")
    parser.add_argument("--server", choices=["zabd", "apache"], default="zabd")
    parser.add_argument("--ensemble", choices=[*ROLES, "some"],
                        help="against an ensemble, through a server of this role")
    parser.add_argument("--only", default="", help="suites, separated by commas")
    parser.add_argument("--jobs", type=int, default=2, help="suites side by side")
    parser.add_argument("--keep", action="store_true", help="keep the servers' directories")
    parser.add_argument("--prepare", action="store_true", help="only fetch and build")
    arguments = parser.parse_args()

    names = [name for name in arguments.only.split(",") if name]
    unknown = set(names) - {suite.name for suite in SUITES}
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(suite.name for suite in SUITES)}")
    suites = [suite for suite in SUITES
              if suite.name in names or not (names or suite.on_request)]
    roles = dict.fromkeys((suite.name for suite in suites), arguments.ensemble)
    if arguments.ensemble == "some":
        roles = SOME
        suites = [suite for suite in suites if suite.name in SOME]

    if arguments.prepare:
        failed = False
        for suite in suites:
            started = time.monotonic()
            try:
                suite.prepare()
                say(f"prepared {suite.name} in {time.monotonic() - started:.1f} s")
            except (Missing, BuildFailed) as error:
                failed = True
                say(f"cannot prepare {suite.name}: {error}")
        sys.exit(1 if failed and os.environ.get("CI") == "true" else 0)

    try:
        server_command(arguments.server)
    except (Missing, BuildFailed, ServerFailed) as error:
        say(f"cannot start {arguments.server}: {error}")
        say("0 passed, 1 failed, 0 skipped")
        sys.exit(1)

    with concurrent.futures.ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
        running = [pool.submit(run_suite, s, arguments.server, roles[s.name], arguments.keep)
                   for s in suites]
        reports = [future.result() for future in running]

    print()
    for report in reports:
        print(report.line())
    passed, failed, skipped = (
        sum(len(getattr(report, field)) for report in reports)
        for field in ("passed", "failed", "skipped")
    )
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
