"""What a process gives back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from aam_edge import process

SCATTER = """
from aam_edge.process import give_back_memory, resident_bytes
kept = [bytes(20_000) for _ in range(4000)]
del kept[1::2]
before = resident_bytes()
give_back_memory()
print(before - resident_bytes())
"""


@pytest.mark.skipif(process._trim is None, reason="the C library gives nothing back")
def test_memory_between_what_is_used_goes_back_to_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCATTER], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) > 15e6  # of 40 MB, what makes whole pages
