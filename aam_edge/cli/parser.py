"""The command line's parser: argparse with errors in our form."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from aam_edge.cli import log

BAD_COMMAND = re.compile(r"argument [A-Z]+: invalid choice: '(.*)' \(choose from")


class Parser(argparse.ArgumentParser):
    """One line, exit code 2, and the nearest known word where one is misspelt."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._given: list[str] = []

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuses what is unknown here, where the command's own options are known."""
        self._given = list(args or ())
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0])
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and where help is."""
        if found := BAD_COMMAND.match(message):
            self._refuse_command(found[1])
        self.exit(2, f"aam-edge: {message}: see {self.prog} --help\n")

    def _refuse_command(self, word: str) -> NoReturn:
        # What follows an unknown option is taken for a command: `--promt x`.
        before = self._given[: self._given.index(word)] if word in self._given else []
        for option in before:
            if option.startswith("--") and option.split("=")[0] not in self._option_string_actions:
                self._refuse(option)
        self._exit_near("command", word, self._commands())

    def _refuse(self, word: str) -> NoReturn:
        if word.startswith("-"):
            self._exit_near("option", word.split("=")[0], self._option_string_actions)
        self._exit_near("argument", word, ())

    def _commands(self) -> list[str]:
        return [
            name
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for name in action.choices
        ]

    def _exit_near(self, what: str, word: str, known: Iterable[str]) -> NoReturn:
        near = difflib.get_close_matches(word, list(known), n=1)
        todo = f"did you mean {near[0]}?" if near else f"see {self.prog} --help"
        self.exit(2, f"aam-edge: unknown {what} ({word}): {todo}\n")


def add_step(
    steps: argparse._SubParsersAction[argparse.ArgumentParser], name: str, words: str, epilog: str
) -> argparse.ArgumentParser:
    """Declares a step of a command, such as `train fit`: its words, its examples, its log."""
    sentence = f"{words[0].upper()}{words[1:]}."
    child = steps.add_parser(name, help=words, description=sentence, allow_abbrev=False)
    child.formatter_class = argparse.RawDescriptionHelpFormatter
    child.epilog = epilog
    log.add_arguments(child, is_command=True)
    return child


def show_steps(parser: argparse.ArgumentParser, examples: str) -> None:
    """Puts examples of its steps below the help of a command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    command = parser.prog.removeprefix("aam-edge ")
    parser.epilog = f"{examples}\n`aam-edge {command} STEP --help` tells more of each."
