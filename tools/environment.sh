# Sourced by the tools: finds Python, and keeps a virtual environment that fits setup.cfg.

say() { printf '%s: %s\n' "$tool" "$*"; }
fail() {
    say "$*" >&2
    exit 2
}

# Sets `python` to one that is new enough and can make environments, or else is new enough. The plain
# name goes first: it is the one that its user chose. Each is run, because a name on the path may be a
# shim with nothing behind it.
find_python() {
    local name
    python=""
    for name in python3 python3.13 python3.12 python3.11 python3.10; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
        python=${python:-$name}
        can_make_environments "$name" && python=$name && return
    done
    [[ -n $python ]] ||
        fail "Python 3.10 or newer is missing: sudo apt-get install python3 python3-venv"
}

can_make_environments() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# has_library NAME: whether the system's loader finds it.
has_library() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }

# What neither Python nor the wheels from PyPI bring along on Linux, all in one line.
check_system() {
    local missing=() packages=()
    if ! can_make_environments "$python"; then
        missing+=("venv")
        packages+=("$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
    fi
    if [[ $(uname -s) == Linux ]]; then
        has_library libGL.so.1 || { missing+=(libGL.so.1) && packages+=(libgl1); }
        has_library libgthread-2.0.so.0 ||
            { missing+=(libgthread-2.0.so.0) && packages+=(libglib2.0-0); }
        has_library libportaudio.so.2 || without_sound
    fi
    ((${#missing[@]} == 0)) ||
        fail "parts of the system are missing (${missing[*]}): sudo apt-get install ${packages[*]}"
}

without_sound() {
    say "no microphone without PortAudio, all else works: sudo apt-get install libportaudio2"
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
