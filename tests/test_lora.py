"""Low-rank updates: begin as nothing, learn alone, and merge into the weights exactly."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")

from torch import Tensor, nn

from aam_edge.errors import UsageError
from aam_edge.training.lora import LoraLinear, add_lora, merge_lora, merged_state


class Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=2)
        out: Tensor = self.proj(nn.functional.scaled_dot_product_attention(q, k, v))
        return out


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(width), Attention(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm(x))
        out: Tensor = x + self.mlp(x)
        return out


def transformer() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(16), Block(16))


def learned(module: nn.Module, x: Tensor) -> nn.Module:
    """After some steps towards 1."""
    optimiser = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        (module(x) - 1).square().mean().backward()
        optimiser.step()
    return module


X = torch.linspace(-1, 1, 2 * 5 * 16).view(2, 5, 16)


def test_adapted_network_begins_as_what_it_was() -> None:
    plain, adapted = transformer(), transformer()
    names = add_lora(adapted, 4, 8.0, ("qkv", "proj"))
    assert names == [f"{i}.attn.{part}" for i in (0, 1) for part in ("qkv", "proj")]
    torch.testing.assert_close(adapted(X), plain(X))


def test_updates_alone_learn() -> None:
    adapted = transformer()
    add_lora(adapted, 2, 4.0, ("qkv",))
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    learned(adapted, X)
    changed = {n for n, t in adapted.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {f"{i}.attn.qkv.lora_{part}" for i in (0, 1) for part in "ab"}


def test_merged_network_is_the_adapted_one_with_its_old_names() -> None:
    plain, adapted = transformer(), transformer()
    add_lora(adapted, 4, 8.0, ("qkv", "proj"))
    wanted = learned(adapted, X)(X).detach()
    state = merged_state(adapted, adapted.state_dict())
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(X), wanted)
    merge_lora(adapted)
    assert not any(isinstance(part, LoraLinear) for part in adapted.modules())
    torch.testing.assert_close(adapted(X), wanted)
    assert adapted.state_dict().keys() == plain.state_dict().keys()


def test_network_without_such_layers_is_told() -> None:
    with pytest.raises(
        UsageError, match=r"no layer takes a low-rank update \(keys\): it has 0, 2,"
    ):
        add_lora(transformer(), 4, 8.0, ("keys",))
    with pytest.raises(UsageError, match=r"no linear layers: set lora.rank=0"):
        add_lora(nn.Conv2d(3, 3, 1), 4, 8.0, ("qkv",))
