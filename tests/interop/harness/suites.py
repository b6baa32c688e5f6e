"""The suites: what each needs built, and how it runs."""

import dataclasses
import functools
import typing

from . import apache_suite, kazoo_suite, program_suites, zkcli_suite


@dataclasses.dataclass(frozen=True)
class Suite:
    """One client library against one server.

    `prepare()` fetches and builds into the cache; `run(server, report)` records results and returns
    the output to show on failure.
    """

    name: str
    prepare: typing.Callable
    run: typing.Callable
    config: dict = dataclasses.field(default_factory=dict)
    # kazoo's own harness starts its server.
    starts_server: bool = True
    # Only run when it is named.
    on_request: bool = False


def app(name, main):
    """An application with servers of its own."""
    return Suite(name, functools.partial(program_suites.app_classes, name),
                 program_suites.run_app(name, main), on_request=True)


# The longest first: they are started in this order, two at a time.
SUITES = [
    Suite("kazoo", kazoo_suite.prepare, kazoo_suite.run, starts_server=False),
    Suite("apache", apache_suite.prepare, apache_suite.run, starts_server=False),
    Suite("shells", zkcli_suite.prepare, zkcli_suite.run_comparison),
    Suite("crash", program_suites.go_binaries, program_suites.run_crash),
    Suite("java", program_suites.java_classes, program_suites.run_java),
    Suite("zkcli", zkcli_suite.prepare, zkcli_suite.run),
    Suite("node", program_suites.node_modules, program_suites.run_node),
    Suite("rust", program_suites.rust_program, program_suites.run_rust),
    Suite("c", program_suites.c_program, program_suites.run_c),
    Suite("go", program_suites.go_binaries, program_suites.run_go),
    app("kafka", "KafkaBrokers"),
    app("hbase", "HBaseServers"),
]

# What `--ensemble some` runs, and through which server: `crash` and the other halves take minutes more.
SOME = {
    "kazoo": "observer",
    "apache": "follower",
    "java": "follower",
    "zkcli": "observer",
    "node": "observer",
    "rust": "follower",
    "c": "follower",
    "go": "follower",
}
