"""The public code's tensors, for tests that hold ours against them."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file
from torch import Tensor, nn

Tensors = dict[str, Tensor]


def reference(shared: Path, name: str) -> Tensors:
    """One file of reference tensors."""
    return load_file(shared / "aam" / "fixtures" / f"{name}.safetensors")


def below(tensors: Tensors, prefix: str) -> Tensors:
    """Those whose names begin so, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def loaded(module: nn.Module, weights: Tensors) -> nn.Module:
    """The module with these weights, every one used and none missing."""
    module.load_state_dict(weights)
    return module.eval()


def assert_near(found: Tensor, expected: Tensor, atol: float = 1e-5, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)
