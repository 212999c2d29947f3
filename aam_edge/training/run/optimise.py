"""What moves the weights: AdamW in groups, warm-up and cosine, and the running average."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from aam_edge.training.run.settings import RunConfig


def groups_of(student: nn.Module, config: RunConfig) -> list[dict[str, object]]:
    """Parameters that learn, by how fast: body, hearing, single numbers, the rest."""
    rates = config.optimiser
    groups: dict[str, list[nn.Parameter]] = {"body": [], "hearing": [], "numbers": [], "rest": []}
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            groups[_group(name.removeprefix("network."), parameter)].append(parameter)
    is_lora = bool(config.lora.rank)
    scale = {"body": 1.0 if is_lora else rates.body_rate, "hearing": config.sound.rate}
    scale |= {"numbers": 3.0, "rest": 1.0}
    decay = {"numbers": 0.0}
    return [
        {
            "params": parameters,
            "lr": rates.learning_rate * scale[name],
            "weight_decay": decay.get(name, rates.weight_decay),
        }
        for name, parameters in groups.items()
        if parameters
    ]


def _group(name: str, parameter: nn.Parameter) -> str:
    room = name.partition(".")[0]
    if room in ("body", "hearing"):
        return room
    return "numbers" if parameter.ndim <= 1 and parameter.numel() <= 3 else "rest"


class Schedule:
    """The learning rate over the steps: up along a line, then down along a cosine."""

    def __init__(self, optimiser: torch.optim.Optimizer, config: RunConfig, steps_an_epoch: int):
        self._optimiser, self._lowest = optimiser, config.optimiser.lowest_rate
        self._highest = [float(group["lr"]) for group in optimiser.param_groups]
        self._total = steps_an_epoch * config.epochs
        self._warm = round(steps_an_epoch * config.optimiser.warm_up_epochs)

    def part(self, step: int) -> float:
        """Of the highest rate, at a step from 0."""
        if step < self._warm:
            return (step + 1) / self._warm
        done = min(1.0, (step - self._warm) / max(1, self._total - self._warm))
        return self._lowest + (1 - self._lowest) * (0.5 + 0.5 * math.cos(math.pi * done))

    def set(self, step: int) -> float:
        """Sets the rates for a step; returns the part."""
        part = self.part(step)
        for group, highest in zip(self._optimiser.param_groups, self._highest, strict=True):
            group["lr"] = part * highest
        return part


class Average:
    """The running average of the weights; of what is here, where they are dealt out."""

    def __init__(self, module: nn.Module, decay: float):
        self._module, self._decay = module, decay
        self._means = [p.detach().clone() for p in self._learned()]

    def _learned(self) -> list[nn.Parameter]:
        return [p for p in self._module.parameters() if p.requires_grad]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Moves towards the weights; at first faster."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mean, now in zip(self._means, self._learned(), strict=True):
            mean.lerp_(now.detach(), 1 - decay)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """The module has the average's weights within."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for mean, now in zip(self._means, self._learned(), strict=True):
            kept = now.detach().clone()
            now.copy_(mean)
            mean.copy_(kept)

    def take(self) -> None:
        """Begins anew from the module's weights."""
        self._means = [p.detach().clone() for p in self._learned()]
