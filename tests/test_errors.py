"""Error kinds: one sentence, one exit code each."""

from __future__ import annotations

import pytest

from aam_edge import errors
from aam_edge.errors import AamEdgeError, DataError, ModelError, SinkError, SourceError, UsageError

KINDS = {UsageError: 2, SourceError: 3, ModelError: 4, SinkError: 5, DataError: 6}


@pytest.mark.parametrize("kind", KINDS)
def test_kind_writes_what_value_and_remedy(kind: type[AamEdgeError]) -> None:
    problem = kind("camera is busy", "/dev/video0", "close the other program")
    assert str(problem) == "camera is busy (/dev/video0): close the other program"


def test_sentence_is_one_line_whatever_the_value() -> None:
    assert str(DataError("file is broken", "line 1\n  line 2", "mend it")) == (
        "file is broken (line 1 line 2): mend it"
    )


def test_each_kind_has_its_own_exit_code_and_1_is_left_to_defects() -> None:
    assert {kind: kind.exit_code for kind in KINDS} == KINDS
    assert AamEdgeError.exit_code == 1


def test_docstring_draws_every_kind_with_its_exit_code() -> None:
    assert set(AamEdgeError.__subclasses__()) == set(KINDS)
    drawn = [line.split() for line in (errors.__doc__ or "").splitlines()]
    for kind, code in KINDS.items():
        assert any(line[1:3] == [kind.__name__, str(code)] for line in drawn)
