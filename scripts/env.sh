# Sourced by the scripts here: where the cache is, and which compilers the build uses.
# shellcheck shell=bash

ZABD_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/zabd"
mkdir -p "$ZABD_CACHE"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$ZABD_CACHE/target}"

# RocksDB's C++ takes ten minutes on two cores; with a compiler cache only the first time.
use_ccache() {
    if command -v ccache > /dev/null; then
        export CC="${CC:-ccache gcc}" CXX="${CXX:-ccache g++}"
    fi
}
use_ccache

# apt_install PACKAGE...: installs Debian packages, as root or by sudo.
apt_install() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    if ! command -v apt-get > /dev/null; then
        echo "not a Debian machine; install what provides: $*" >&2
        return 1
    fi
    echo "installing $*"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" > "$ZABD_CACHE/apt.log" 2>&1 ||
        { tail -20 "$ZABD_CACHE/apt.log" >&2; return 1; }
}

# installed PACKAGE: is this Debian package installed?
installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}
