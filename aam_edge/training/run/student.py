"""The network as a run teaches it: a batch in, the parts of the loss out.

It is one module with one `forward`, for DDP and FSDP hook into that. Half precision is for the body
and the pyramid; hyperbolic space and the filter need single precision, so all else is kept in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aam_edge.model.native.decoder import Evidence, Pyramid
from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.network import Moment, NativeNetwork, State, repeated
from aam_edge.training.batch import Batch
from aam_edge.training.losses import gaze_loss, kld
from aam_edge.training.objective import Divisors, Shares, absence_weights, objective
from aam_edge.training.run.clips import ClipBatch


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a step is taught, besides its batch."""

    is_held: bool = False
    """The body stays as it is."""
    is_warm_start: bool = False
    """L_HAE knows free viewing alone."""


class Taught(NamedTuple):
    """What a step gives."""

    loss: Tensor
    parts: dict[str, Tensor]
    """Its summands, without gradients."""
    state: State | None = None
    """Of the filter behind a span of clips, without gradients."""


class Given:
    """What a step is given: the arguments of `Student.teach`.

    Fabric makes halves of all tensors in a module's arguments, of densities and prompts too; into
    this, which is no dataclass, list or tuple, it does not look.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


class Student(nn.Module):
    """A network, and the losses it learns by.

    Args:
        network: that learns.
        shares: weights of the losses.
        drop: part of the taps' channels that is silenced.
        lexicon: (W, 128), vectors of a classifier's names; none: (0, 128).
        usual: (M,), part of the photos that hold each of NAMES.
        teacher: whose densities the network is drawn to, or None.
        teacher_share: weight of that.
    """

    lexicon: Tensor
    absence: Tensor

    def __init__(
        self,
        network: NativeNetwork,
        shares: Shares,
        drop: float,
        lexicon: Tensor,
        usual: Tensor,
        teacher: NativeNetwork | None = None,
        teacher_share: float = 0.5,
    ):
        super().__init__()
        self.network, self.shares, self.drop = network, shares, drop
        self.register_buffer("lexicon", lexicon, persistent=False)
        absence = absence_weights(usual, shares.evenness)
        self.register_buffer("absence", absence, persistent=False)
        # In a list, so that it is no part of what is trained, dealt out and saved.
        self._teacher, self._teacher_share = [teacher] if teacher else [], teacher_share

    def forward(self, given: Given) -> Taught:
        """`teach`, for DDP, FSDP and half precision, which hook into `forward`."""
        return self.teach(*given.arguments)

    def teach(
        self,
        batch: Batch | ClipBatch,
        lesson: Lesson,
        divisors: Divisors | None = None,
        state: State | None = None,
    ) -> Taught:
        """The loss of a batch of photos, or of a span of clips that goes on from a state."""
        if isinstance(batch, ClipBatch):
            return self._clips(batch, lesson, state)
        assert divisors is not None
        return self._photos(batch, lesson, divisors)

    def _photos(self, batch: Batch, lesson: Lesson, divisors: Divisors) -> Taught:
        network = self.network
        with torch.set_grad_enabled(torch.is_grad_enabled() and not lesson.is_held):
            taps = network.body(batch.pictures)
        seen = network.decoder.look(silenced(taps, batch.seeds, self.drop))
        with torch.autocast(batch.pictures.device.type, enabled=False):
            seen = _single(seen)
            evidence = network.decoder(
                repeated(seen, batch.prompts.shape[1]), batch.prompts.flatten(0, 1)
            )
            parts = objective(
                network.decoder, seen, evidence, batch, divisors, self.lexicon, self.absence,
                self.shares, is_warm_start=lesson.is_warm_start,
            )  # fmt: skip
            parts |= self._distilled(batch, evidence)
        return _taught(parts)

    def _distilled(self, batch: Batch, evidence: Evidence) -> dict[str, Tensor]:
        if not self._teacher:
            return {}
        with torch.no_grad():
            told = self._teacher[0].observe(batch.pictures, batch.prompts).log_density.exp()
        return {"distil": self._teacher_share * kld(evidence.log_density, told).mean()}

    def _clips(self, batch: ClipBatch, lesson: Lesson, state: State | None) -> Taught:
        """Gradients go back to the first frame of the span, not beyond."""
        network = self.network
        clips, frames, height, width = batch.images.shape[:4]
        if state is None:
            state = initial_state(network, clips, height, width, batch.images.device)
        # In silence hearing would get gradients of 0, and its weights would decay.
        left: list[nn.Module] = [network.body] if lesson.is_held else []
        left += [] if bool(batch.heard.any()) else [network.hearing]
        held = [p for part in left for p in part.parameters() if p.requires_grad]
        losses = []
        with torch.autocast(batch.images.device.type, enabled=False), _frozen(held):
            for t in range(frames):
                step = network.step(_moment(batch, t), state)
                state = step.state
                lost = gaze_loss(step.density.clamp_min(1e-12).log(), batch.wanted[:, t])
                losses.append(batch.weight[:, t] * lost)
        loss = self.shares.clips * torch.stack(losses).mean()
        kept = State(*(x.detach() for x in state))
        return _taught({"clips": loss})._replace(state=kept)


class _frozen:  # noqa: N801  # reads as a with statement
    """Parameters that need no gradient within."""

    def __init__(self, parameters: list[nn.Parameter]):
        self._parameters = parameters

    def __enter__(self) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *problem: object) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(True)


def _taught(parts: dict[str, Tensor]) -> Taught:
    loss = torch.stack(list(parts.values())).sum()
    return Taught(loss, {name: part.detach() for name, part in parts.items()})


def _single(seen: Pyramid) -> Pyramid:
    levels = tuple(level.float() for level in seen.levels)
    return Pyramid(seen.fine.float(), levels, *(x.float() for x in seen[2:]))


def _moment(batch: ClipBatch, t: int) -> Moment:
    device = batch.images.device
    ego = identity_ego(len(batch.images)).to(device)
    return Moment(
        batch.images[:, t], batch.prompts, batch.dt_s[:, t], ego, batch.mel[:, t], batch.heard[:, t]
    )


def initial_state(
    network: NativeNetwork, clips: int, height: int, width: int, device: torch.device
) -> State:
    """The state before the first frame; height and width are the input's."""
    return State(*(x.to(device) for x in network.init_state(clips, 1, height, width)))


def silenced(taps: list[Tensor], seeds: Tensor, drop: float) -> list[Tensor]:
    """Taps (B, c, h, w) with some channels of each picture at 0, the others louder.

    A picture's own seed decides which, so that it does not matter which process it is on.
    """
    if not drop:
        return taps
    channels = [tap.shape[1] for tap in taps]
    keep = torch.stack(
        [
            torch.rand(sum(channels), generator=torch.Generator().manual_seed(seed)) >= drop
            for seed in seeds.tolist()
        ]
    )
    keeps = (keep.to(taps[0].device).to(taps[0].dtype) / (1 - drop)).split(channels, dim=1)
    return [tap * kept[:, :, None, None] for tap, kept in zip(taps, keeps, strict=True)]
