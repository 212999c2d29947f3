"""Keys of the ZeroMQ sockets: who may connect, and where that stands (docs/security.md).

    FOLDER/server.key          public and secret key of the sockets of a stream
    FOLDER/clients/NAME.pub    public key of a client that may connect: the allow list
    NAME.key                   what a client holds: its own two keys, and the server's public one

A key is 32 bytes of CURVE, written as the 40 characters of ZeroMQ's Z85. Files with a secret are
YAML, so that any language reads them, and belong to their user alone: those that others can read
are refused, and so is a folder that others can write to.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
import zmq
from zmq.utils import z85

from aam_edge.errors import UsageError
from aam_edge.strict_yaml import StrictLoader

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", re.ASCII)
Z85 = re.compile(r"[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}", re.ASCII)
LARGEST_FILE_BYTES = 4096
OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A public key and its secret, which no message and no log may show."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """A pair that nobody else has; raises UsageError where libzmq cannot make one."""
        check_curve()
        while True:
            public, secret = (half.decode() for half in zmq.curve_keypair())
            if not public.startswith("-"):  # a command line would take it for an option
                return cls(public, secret)


@dataclass(frozen=True, slots=True)
class ClientKey:
    """All that a client needs to connect."""

    pair: KeyPair
    server: str
    """The server's public key."""

    @classmethod
    def read(cls, path: Path) -> ClientKey:
        """From a NAME.key; raises UsageError."""
        fields = _read_secret(path, ("public", "secret", "server"))
        return cls(_pair_of(fields, path), fields["server"])

    def write(self, path: Path) -> None:
        """To a new file; raises UsageError, also where one is there already."""
        pair = self.pair
        _write_secret(path, {"public": pair.public, "secret": pair.secret, "server": self.server})

    def put_on(self, socket: zmq.Socket[Any]) -> None:
        """Makes a socket that will connect show this key, and take no other server."""
        check_curve()
        socket.setsockopt_string(zmq.CURVE_SERVERKEY, self.server)
        socket.setsockopt_string(zmq.CURVE_PUBLICKEY, self.pair.public)
        socket.setsockopt_string(zmq.CURVE_SECRETKEY, self.pair.secret)


class KeyFolder:
    """The keys of a server and its allow list; everything is read anew from the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server_file = path / "server.key"
        self.clients_folder = path / "clients"

    @property
    def is_there(self) -> bool:
        """Whether `aam-edge keys new` was run; also true where its files cannot be read."""
        try:
            self.server_file.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def server(self) -> KeyPair:
        """The server's keys; raises UsageError."""
        if not self.is_there:
            todo = f"make one: aam-edge keys new --keys {self.path}"
            raise UsageError("there is no key of a server", self.server_file, todo)
        self._check_folders()
        return _pair_of(_read_secret(self.server_file, ("public", "secret")), self.server_file)

    def clients(self) -> dict[str, str]:
        """Name to public key of all who may connect, by name; raises UsageError."""
        self._check_folders()
        try:
            files = sorted(f for f in self.clients_folder.iterdir() if f.suffix == ".pub")
        except OSError as problem:
            raise _unreadable(self.clients_folder, problem) from problem
        found = ((file, _read_listed(file)) for file in files)
        return {file.stem: check_key(text, file) for file, text in found if text is not None}

    def make_server(self, *, replace: bool = False) -> KeyPair:
        """A new pair for the server; raises UsageError, also where one is there already."""
        pair = KeyPair.new()
        self._make_folders()
        if self.is_there and not replace:
            todo = "go on with it, or give --replace: then every client needs the new public key"
            raise UsageError("the server has a key already", self.server_file, todo)
        fields = {"public": pair.public, "secret": pair.secret}
        _write_secret(self.server_file, fields, replace=replace)
        return pair

    def allow(self, name: str, public: str) -> None:
        """Lets a client in from its next handshake on; raises UsageError.

        Args:
            name: ours for it: letters, digits, ".", "_" and "-".
            public: its public key; takes the place of an older one of this name.
        """
        check_name(name)
        check_key(public, "PUBLIC")
        self._make_folders()
        for other, key in self.clients().items():
            if key == public and other != name:
                raise UsageError("this key is allowed already", other, "revoke it there first")
        _write(self._file_of(name), f"{public}\n", replace=True)

    def check_new(self, name: str, *, replace: bool) -> None:
        """Raises UsageError for a name that has a key already, unless it is to be replaced."""
        if name in self.clients() and not replace:
            todo = "take another name, or give --replace: then its old key is worth nothing"
            raise UsageError("a client of this name is allowed already", name, todo)

    def revoke(self, name: str) -> None:
        """Takes a client from the list; raises UsageError."""
        check_name(name)
        try:
            self._file_of(name).unlink()
        except FileNotFoundError as problem:
            todo = "aam-edge keys list shows all names"
            raise UsageError("there is no client of this name", name, todo) from problem
        except OSError as problem:
            raise _unwritable(self._file_of(name), problem) from problem

    def _file_of(self, name: str) -> Path:
        return self.clients_folder / f"{name}.pub"

    def _make_folders(self) -> None:
        try:
            for folder in (self.path, self.clients_folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as problem:
            raise _unwritable(self.path, problem) from problem
        self._check_folders()

    def _check_folders(self) -> None:
        """Who can write there can let anybody in."""
        for folder in (self.path, self.clients_folder):
            try:
                mode = folder.stat().st_mode
            except OSError as problem:
                raise _unreadable(folder, problem) from problem
            if mode & WRITABLE_BY_OTHERS:
                value = f"{folder}, mode {stat.S_IMODE(mode):o}"
                raise UsageError("others can write to the keys", value, f"chmod 700 {folder}")


def default_folder() -> Path:
    """`$XDG_CONFIG_HOME/aam-edge/keys`, else `~/.config/aam-edge/keys`; raises UsageError."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        # A relative path is to be ignored (XDG Base Directory Specification).
        base = Path(given) if given.startswith("/") else Path.home() / ".config"
    except RuntimeError as problem:
        todo = "give --set net.keys=FOLDER, or set XDG_CONFIG_HOME"
        raise UsageError("there is no place for keys", "no home folder", todo) from problem
    return base / "aam-edge" / "keys"


def check_curve() -> None:
    """Raises UsageError where libzmq was built without CURVE."""
    if not zmq.has("curve"):
        todo = (
            "install pyzmq from its wheel: pip install --force-reinstall --only-binary :all: pyzmq"
        )
        raise UsageError("this libzmq has no CURVE", f"libzmq {zmq.zmq_version()}", todo)


def _pair_of(fields: dict[str, str], path: Path) -> KeyPair:
    check_curve()
    pair = KeyPair(fields["public"], fields["secret"])
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise UsageError("key is damaged", f"{path}: the halves do not fit", "make a new one")
    return pair


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        todo = "give letters, digits, ., _ and -, at most 64, no dot in front"
        raise UsageError("name of a client is wrong", name, todo)


def check_key(text: str, place: object) -> str:
    """Checks a key's form; raises UsageError, which does not show what may be a secret."""
    key = text.strip()
    try:
        if not Z85.fullmatch(key):
            raise ValueError
        z85.decode(key)
    except (ValueError, struct.error) as problem:  # struct: five letters beyond 32 bits
        todo = "a key has 40 characters of Z85; aam-edge keys new prints one"
        raise UsageError("not a key", place, todo) from problem
    return key


def _read_secret(path: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The keys of a YAML file that only its user can read."""
    text = _read(path, OF_OTHERS)
    try:
        fields = yaml.load(text, StrictLoader)
    except yaml.YAMLError as problem:
        # Not with the parser's words: they show the line, which may be the secret.
        raise UsageError("key file is not YAML", path, "make a new one") from problem
    if not isinstance(fields, dict) or set(fields) != set(names):
        todo = f"it must hold {', '.join(names)}; aam-edge keys new makes one"
        raise UsageError("not a file with keys for this", path, todo)
    return {name: check_key(str(fields[name]), f"{path}, {name}") for name in names}


def _read(path: Path, forbidden: int) -> str:
    """A small file, unless its mode gives others what is forbidden."""
    try:
        # Not blocking: a FIFO in its place must not stop us.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            # Of what is open, not of the path: nobody can put another file there in between.
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError("key is not a file", path, "give the file itself")
            if mode & forbidden:
                what = "read" if forbidden == OF_OTHERS else "change"
                value = f"{path}, mode {stat.S_IMODE(mode):o}"
                raise UsageError(f"others can {what} this key", value, f"chmod 600 {path}")
            return file.read(LARGEST_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as problem:
        raise _unreadable(path, problem) from problem


def _read_listed(path: Path) -> str | None:
    """A file of the allow list; None if it has just been revoked."""
    try:
        return _read(path, WRITABLE_BY_OTHERS)
    except UsageError as problem:
        if isinstance(problem.__cause__, FileNotFoundError):
            return None
        raise


def _unreadable(path: Path, problem: Exception) -> UsageError:
    why = getattr(problem, "strerror", None) or "not text"
    return UsageError("keys cannot be read", f"{path}: {why}", "check path and rights")


def _unwritable(path: Path, problem: OSError) -> UsageError:
    return UsageError(
        "keys cannot be written", f"{path}: {problem.strerror}", "check path and rights"
    )


def _write_secret(path: Path, fields: dict[str, str], *, replace: bool = False) -> None:
    # No character of Z85 needs an escape within quotes.
    lines = [f'{name}: "{key}"\n' for name, key in fields.items()]
    _write(path, "# Secret: for its owner alone, mode 0600.\n" + "".join(lines), replace=replace)


def _write(path: Path, text: str, *, replace: bool) -> None:
    """The whole file or none, of mode 0600 from its first byte on."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        if replace:
            fresh.replace(path)
        else:
            path.hardlink_to(fresh)  # unlike a rename it refuses a file that is there
    except FileExistsError as problem:
        todo = "move it away, or write elsewhere with --out"
        raise UsageError("there is a file already", path, todo) from problem
    except OSError as problem:
        raise _unwritable(path, problem) from problem
    finally:
        fresh.unlink(missing_ok=True)
