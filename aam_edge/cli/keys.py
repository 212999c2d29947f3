"""`aam-edge keys`: who may connect to a stream from other machines."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from aam_edge.cli.parser import add_step, show_steps
from aam_edge.keys import ClientKey, KeyFolder, KeyPair, check_key, check_name, default_folder

EXAMPLES = """\
examples:
  aam-edge keys new                       on the robot, once
  aam-edge keys new laptop                laptop.key: bring it to the laptop, by a safe way
  aam-edge --pub tcp://0.0.0.0:5560 --control tcp://0.0.0.0:5561
  aam-edge prompt "search for cup" --control tcp://robot:5561 --key laptop.key
  aam-edge keys revoke laptop             it is out within two seconds
"""
NEW_EPILOG = """\
examples:
  aam-edge keys new                       the server's own pair
  aam-edge keys new laptop                a pair for a client, which is allowed at once
  aam-edge keys new laptop --server 'PUBLIC KEY OF THE ROBOT'

With --server no folder is touched: the pair is made where it is used, so that its secret goes over
no wire, and what is printed is run on the robot.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the sub-commands."""
    show_steps(parser, EXAMPLES)
    steps = parser.add_subparsers(title="steps", metavar="STEP", dest="step", required=True)

    def step(name: str, words: str, epilog: str) -> argparse.ArgumentParser:
        child = add_step(steps, name, words, epilog)
        where = "folder of the keys (aam-edge/keys below $XDG_CONFIG_HOME or ~/.config)"
        child.add_argument("--keys", metavar="DIR", type=Path, help=where)
        return child

    child = step("new", "make the server's pair, or one for a client", NEW_EPILOG)
    child.add_argument("name", metavar="NAME", nargs="?", help="of the client; none: the server")
    child.add_argument("--out", metavar="FILE", type=Path, help="where to (NAME.key)")
    child.add_argument("--server", metavar="PUBLIC", help="public key of a server elsewhere")
    replace = "a new pair in place of the old one, which nobody can use any more"
    child.add_argument("--replace", action="store_true", help=replace)
    child = step("list", "who is allowed", "example:\n  aam-edge keys list")
    child.add_argument("--json", action="store_true", help="print JSON")
    example = "example:\n  aam-edge keys allow laptop 'ITS PUBLIC KEY'"
    child = step("allow", "let a client in that has a pair of its own", example)
    child.add_argument("name", metavar="NAME", help="ours for it")
    child.add_argument("public", metavar="PUBLIC", help="its public key, 40 characters")
    example = "example:\n  aam-edge keys revoke laptop"
    child = step("revoke", "let a client in no more, and hang up on it", example)
    child.add_argument("name", metavar="NAME", help="as in the list")


def run(options: argparse.Namespace) -> int:
    """Does what is asked; raises UsageError."""
    if options.step == "new" and options.server:
        return _make_elsewhere(options)
    folder = KeyFolder(options.keys or default_folder())
    if options.step == "new":
        return _make_client(folder, options) if options.name else _make_server(folder, options)
    if options.step == "list":
        return _list(folder, as_json=options.json)
    if options.step == "allow":
        folder.allow(options.name, options.public)
        print(f"{options.name} is allowed")
    else:
        folder.revoke(options.name)
        print(f"{options.name} is not allowed any more; running streams hang up on it")
    return 0


def _make_server(folder: KeyFolder, options: argparse.Namespace) -> int:
    pair = folder.make_server(replace=options.replace)
    print(f"keys are in {folder.path}\npublic key of this server: {pair.public}")
    return 0


def _make_client(folder: KeyFolder, options: argparse.Namespace) -> int:
    check_name(options.name)
    server = folder.server() if folder.is_there else folder.make_server()
    path = options.out or Path(f"{options.name}.key")
    folder.check_new(options.name, replace=options.replace)
    key = ClientKey(KeyPair.new(), server.public)
    key.write(path)
    folder.allow(options.name, key.pair.public)
    print(f"{path} lets {options.name} in: bring it there by a safe way, and keep no copy")
    return 0


def _make_elsewhere(options: argparse.Namespace) -> int:
    name = options.name or "client"
    check_name(name)
    key = ClientKey(KeyPair.new(), check_key(options.server, "--server"))
    path = options.out or Path(f"{name}.key")
    key.write(path)
    print(
        f"{path} is made; run where the server is:\naam-edge keys allow {name} '{key.pair.public}'"
    )
    return 0


def _list(folder: KeyFolder, *, as_json: bool) -> int:
    server, clients = folder.server(), folder.clients()
    if as_json:
        found = {"folder": str(folder.path), "server": server.public, "clients": clients}
        print(json.dumps(found))
        return 0
    wide = max(map(len, ("server", *clients)))
    print(f"{folder.path}\n{'server':<{wide}}  {server.public}")
    for name, public in clients.items():
        print(f"{name:<{wide}}  {public}")
    if not clients:
        print("no client is allowed: aam-edge keys new NAME")
    return 0
