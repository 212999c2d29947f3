"""The native network, whole: picture, prompt and sound to a density that lives in time.

DESIGN 4 and 5. `step` is what runs on a robot: explicit state in, explicit state out, so that the
same graph runs in torch, ONNX Runtime and OpenVINO and can be saved, moved and replayed. `observe`
sees still pictures and is what gaze teaches; `forward` is a clip, frame by frame through `step`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from aam_edge.model.native import fpd
from aam_edge.model.native.decoder import (
    PROMPT_CHANNELS,
    Decoder,
    Evidence,
    Pieces,
    Pyramid,
)
from aam_edge.model.native.ego import identity_ego
from aam_edge.model.native.flow import luminance
from aam_edge.model.native.hearing import (
    BANDS,
    HOPS,
    SILENCE,
    Heard,
    Hearing,
    Sight,
    add_evidence,
    initial_memory,
)
from aam_edge.model.native.second_look import TRUST, Part, correct_part, logit, place
from aam_edge.model.native.vision import TAP_CHANNELS, LiteBody

MAP_STRIDE = 4
"""Pixels of the input along one cell of the map."""
SEARCH_BETA = 2.0
"""beta of a search for what is there, where evidence for one place adds up. tools/ablate_filter:
mass on a moving thing 0.48 / 0.85 / 0.93 with 1 / 2 / 3; 3 would be too sure of its place."""


class Moment(NamedTuple):
    """One frame of B cameras with N prompts each, as it comes in."""

    image: Tensor
    """(B, H, W, 3), uint8, BGR; sides multiples of 32."""
    prompt: Tensor
    """(B, N, 128)."""
    dt_s: Tensor
    """(B,), seconds since the camera's last frame, >= 0; 0 for the first."""
    ego: Tensor
    """(B, 3, 3), the camera's own motion since then (see ego.py)."""
    mel: Tensor
    """(B, 64, 100), log-mel energies of the trailing second."""
    heard: Tensor
    """(B,), 1.0 where there is sound, else 0.0."""


class State(NamedTuple):
    """All that lives across frames."""

    log_density: Tensor
    """(B, N, h, w), log u; u sums to 1."""
    variance: Tensor
    """(B, N, h, w), P."""
    luminance: Tensor
    """(B, 1, h, w), the last frame's, 0..1."""
    drift: Tensor
    """(B, 2, h/4, w/4), v, cells per second, x then y."""
    hearing: Tensor
    """(B, MEMORY_CHANNELS, h/4, w/4), what sight and sound had in common."""


class Step(NamedTuple):
    """What one frame gives."""

    density: Tensor
    """(B, N, h, w), sums to 1."""
    presence: Tensor
    """(B, N), probability that what is asked for is in view."""
    searching: Tensor
    """(B, N), probability that the prompt asks for a thing, not for a way of viewing."""
    beta: Tensor
    """(B, N), what a still scene's density is raised to, 1 for free viewing."""
    gate: Tensor
    """(B,), what part sound had, 0..1."""
    cut: Tensor
    """(B,), 1.0 where the scene was cut before this frame."""
    state: State


class NativeNetwork(nn.Module):
    """Vision encoder, decoder, hearing and Fokker-Planck filter."""

    def __init__(
        self,
        pieces: Pieces | None = None,
        body: nn.Module | None = None,
        taps: tuple[int, ...] = TAP_CHANNELS,
        prompt_channels: int = PROMPT_CHANNELS,
    ) -> None:
        """nano; `sizes.py` makes the larger ones.

        Args:
            pieces: of the decoder that are at work.
            body: picture (B, 3, H, W), BGR, 0..255, to four maps at strides 4, 8, 16 and 32.
            taps: channels of those.
            prompt_channels: numbers of a prompt.
        """
        super().__init__()
        self.body: Any = LiteBody() if body is None else body
        self.decoder = Decoder(taps, pieces, prompt_channels)
        self.hearing = Hearing()
        self.fpd = fpd.Fpd()

    def observe(self, picture: Tensor, prompt: Tensor) -> Evidence:
        """Still pictures, N prompts each: no state.

        Args:
            picture: (B, 3, H, W), BGR, float, 0..255.
            prompt: (B, N, 128).

        Returns:
            For B * N, prompts of a picture behind each other.
        """
        return self.read(self.body(picture), prompt)

    def read(self, taps: list[Tensor], prompt: Tensor) -> Evidence:
        """The same from what the body has made of the pictures."""
        seen = self.decoder.look(taps)
        evidence: Evidence = self.decoder(repeated(seen, prompt.shape[1]), prompt.flatten(0, 1))
        return evidence

    def init_state(self, cameras: int, prompts: int, height: int, width: int) -> State:
        """The state before the first frame; height and width are the input's."""
        rows, columns = height // MAP_STRIDE, width // MAP_STRIDE
        filtered = fpd.initial_state(cameras, prompts, rows, columns)
        return State(*filtered, initial_memory(cameras, rows, columns))

    def step(self, moment: Moment, state: State, taps: list[Tensor] | None = None) -> Step:
        """One frame; vision is done once a camera.

        Args:
            moment: the frame.
            state: what the last step gave, or `init_state`.
            taps: what the body makes of the picture, where that is known.
        """
        picture = moment.image.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        if taps is None:
            evidence = self.observe(picture, moment.prompt)
        else:
            evidence = self.read(taps, moment.prompt)
        predicted, heard, fresh = self._carry(moment, picture, state)
        log_density, log_variance, presence, searching = _told(evidence, predicted)
        beta = beta_of(search_of(searching), presence)
        log_density = add_evidence(log_density, heard.evidence)
        after = self.fpd.correct(predicted, log_density, log_variance, beta)
        return Step(
            after.log_density.exp(),
            presence,
            searching,
            beta,
            heard.gate,
            (1 - fresh) * (moment.dt_s > 0),
            State(*after, heard.memory),
        )

    def look(self, moment: Moment, part: Part, state: State) -> Step:
        """One frame of which a part is looked at more closely, instead of the whole.

        The filter goes on with the whole picture's luminance, and with the part's evidence
        (second_look.py). What is heard is remembered and adds nothing to this frame's map.

        Args:
            moment: the frame. part: what of it the body sees. state: as for `step`.

        Returns:
            As `step`; `presence` is what the last look at the whole said.
        """
        evidence = self.observe(part.image.permute(0, 3, 1, 2).float(), moment.prompt)
        picture = moment.image.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
        predicted, heard, fresh = self._carry(moment, picture, state)
        log_density, log_variance, presence, searching = _told(evidence, predicted)
        search = search_of(searching)
        beta = beta_of(search, presence)
        powered = fpd.normalise(beta[:, :, None, None] * log_density)
        placed = place(powered.exp(), log_variance, part.box)
        rise = TRUST * search * (logit(presence) - logit(part.presence))
        after = correct_part(predicted, placed, rise)
        return Step(
            after.log_density.exp(),
            part.presence * 1,
            searching,
            beta,
            heard.gate * 0,
            (1 - fresh) * (moment.dt_s > 0),
            State(*after, heard.memory),
        )

    def _carry(
        self, moment: Moment, picture: Tensor, state: State
    ) -> tuple[fpd.State, Heard, Tensor]:
        """What is there before a frame's evidence: state carried along, what is heard, freshness.

        The last, (B,), is 0 where the state begins anew with this frame.
        """
        filtered = fpd.State(*state[:4])
        motion = self.fpd.compare(filtered, luminance(picture), moment.dt_s, moment.ego)
        predicted = self.fpd.carry(filtered, motion, moment.dt_s)
        heard = self.hearing(state.hearing, moment.mel, moment.heard, sight_of(motion), moment.dt_s)
        return predicted, heard, motion.fresh.flatten()

    def forward(self, images: Tensor, prompt: Tensor, dt_s: Tensor) -> Tensor:
        """A silent clip from a fresh state.

        Args:
            images: (B, T, H, W, 3), uint8, BGR.
            prompt: (B, N, 128).
            dt_s: (B, T).

        Returns:
            (B, T, N, h, w), the density of each frame.
        """
        state = self.init_state(*prompt.shape[:2], *images.shape[2:4])
        densities = []
        for t in range(images.shape[1]):
            moment = silent_moment(images[:, t], prompt, dt_s[:, t])
            density, *_, state = self.step(moment, state)
            densities.append(density)
        return torch.stack(densities, dim=1)


def _told(evidence: Evidence, before: fpd.State) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Evidence (B * N, ...) as log o and log R, (B, N, h, w), presence and searching, (B, N)."""
    shape = before.log_density.shape
    log_density, log_variance = (x.view(shape) for x in evidence[:2])
    presence, searching = (x.view(shape[:2]).sigmoid() for x in evidence[2:])
    return log_density, log_variance, presence, searching


def search_of(searching: Tensor) -> Tensor:
    """How much of a search a prompt is, 0..1; exactly 0 for what is rather a way of viewing."""
    return (2 * searching - 1).clamp_min(0)


def beta_of(search: Tensor, presence: Tensor) -> Tensor:
    """What a still scene's density is raised to.

    Evidence for one place adds up where the thing is; who looks for what is not there looks around.
    """
    return 1 + (SEARCH_BETA - 1) * search * presence


def sight_of(motion: fpd.Motion) -> Sight:
    """What hearing takes of the motion between two frames."""
    return Sight(
        motion.before,
        motion.now,
        motion.displacement,
        motion.confidence,
        motion.change,
        motion.fresh.flatten(),
    )


def silent_moment(image: Tensor, prompt: Tensor, dt_s: Tensor) -> Moment:
    """A frame without sound of a camera that is not known to move."""
    cameras = len(image)
    mel = torch.full((cameras, BANDS, HOPS), SILENCE)
    return Moment(image, prompt, dt_s, identity_ego(cameras), mel, torch.zeros(cameras))


def repeated(seen: Pyramid, prompts: int) -> Pyramid:
    """B pictures to B * N, each N times."""

    def each(x: Tensor) -> Tensor:
        return x[:, None].expand(-1, prompts, *x.shape[1:]).flatten(0, 1)

    levels = tuple(each(x) for x in seen.levels)
    return Pyramid(each(seen.fine), levels, *map(each, seen[2:]))
