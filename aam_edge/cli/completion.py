"""`aam-edge completion`: a script that makes a shell complete commands and options.

The script is made from the parser, so it knows what the parser knows; files are completed where no
option is. It is plain lists: commands, and for each the options and the choices of options.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

PROGRAM = "aam-edge"
SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "examples:\n"
        '  eval "$(aam-edge completion bash)"      (in ~/.bashrc)\n'
        '  eval "$(aam-edge completion zsh)"       (in ~/.zshrc, after compinit)\n'
        "  aam-edge completion fish | source       (in ~/.config/fish/config.fish)"
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def run(options: argparse.Namespace) -> int:
    """Prints the script."""
    from aam_edge.cli.main import build_parser

    print(script(options.shell, read_tree(build_parser())))
    return 0


@dataclass(frozen=True, slots=True)
class Node:
    """A command with what may follow it."""

    name: str
    """Empty for the program itself."""
    words: str
    options: dict[str, str] = field(default_factory=dict)
    """Option to its first line of help."""
    choices: dict[str, list[str]] = field(default_factory=dict)
    """Option that takes a value, or empty for a word without option, to the values it can have;
    none where it can be anything, a file for instance."""


def read_tree(parser: argparse.ArgumentParser) -> list[Node]:
    """The program itself and its commands."""
    nodes = [_node("", "", parser)]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words = {choice.dest: choice.help or "" for choice in action._choices_actions}
            nodes += [_node(name, words[name], child) for name, child in action.choices.items()]
    return nodes


def _node(name: str, words: str, parser: argparse.ArgumentParser) -> Node:
    node = Node(name, words)
    for action in parser._actions:
        if action.help is argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        for option in action.option_strings:
            node.options[option] = _expand(parser, action)
        if action.nargs != 0:
            for option in action.option_strings or [""]:
                node.choices[option] = [str(choice) for choice in action.choices or ()]
    if name:
        _add_steps(node, parser)
    return node


def _add_steps(node: Node, parser: argparse.ArgumentParser) -> None:
    """The names of a command's own sub-commands, such as `train pack`, and their options."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                below = _node("", "", child)
                node.options.update(below.options)
                node.choices.update(below.choices)
                node.choices[""] = [*action.choices]


def _expand(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An option's help with its default filled in."""
    return parser._get_formatter()._expand_help(action) if action.help else ""


def script(shell: str, tree: list[Node]) -> str:
    """The whole script for bash, zsh or fish."""
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](tree)
    return "\n".join(lines)


def _bash(tree: list[Node]) -> Iterator[str]:
    commands = " ".join(node.name for node in tree if node.name)
    yield "_aam_edge() {"
    yield "    local here=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    local command= words= word"
    yield '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield f'        case "$word" in {commands.replace(" ", "|")}) command=$word; break;; esac'
    yield "    done"
    yield '    case "$command $before" in'
    for node in tree:
        for option, values in node.choices.items():
            if option:
                yield f"        {shlex.quote(f'{node.name} {option}')}) words={_quoted(values)};;"
    yield '        *) case "$command" in'
    for node in tree:
        words = [*node.options, *node.choices.get("", [])]
        words += commands.split() if not node.name else []
        yield f"            {shlex.quote(node.name)}) words={_quoted(words)};;"
    yield "        esac;;"
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$here"))'
    yield "}"
    # Where no word fits, files do.
    yield f"complete -o default -F _aam_edge {PROGRAM}"


def _quoted(words: list[str]) -> str:
    return shlex.quote(" ".join(words))


def _zsh(tree: list[Node]) -> Iterator[str]:
    yield "autoload -U +X bashcompinit && bashcompinit"
    yield from _bash(tree)


def _fish(tree: list[Node]) -> Iterator[str]:
    names = " ".join(node.name for node in tree if node.name)
    for node in tree:
        if node.name:
            where = f"-n '__fish_seen_subcommand_from {node.name}'"
            yield (
                f"complete -c {PROGRAM} -n '__fish_use_subcommand' -a {node.name}"
                f" -d {_fish_quoted(node.words)}"
            )
        else:
            where = f"-n 'not __fish_seen_subcommand_from {names}'"
        for option, words in node.options.items():
            kind = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            values = node.choices.get(option)
            takes = f" -x -a {_fish_quoted(' '.join(values))}" if values else ""
            takes = " -r" if values == [] else takes
            yield f"complete -c {PROGRAM} {where} {kind}{takes} -d {_fish_quoted(words)}"
        if node.choices.get(""):
            values = node.choices[""]
            yield f"complete -c {PROGRAM} {where} -x -a {_fish_quoted(' '.join(values))}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
