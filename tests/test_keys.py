"""Key files, and `aam-edge keys`: what is made, who may read it, what is refused."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
import zmq

from aam_edge.cli.main import main
from aam_edge.errors import UsageError
from aam_edge.keys import ClientKey, KeyFolder, KeyPair, default_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user without keys, in a folder of theirs, whose umask gives all to all."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def said(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    """Runs the command; its one line of error, or what it prints."""
    assert main(["keys", *words]) == code
    out, err = capsys.readouterr()
    if code:
        assert err.count("\n") == 1
        return err
    return out


def test_new_server_and_new_client_are_files_for_their_owner_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = said(capsys, 0, "new")
    folder = KeyFolder(home / "config" / "aam-edge" / "keys")
    server = folder.server()
    assert server.public in printed
    said(capsys, 0, "new", "laptop")
    key = ClientKey.read(home / "laptop.key")
    assert key.server == server.public
    assert folder.clients() == {"laptop": key.pair.public}
    made = [folder.server_file, home / "laptop.key", folder.clients_folder / "laptop.pub"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o600] * 3
    folders = [folder.path, folder.clients_folder]
    assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [0o700] * 2
    left = {path.name for path in home.rglob("*") if path.is_file()}
    assert left == {"server.key", "laptop.key", "laptop.pub"}


def test_secrets_are_never_printed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = said(capsys, 0, "new") + said(capsys, 0, "new", "laptop") + said(capsys, 0, "list")
    printed += said(capsys, 0, "list", "--json")
    pairs = [KeyFolder(default_folder()).server(), ClientKey.read(home / "laptop.key").pair]
    printed += repr(pairs)
    assert not any(pair.secret in printed for pair in pairs)


def test_client_key_is_yaml_that_any_program_reads(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, 0, "new", "laptop", "--out", "x.key")
    fields = yaml.safe_load((home / "x.key").read_text())
    assert zmq.curve_public(fields["secret"].encode()) == fields["public"].encode()
    assert fields["server"] == KeyFolder(default_folder()).server().public


def test_list_shows_names_and_public_keys(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, 0, "new", "laptop")
    public = ClientKey.read(home / "laptop.key").pair.public
    assert f"laptop  {public}\n" in said(capsys, 0, "list")
    found = json.loads(said(capsys, 0, "list", "--json"))
    assert found["clients"] == {"laptop": public}
    said(capsys, 0, "revoke", "laptop")
    assert "no client is allowed" in said(capsys, 0, "list")
    assert "no client of this name (laptop)" in said(capsys, 2, "revoke", "laptop")


def test_pair_made_elsewhere_is_allowed_by_its_public_half(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, 0, "new", "--keys", "robot")
    server = KeyFolder(home / "robot").server().public
    printed = said(capsys, 0, "new", "tablet", "--server", server)
    line = re.search(r"^aam-edge keys allow tablet '(.{40})'$", printed, re.MULTILINE)
    assert line is not None
    assert not default_folder().exists()
    said(capsys, 0, "allow", "tablet", line[1], "--keys", "robot")
    key = ClientKey.read(home / "tablet.key")
    assert KeyFolder(home / "robot").clients() == {"tablet": key.pair.public}
    refused = said(capsys, 2, "allow", "other", line[1], "--keys", "robot")
    assert "this key is allowed already (tablet)" in refused


def test_nothing_is_overwritten_unasked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, 0, "new", "laptop")
    before = (home / "laptop.key").read_text(), KeyFolder(default_folder()).server()
    assert "server has a key already" in said(capsys, 2, "new")
    assert "allowed already (laptop)" in said(capsys, 2, "new", "laptop", "--out", "y.key")
    assert not (home / "y.key").exists()
    assert "there is a file already" in said(capsys, 2, "new", "laptop", "--replace")
    assert ((home / "laptop.key").read_text(), KeyFolder(default_folder()).server()) == before
    said(capsys, 0, "new", "laptop", "--replace", "--out", "y.key")
    assert KeyFolder(default_folder()).clients() == {
        "laptop": ClientKey.read(home / "y.key").pair.public
    }
    said(capsys, 0, "new", "--replace")
    assert KeyFolder(default_folder()).server() != before[1]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a b", "ü"])
def test_name_that_is_no_file_name_is_refused(home: Path, name: str) -> None:
    folder = KeyFolder(home / "keys")
    folder.make_server()
    with pytest.raises(UsageError, match="name of a client is wrong"):
        folder.allow(name, KeyPair.new().public)
    with pytest.raises(UsageError, match="name of a client is wrong"):
        folder.revoke(name)


@pytest.mark.parametrize("public", ["", "short", "x" * 41, "#" * 40, "a" * 39 + "'", "ä" * 40])
def test_what_is_no_key_is_refused(home: Path, public: str) -> None:
    folder = KeyFolder(home / "keys")
    folder.make_server()
    with pytest.raises(UsageError, match="not a key"):
        folder.allow("laptop", public)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_secret_that_others_can_read_is_refused_in_one_line(home: Path, mode: int) -> None:
    key = ClientKey(KeyPair.new(), KeyPair.new().public)
    path = home / "laptop.key"
    key.write(path)
    path.chmod(mode)
    with pytest.raises(UsageError) as refused:
        ClientKey.read(path)
    assert str(refused.value) == (
        f"others can read this key ({path}, mode {mode:o}): chmod 600 {path}"
    )


def test_list_that_others_can_write_is_refused(home: Path) -> None:
    folder = KeyFolder(home / "keys")
    folder.make_server()
    folder.allow("laptop", KeyPair.new().public)
    for path, words in (
        (folder.clients_folder / "laptop.pub", "others can change this key"),
        (folder.clients_folder, "others can write to the keys"),
        (folder.path, "others can write to the keys"),
    ):
        before = path.stat().st_mode
        path.chmod(before | 0o022)
        with pytest.raises(UsageError, match=words):
            folder.clients()
        path.chmod(before)
    (folder.clients_folder / "laptop.pub").chmod(0o644)
    assert list(folder.clients()) == ["laptop"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a file with keys"),
        ("[1, 2]", "not a file with keys"),
        ("public: x\nsecret: y\nserver: z\n", "not a key"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("a: 'SECRET", "not YAML"),
        ("\0", "not YAML"),
        ("x" * 100_000, "not a file with keys"),
    ],
)
def test_file_that_holds_something_else_is_one_line_without_its_content(
    home: Path, text: str, words: str
) -> None:
    path = home / "laptop.key"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as refused:
        ClientKey.read(path)
    assert "SECRET" not in str(refused.value)


def test_halves_that_do_not_fit_are_refused(home: Path) -> None:
    path = home / "laptop.key"
    torn = KeyPair(KeyPair.new().public, KeyPair.new().secret)
    ClientKey(torn, KeyPair.new().public).write(path)
    with pytest.raises(UsageError, match="key is damaged"):
        ClientKey.read(path)


def test_what_is_no_file_neither_hangs_nor_crashes(home: Path) -> None:
    os.mkfifo(home / "fifo", 0o600)
    for name, words in (("fifo", "not a file"), (".", "keys cannot be read|not a file")):
        with pytest.raises(UsageError, match=words):
            ClientKey.read(home / name)
    with pytest.raises(UsageError, match="keys cannot be read"):
        ClientKey.read(home / "missing.key")


def test_library_without_curve_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # No such build is at hand: its answer stands in for it.
    monkeypatch.setattr(zmq, "has", lambda capability: capability != "curve")
    with pytest.raises(UsageError, match=r"this libzmq has no CURVE \(libzmq .*\): install pyzmq"):
        KeyFolder(home / "keys").make_server()
    assert not (home / "keys").exists()
