#!/bin/sh
# Makes .venv hold exactly what a lock file names, and this checkout: sh deploy/venv.sh requirements.lock
#
# Nothing happens where that is so already. PYTHON names an interpreter; without it the first fit one is taken.
# Only wheels whose hash is in the lock are installed, so nobody else's code runs while installing.
set -eu

lock=$1
stamp=.venv/.holds-$lock
fits='import sys; raise SystemExit(not sys.version_info >= (3, 11))'

# What .venv was made from: another lock, other metadata or another folder (scripts hold its path) make it anew.
wanted() {
    pwd
    cat requirements-build.lock "$lock" pyproject.toml reader/pyproject.toml
}

usable_venv() {
    [ -x .venv/bin/python ] && .venv/bin/python -c "$fits; import pip" 2>/dev/null || return 1
    [ ! -e .venv/.made-in ] || [ "$(cat .venv/.made-in)" = "$(pwd)" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -V 2>&1)" = "$(.venv/bin/python -V)" ]
}

# Prints the first interpreter that fits; says on stderr what was wrong with each where none does.
find_python() {
    looked=
    for python in ${PYTHON:-python3.13 python3.14 python3.15 python3.12 python3.11 python3 python}; do
        if ! "$python" -c "$fits" >/dev/null 2>&1; then
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version='not found'
            looked="$looked\n    $python: $version"
        elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            looked="$looked\n    $python: has no venv and ensurepip (Debian and Ubuntu: install its package, $python-venv)"
        else
            echo "$python"
            return
        fi
    done
    printf 'refreshd needs Python 3.11 or later with venv. Looked at:%b\n' "$looked" >&2
    printf 'Install one, or name it: make %s PYTHON=/path/to/python3.12\n' "${GOAL:-demo}" >&2
    return 1
}

if ! usable_venv; then
    python=$(find_python)
    echo "Making .venv with $("$python" -c 'import sys; print("Python", sys.version.split()[0], "of", sys.executable)')"
    rm -rf .venv
    "$python" -m venv .venv
    pwd >.venv/.made-in
fi

# cmp stops reading at the first difference, and a cat whose reader is gone complains where SIGPIPE is ignored.
if [ -e "$stamp" ] && wanted 2>/dev/null | cmp -s - "$stamp"; then
    exec .venv/bin/python reader/hatch_build.py # installing does it, too; a module may have changed since
fi

# Counts on a terminal what pip has got so far: some minutes without a word look like a hang. Returns pip's exit code.
counted() {
    got=0 code=1
    while IFS= read -r line; do
        case $line in
            Collecting*) got=$((got + 1)) && printf '\r  %s of about %s' "$got" "$count" ;;
            'Installing collected'*) printf '\r  %s packages are here, unpacking them ...' "$got" ;;
            'pip ended: '*) code=${line#pip ended: } ;;
        esac
    done
    printf '\r\033[K'
    return "$code"
}

count=$(grep -c '==' "$lock")
echo "Installing $count packages from $lock into .venv (once)"
pip='.venv/bin/python -m pip --disable-pip-version-check --no-input'
locked="--require-hashes --only-binary :all: -r requirements-build.lock -r $lock"
if [ -t 1 ]; then
    { PYTHONUNBUFFERED=1 $pip install --progress-bar off $locked && echo 'pip ended: 0' || echo "pip ended: $?"; } | counted
else
    $pip install --quiet $locked
fi
$pip install --quiet --no-index --no-deps --no-build-isolation -e reader -e .
wanted >"$stamp"
