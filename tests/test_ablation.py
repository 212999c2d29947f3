"""The ablation of the filter: it runs, and the whole filter is the best form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [torch]")

TOOL = Path(__file__).resolve().parents[1] / "tools" / "ablate_filter"
PHOTO = 7


@pytest.mark.timeout(200)
def test_whole_filter_follows_moving_things_best() -> None:
    command = [sys.executable, str(TOOL), "--scenes", "4", "--frames", "60", "--seed", "40"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=190, check=True)
    rows = re.findall(r"^(\w.*?)((?: +[\d.]+ */ *[\d.]+)+)$", done.stdout, re.MULTILINE)
    table = {
        name: [(float(a), float(b)) for a, b in re.findall(r"([\d.]+) */ *([\d.]+)", numbers)]
        for name, numbers in rows
    }
    # Columns: 0, 25, 50 % lost; turning camera 0, 50 %; the same with ego-motion; a photo.
    whole, smoothing = table["filter, whole"], table["exponential smoothing"]
    assert len(whole) == PHOTO + 1
    forms = [row for name, row in table.items() if not name.startswith("search")]
    for k in range(PHOTO):
        others = [row[k] for row in forms]
        # Four scenes do not tell forms apart that differ by less.
        assert whole[k][0] < min(error for error, _ in others) + 0.1
        assert whole[k][1] < min(divergence for _, divergence in others) + 0.02
    assert whole[0][0] < 0.6 * smoothing[0][0]
    assert whole[1][0] < 0.65 * smoothing[1][0]
    assert whole[2][0] < 0.75 * smoothing[2][0]
    assert whole[6][0] < whole[4][0]  # to know how the camera turned helps
    alone = table["observation alone"]
    assert whole[PHOTO][0] <= alone[PHOTO][0] + 0.02
    assert whole[PHOTO][1] <= alone[PHOTO][1] + 0.01
    # Evidence of a search adds up: more of the mass on the thing, its place as good.
    on_thing = [table[f"search, beta {beta}"][0] for beta in (1, 2, 3)]
    assert on_thing[0][1] < on_thing[1][1] < on_thing[2][1]
    assert on_thing[2][0] < on_thing[0][0] + 0.15
