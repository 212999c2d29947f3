# Sourced by the tools: finds Python, and keeps a virtual environment that fits setup.cfg.

say() { printf '%s: %s\n' "$tool" "$*"; }
fail() {
    say "$*" >&2
    exit 2
}

# The first Python >= 3.10 that can make an environment. The plain name goes first: it is the one that
# its user chose. Each is run, because a name on the path may be a shim with nothing behind it.
find_python() {
    local name
    python=""
    for name in python3 python3.13 python3.12 python3.11 python3.10; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
        python=$name
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
    done
    if [[ -n $python ]]; then
        local version
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        fail "venv is missing ($python): sudo apt-get install python$version-venv"
    fi
    fail "Python 3.10 or newer is missing: sudo apt-get install python3 python3-venv"
}

# has_library NAME: whether the system's loader finds it.
has_library() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }

# What the wheels from PyPI do not bring along on Linux.
check_libraries() {
    [[ $(uname -s) == Linux ]] || return 0
    has_library libGL.so.1 || fail "libGL.so.1 is missing (OpenCV): sudo apt-get install libgl1"
    has_library libgthread-2.0.so.0 ||
        fail "libgthread-2.0.so.0 is missing (OpenCV): sudo apt-get install libglib2.0-0"
    has_library libportaudio.so.2 ||
        say "no microphone without PortAudio (all else works): sudo apt-get install libportaudio2"
}

# make_environment FOLDER REQUIREMENT...: installs, unless it was done for the same setup.cfg before.
make_environment() {
    local folder=$1 wanted log
    shift
    wanted="$("$python" -c 'import sys; print(sys.version)') $root $*
$(cat "$root/setup.cfg" "$root/pyproject.toml" | cksum)"
    # The mark is written last, so that a broken-off installation is done again.
    [[ -f $folder/made-for && $(<"$folder/made-for") == "$wanted" ]] && return
    say "installing into ${folder#"$root"/} ..."
    log=$folder/install.log
    "$python" -m venv --clear "$folder"
    if ! "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
        "$@" >"$log" 2>&1; then
        grep -E '^ *(ERROR|error)' "$log" >&2 || tail -n 20 "$log" >&2
        fail "installation failed (all of it in $log): check the network and run this again"
    fi
    printf '%s\n' "$wanted" >"$folder/made-for"
}
