"""What is mistyped on the command line is answered by one line with the nearest known word."""

from __future__ import annotations

import pytest

from aam_edge.cli.main import main


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("--promt x", "unknown option (--promt): did you mean --prompt?"),
        ("--promt=x", "unknown option (--promt): did you mean --prompt?"),
        ("predikt a.jpg --out x", "unknown command (predikt): did you mean predict?"),
        ("zebra", "unknown command (zebra): see aam-edge --help"),
        ("predict a.jpg --outt x", "unknown option (--outt): did you mean --out?"),
        ("train fitt", "unknown command (fitt): did you mean fit?"),
        ("weights import a.pt --sise l", "unknown option (--sise): did you mean --size?"),
        ("doctor please", "unknown argument (please): see aam-edge doctor --help"),
    ],
)
def test_misspelt_word_is_answered_with_the_nearest(
    given: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"aam-edge: {answer}\n"
