"""`aam-edge completion`: the scripts, as the shells themselves read them."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from aam_edge.cli import completion
from aam_edge.cli.main import COMMANDS, build_parser


def made_script(shell: str) -> str:
    return completion.script(shell, completion.read_tree(build_parser()))


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "aam-edge.bash"
    path.write_text(made_script("bash"))
    return path


def complete(script: Path, line: str) -> set[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    lines = (
        f"source {script}",
        f"COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}",
        # The function is the one that `complete` has registered for the program.
        "_function=$(complete -p aam-edge | sed 's/.*-F \\([^ ]*\\).*/\\1/')",
        "$_function",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    )
    done = subprocess.run(
        ["bash", "--norc", "-uc", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_reads_the_script_without_complaint(bash_script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(bash_script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("aam-edge pre", {"predict"}),
        ("aam-edge --cam", {"--camera"}),
        ("aam-edge predict --ov", {"--overlays"}),
        ("aam-edge predict a.jpg --maps ", {"npy", "png", "both", "none"}),
        ("aam-edge predict --maps n", {"npy", "none"}),
        ("aam-edge --pace ", {"real", "every"}),
        ("aam-edge completion z", {"zsh"}),
        ("aam-edge predict --out ", set()),  # anything: files, by the shell
        ("aam-edge predict pho", set()),
    ],
)
def test_bash_offers_what_fits(bash_script: Path, line: str, offered: set[str]) -> None:
    assert complete(bash_script, line) == offered


def test_bash_offers_all_commands_and_every_option_of_each(bash_script: Path) -> None:
    assert set(COMMANDS) <= complete(bash_script, "aam-edge ")
    for node in completion.read_tree(build_parser()):
        line = " ".join(filter(None, ["aam-edge", node.name, "-"]))
        assert complete(bash_script, line) == set(node.options)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_know_every_command(shell: str) -> None:
    script = made_script(shell)
    assert all(command in script for command in COMMANDS)
    if program := shutil.which(shell):
        done = subprocess.run([program, "-n", "/dev/stdin"], input=script, text=True)
        assert done.returncode == 0


def test_help_in_fish_is_quoted() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--it", help="it's 100%% sure (%(default)s)", default="a\\b")
    script = completion.script("fish", completion.read_tree(parser))
    assert "-d 'it\\'s 100% sure (a\\\\b)'" in script


def test_command_prints_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    options = build_parser().parse_args(["completion", "bash"])
    assert completion.run(options) == 0
    assert capsys.readouterr().out == made_script("bash") + "\n"
