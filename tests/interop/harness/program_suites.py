"""Suites that are one client program each: built once, run against one server."""

import os
import shutil

from . import cache
from .client import run_program


def sources(directory, *patterns):
    """The files under a directory that a build depends on, in a stable order."""
    return sorted({path for pattern in patterns for path in directory.glob(pattern)})


# ---- Go


def go_binaries():
    """Builds the Go programs."""
    go = cache.tool("go")
    root = cache.INTEROP / "go"
    inputs = sources(root, "go.mod", "go.sum", "*/*.go")

    def build(directory):
        for program in ("client", "crash"):
            cache.run([go, "build", "-o", directory / program, f"./{program}"], cwd=root,
                      env=dict(os.environ, GOFLAGS="-mod=readonly", CGO_ENABLED="0"))

    return cache.built("go", inputs, build)


def run_go(server, report):
    """go-zookeeper."""
    return run_program([go_binaries() / "client"], server, report, timeout_s=420)


def run_crash(server, report):
    """Writes through many sessions while the server is killed and restarted."""
    return run_program([go_binaries() / "crash"], server, report, timeout_s=420)


# ---- Java


def java_libraries():
    """Fetches the Java libraries; returns their directory."""
    cache.tool("java")
    pom = cache.INTEROP / "java" / "pom.xml"

    def fetch(directory):
        cache.run([cache.tool("mvn"), "-q", "-B", "-f", pom, cache.COPY_DEPENDENCIES,
                   f"-DoutputDirectory={directory}"])

    return cache.built("java-libraries", [pom], fetch)


def java_classes():
    """Compiles the tests; returns the class path."""
    javac = cache.tool("javac")
    root = cache.INTEROP / "java"
    pom = root / "pom.xml"
    libraries = java_libraries()
    files = sources(root / "src", "**/*.java")

    def build(directory):
        cache.run([javac, "--release", "17", "-d", directory, "-cp", f"{libraries}/*", *files])

    return f"{cache.built('java-classes', [pom, *files], build)}:{libraries}/*"


def run_java(server, report):
    """The stock Java client and Curator."""
    command = [cache.tool("java"), "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
               "-cp", java_classes(), "zabd.interop.Main"]
    return run_program(command, server, report, timeout_s=600)


# ---- C


def c_library():
    """Looks whether Debian's library is here."""
    if not os.path.exists("/usr/include/zookeeper/zookeeper.h"):
        raise cache.Missing("no libzookeeper-mt-dev")


def c_program():
    """Builds the C program against Debian's library."""
    source = cache.INTEROP / "c" / "main.c"
    c_library()

    def build(directory):
        cache.run([cache.tool("gcc"), "-std=gnu11", "-Wall", "-Wextra", "-O1", "-g", "-DTHREADED",
                   source, "-lzookeeper_mt", "-lpthread", "-o", directory / "client"])

    return cache.built("c", [source], build) / "client"


def run_c(server, report):
    """libzookeeper-mt."""
    return run_program([c_program()], server, report, timeout_s=330)


# ---- Node


def node_modules():
    """Installs the npm packages; `zookeeper` compiles the C client that it carries."""
    cache.tool("node")
    npm = cache.tool("npm")
    cache.tool("make")
    package = cache.INTEROP / "node" / "package.json"
    node_version = cache.run([cache.tool("node"), "--version"]).strip()

    def build(directory):
        shutil.copy(package, directory)
        env = dict(os.environ, CC="gcc", CXX="g++")
        # The headers of the installed Node, where there are any, instead of a download.
        if os.path.exists("/usr/include/node/node.h"):
            env["npm_config_nodedir"] = "/usr"
        cache.run([npm, "install", "--no-package-lock", "--no-audit", "--no-fund"], cwd=directory,
                  env=env)
        addon = directory / "node_modules" / "zookeeper" / "build" / "Release" / "zookeeper.node"
        if not addon.exists():
            # Set to ignore scripts, npm did not build it.
            cache.run([npm, "rebuild", "--ignore-scripts=false", "--foreground-scripts",
                       "zookeeper"], cwd=directory, env=env)
        if not addon.exists():
            raise cache.BuildFailed("npm did not build the addon of `zookeeper`")

    return cache.built("node", [package, node_version], build) / "node_modules"


def run_node(server, report):
    """npm's zookeeper and node-zookeeper-client."""
    modules = node_modules()
    output = []
    for program in ("native.js", "pure.js"):
        command = [cache.tool("node"), cache.INTEROP / "node" / program]
        output += run_program(command, server, report, timeout_s=240,
                              env={"NODE_PATH": str(modules)})
    return output


# ---- Rust


def rust_program():
    """Builds the Rust program; cargo itself knows what has changed."""
    cargo = cache.tool("cargo")
    target = cache.cache_dir() / "rust-target"
    manifest = cache.INTEROP / "rust" / "Cargo.toml"
    cache.run([cargo, "build", "--quiet", "--locked", "--manifest-path", manifest],
              env=dict(os.environ, CARGO_TARGET_DIR=str(target)))
    return target / "debug" / "interop-rust"


def run_rust(server, report):
    """The crate zookeeper-client."""
    return run_program([rust_program()], server, report, timeout_s=300)


# ---- Applications


def app_libraries(name):
    """Fetches an application with all that it needs; returns the directory."""
    pom = cache.INTEROP / "apps" / name / "pom.xml"

    def fetch(directory):
        cache.run([cache.tool("mvn"), "-q", "-B", "-f", pom, cache.COPY_DEPENDENCIES,
                   "-DincludeScope=runtime", f"-DoutputDirectory={directory}"])

    return cache.built(f"{name}-libraries", [pom], fetch)


def app_classes(name):
    """Compiles the tests of an application; returns the class path."""
    javac = cache.tool("javac")
    libraries = app_libraries(name)
    files = [*sources(cache.INTEROP / "apps", "*.java", f"{name}/*.java"),
             *sources(cache.INTEROP / "java" / "src", "**/Harness.java")]

    def build(directory):
        cache.run([javac, "--release", "17", "-d", directory, "-cp", f"{libraries}/*", *files])

    classes = cache.built(f"{name}-classes", [cache.INTEROP / "apps" / name / "pom.xml", *files], build)
    return f"{classes}:{libraries}/*"


def run_app(name, main):
    """A run of an application's own servers."""
    def run(server, report):
        command = [cache.tool("java"), "-Xmx300m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
                   "-cp", app_classes(name), f"zabd.interop.{main}"]
        return run_program(command, server, report, timeout_s=900)

    return run
