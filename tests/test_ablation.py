"""The ablation of the filter: it runs, and the whole filter is the best form."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [torch]")

TOOL = Path(__file__).resolve().parents[1] / "tools" / "ablate_filter"


def test_whole_filter_follows_moving_things_best() -> None:
    command = [sys.executable, str(TOOL), "--scenes", "4", "--frames", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = re.findall(r"^(\w.*?)((?: +[\d.]+ cells +[\d.]+)+)$", done.stdout, re.MULTILINE)
    table = {
        name.strip(): [float(number) for number in re.findall(r"[\d.]+", numbers)]
        for name, numbers in rows
    }
    whole, smoothing = table["filter, whole"], table["exponential smoothing"]
    # Columns: error and KLD, for 0, 25 and 50 % of the frames lost.
    assert whole[0] < 0.6 * smoothing[0]
    assert whole[4] < 0.7 * smoothing[4]
    assert min(row[0] for row in table.values()) == whole[0]
    assert whole[1] < smoothing[1]
