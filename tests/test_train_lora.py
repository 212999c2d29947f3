"""A run with low-rank updates: on a small transformer below the native decoder."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("lightning_fabric", reason="needs the extra [train]")

from torch import Tensor, nn

from aam_edge.model.native.decoder import Pieces
from aam_edge.model.native.network import NativeNetwork
from aam_edge.model.native.vision import TAP_CHANNELS, TAP_STRIDES
from aam_edge.training.run.networks import NETWORKS
from aam_edge.training.run.trainer import fit
from tests import corpus_trees as trees
from tests.test_lora import Block
from tests.train_runs import Silent, config_of, losses_of

WIDTH = 16
SETTINGS = (
    "model.size=small", "start=random", "clips.every=0", "lora.rank=2", "epochs=2",
    "save.steps=1", "data.val=none",
)  # fmt: skip


class SmallBody(nn.Module):
    """Patches of 16 pixels, two blocks, four taps."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 16, stride=16)
        self.blocks = nn.Sequential(Block(WIDTH), Block(WIDTH))
        self.taps = nn.ModuleList(nn.Conv2d(WIDTH, channels, 1) for channels in TAP_CHANNELS)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = self.patches(picture / 255)
        rows, columns = x.shape[2:]
        x = self.blocks(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (rows, columns))
        return [
            nn.functional.interpolate(tap(x), scale_factor=16 / stride, mode="bilinear")
            for tap, stride in zip(self.taps, TAP_STRIDES, strict=True)
        ]


def small(pieces: Pieces) -> NativeNetwork:
    network = NativeNetwork(pieces)
    network.body = SmallBody()
    return network


class StopAfter(Silent):
    """Asks for the end after some steps."""

    def __init__(self, steps: int):
        super().__init__()
        self._steps = steps

    def step(self, told: object) -> None:
        super().step(told)
        self.wants_stop = len(self.told) == self._steps


def test_run_with_updates_goes_on_and_leaves_merged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "small", small)
    discs = trees.native_set(tmp_path / "discs")
    spec = f"native:{discs}"
    fit(config_of(spec, tmp_path / "whole", *SETTINGS), Silent())
    for steps in (1, 2, 9):
        fit(config_of(spec, tmp_path / "parts", *SETTINGS), StopAfter(steps))
    assert len(losses_of(tmp_path / "whole")) == 4
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    whole, parts = (
        torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("whole", "parts")
    )
    learned = {name for name in whole["network"] if name.endswith(("lora_a", "lora_b"))}
    assert len(learned) == 2 * 2 * 2
    plain = small(Pieces())
    assert whole["average"].keys() == plain.state_dict().keys()
    for name, tensor in whole["average"].items():
        assert torch.equal(tensor, parts["average"][name]), name
    # The update is in the weights, and all else of the body is as it began.
    base = whole["network"]["body.blocks.0.attn.qkv.base.weight"]
    assert not torch.equal(whole["average"]["body.blocks.0.attn.qkv.weight"], base)
    assert torch.equal(
        whole["average"]["body.patches.weight"], whole["network"]["body.patches.weight"]
    )
