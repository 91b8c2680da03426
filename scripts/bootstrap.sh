#!/bin/sh
# Makes .venv exactly what requirements.lock says, and installs this project into it (editable).
#
# Needs a Python >= 3.11, and pip or uv; no root, no venv module. Where the system's Python is
# externally managed (PEP 668) nothing is put into it: uv is fetched into .tools/ and makes the
# environment without Python's own venv. Everything fetched is checked against a hash in this
# repository: uv against scripts/uv.txt, the rest against requirements.lock.
#
# Run again it compares the recorded inputs, finds nothing to do and returns at once.
#   sh scripts/bootstrap.sh        make or renew .venv
#   sh scripts/bootstrap.sh uv     print the path of uv, fetching it if there is none
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/installed-from
tools=.tools

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

# What the environment is made from; its place too, because scripts in .venv hold absolute paths.
inputs() { pwd; cat scripts/bootstrap.sh pyproject.toml requirements.lock; }

works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# The first usable interpreter. PATH's python3 may be older than a newer one beside it, and a
# version manager's shim may stand for a version that is not there: so each one is tried.
find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null 2>&1 && works "$name"; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
}

# Any Python's pip will do to fetch uv: its wheel holds one binary and no Python to speak of.
find_pip() {
    for name in "$1" python3 python3.14 python3.13 python3.12 python3.11 python; do
        if [ -n "$name" ] && "$name" -m pip --version >/dev/null 2>&1; then
            printf '%s\n' "$name"
            return
        fi
    done
}

find_uv() {
    for candidate in "$(command -v uv || true)" "$tools/bin/uv"; do
        if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    with_pip=$(find_pip "$1")
    [ -n "$with_pip" ] || fail "neither uv nor pip is here. Install pip (Debian: apt install python3-pip) and try again."
    say "fetching uv into $tools/"
    rm -rf "$tools"
    # --target is exempt from PEP 668, but clashes with a configured --user or required venv.
    PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
        "$with_pip" -m pip install --quiet --no-deps --only-binary :all: --require-hashes \
        --target "$tools" -r scripts/uv.txt >&2 </dev/null ||
        fail "pip could not fetch uv. Check the network and pip's settings (pip config list)."
    printf '%s\n' "$tools/bin/uv"
}

# A machine that reaches packages through a mirror has told pip so; uv does not read pip's settings.
follow_pip_settings() {
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        index=${PIP_INDEX_URL:-$("${1:-python3}" -m pip config get global.index-url 2>/dev/null || true)}
        if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
    fi
    if [ -z "${SSL_CERT_FILE:-}" ] && [ -n "${PIP_CERT:-}" ]; then export SSL_CERT_FILE="$PIP_CERT"; fi
}

# One package of the lock, with its hashes.
locked() { awk -v name="$1" '/^[A-Za-z0-9]/ { split($1, part, "=="); keep = part[1] == name } keep' requirements.lock; }

sync_with_lock() {
    "$uv" pip sync --python .venv/bin/python --require-hashes --no-build-isolation requirements.lock \
        </dev/null 2>&1 && echo "status 0" || echo "status 1"
}

# What uv says without its list of every package; the status of the pipeline is uv's.
show_progress() {
    while IFS= read -r line; do
        case $line in
            "status "*) exit "${line#status }" ;;
            " + "* | " - "* | " ~ "*) ;;
            *) printf '    %s\n' "$line" >&2 ;;
        esac
    done
}

if [ "${1:-}" = uv ]; then
    find_uv "$(find_python)"
    exit
fi

if inputs | cmp -s - "$stamp" && works .venv/bin/python; then
    exit 0
fi

python=$(find_python)
uv=$(find_uv "$python")
follow_pip_settings "$python"

if ! works .venv/bin/python; then
    rm -rf .venv
    say "making .venv with ${python:-a Python >= 3.11 that uv finds}"
    "$uv" venv --quiet --python "${python:->=3.11}" .venv </dev/null ||
        fail "no Python >= 3.11 was found. Install one (Debian: apt install python3) and try again."
fi
rm -f "$stamp"

say "installing the packages of requirements.lock (about 90; a minute on a new machine)"
# Packages that come as source are built by setuptools, which therefore stands there first.
locked setuptools | "$uv" pip install --quiet --python .venv/bin/python --require-hashes -r -
sync_with_lock | show_progress
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable . </dev/null

inputs >"$stamp"
say "the environment is ready in .venv"
