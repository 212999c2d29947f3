"""What is heard says where to look: evidence for the places that move in time with the sound.

Per cell x (16 pixels of the input) there are vision channels v_i(x, t), per camera sound streams
s_j(t). Their means, variances and covariances are kept with an exponentially forgetting weight
(T. Finch, "Incremental calculation of weighted mean and variance", 2009), for any step dt:

    W <- e^(-dt/tau) W + dt,  g = dt / W,  d_v = v - m_v,  d_s = s - m_s
    m_v <- m_v + g d_v,  C_ij <- (1 - g) (C_ij + g d_v d_s),  and so V_i, S_j with d_v^2, d_s^2
    r_ij(x) = W / (W + W_0) C_ij / sqrt((V_i + V_0) (S_j + S_0)),  in [-1, 1]

and travel with the flow. From r a small network reads the odds that the cell is what sounds; the
gate is the part of them above even, and nothing without motion, sound and correlation:

    alpha(x) = relu(tanh(score / 2)) * moves(x) * correlates(x) * sounds,  in [0, 1]

Cross-attention asks the cells with what is heard; against the mean cell that is evidence in nats,
which is added to the observation before it is normalised (`add_evidence`):

    e(x) = clamp(l(x) - log mean_y exp l(y), 0, 4),  l(x) = q.k(x) / sqrt(n)
    log o <- log o + alpha e

Each vision channel is the logarithm of a change over the picture's geometric mean of it, and 0
below: what the whole picture does, a turn of the camera or a lamp, is no channel's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BANDS, HOPS = 64, 100
"""Of the log-mel energies: as engine.log_mel makes them, a hop is 10 ms."""
SILENCE = -1.0
CELL = 4
"""Cells of the map along one cell of hearing."""
VISION = 6
"""Speed, difference, unexplained change, acceleration, onset; brightness."""
ACTIVITIES = 5
"""Loudness, its rise, and three that are learned."""
LAGS_S = (0.0, 0.08)
"""How long before the picture a stream was heard: a camera is later than a microphone."""
STREAMS = ACTIVITIES * len(LAGS_S)
PAIRS = VISION * STREAMS
RECENT_HOPS = 56
"""What streams are read from: pooling, lag and the reach of the convolutions."""
MOST_NATS = 4.0
WIDTH, KEY = 32, 16
FLOORS = (1.0, 0.01, 0.1, 2.0)
"""Cells/s, luminance, part of the contrast, cells/s: what noise alone can make of a change."""
VISION_FLOOR, STREAM_FLOOR = 0.01, 4e-4
"""V_0 and S_0, variances that noise alone can make."""
FEWEST_S = 0.3
"""W_0: what was seen and heard for so long counts half."""
TRACE_S, SLOW_S = 0.06, 0.4
"""Time constants of the channels' smoothing and of what an onset is measured from."""
_LAYOUT = (2, 1, VISION, VISION, VISION, PAIRS, STREAMS, STREAMS, 1)
MEMORY_CHANNELS = sum(_LAYOUT)
_MOVING = sum(_LAYOUT[:6])


class Sight(NamedTuple):
    """What the filter's drift has found out of two frames; maps are (B, ., h, w)."""

    before: Tensor
    """(B, 1, h, w), luminance of the last frame, 0..1."""
    now: Tensor
    """(B, 1, h, w), of this frame."""
    displacement: Tensor
    """(B, 2, h, w), cells over dt: as `flow.estimate` gives it."""
    confidence: Tensor
    """(B, 1, h, w), 0..1, of it."""
    change: Tensor
    """(B, 1, h, w), `flow.change_left`."""
    fresh: Tensor
    """(B,), 1.0; 0.0 for a first frame and after a cut, where the memory starts anew."""


class Memory(NamedTuple):
    """The channels of the memory tensor (B, MEMORY_CHANNELS, h/4, w/4)."""

    velocity: Tensor
    slow: Tensor
    trace: Tensor
    vision_mean: Tensor
    vision_variance: Tensor
    covariance: Tensor
    stream_mean: Tensor
    stream_variance: Tensor
    weight: Tensor


class Heard(NamedTuple):
    """What sound adds to one frame."""

    evidence: Tensor
    """(B, 1, h, w), alpha e, nats in 0..4; exactly 0 where nothing is heard."""
    gate: Tensor
    """(B,), the largest alpha, 0..1."""
    memory: Tensor


class Judgement(NamedTuple):
    """Cell by cell, (B, 1, h/4, w/4)."""

    score: Tensor
    """Log odds that the cell is what sounds."""
    gate: Tensor
    """alpha."""
    evidence: Tensor
    """alpha e."""


def initial_memory(cameras: int, height: int, width: int) -> Tensor:
    """Nothing seen or heard yet; height and width are the map's."""
    return torch.zeros(cameras, MEMORY_CHANNELS, height // CELL, width // CELL)


def add_evidence(log_density: Tensor, evidence: Tensor) -> Tensor:
    """log o + e, normalised anew; where e is 0 all over, log o comes back bit for bit.

    Args:
        log_density: (B, N, h, w), exp of it sums to 1.
        evidence: (B, 1, h, w), >= 0.
    """
    more = (log_density.exp() * torch.expm1(evidence)).sum(dim=(2, 3), keepdim=True)
    return log_density + evidence - torch.log1p(more)


class Hearing(nn.Module):
    """Sound encoder, correlation gate and cross-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.log_tau = nn.Parameter(torch.tensor(math.log(3.0)))
        self.listen_wide = nn.Conv1d(BANDS, 24, 5)
        self.listen_deep = nn.Conv1d(24, 24, 5)
        self.listen_out = nn.Conv1d(24, ACTIVITIES - 2, 1)
        self.ask = nn.Linear(24 + STREAMS, KEY)
        self.read = nn.Conv2d(PAIRS + 2 * VISION + 1, WIDTH, 1)
        self.compare = nn.Linear(2 * WIDTH, WIDTH)
        self.gather = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.score = nn.Conv2d(WIDTH, 1, 1)
        self.key = nn.Conv2d(WIDTH, KEY, 1)

    def forward(
        self, memory: Tensor, mel: Tensor, heard: Tensor, sight: Sight, dt_s: Tensor
    ) -> Heard:
        """One frame of B cameras.

        Args:
            memory: (B, MEMORY_CHANNELS, h/4, w/4), of the last step or `initial_memory`.
            mel: (B, 64, 100), log-mel energies of the trailing second.
            heard: (B,), 1.0 where there is sound, else 0.0.
            sight: what was seen.
            dt_s: (B,), seconds since the last frame, >= 0.
        """
        streams, query, loud = self.listen(mel, dt_s)
        cells = self.look(sight, dt_s)
        memory = self.remember(memory, cells, streams, heard * sight.fresh, sight, dt_s)
        judged = self.judge(memory, query, loud * heard)
        evidence = F.interpolate(judged.evidence, scale_factor=float(CELL), mode="bilinear")
        return Heard(evidence, judged.gate.amax(dim=(1, 2, 3)), memory)

    def listen(self, mel: Tensor, dt_s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sound streams (B, STREAMS), the query (B, KEY), and how loud it is (B,), 0..1."""
        mel = mel.nan_to_num(SILENCE, 2.0, SILENCE)
        loudness = mel.mean(dim=1)  # (B, 100)
        loud = ((loudness.amax(dim=1) - SILENCE - 0.05) * 10).clamp(0.0, 1.0)
        # Against the second's mean, a microphone's gain is nothing.
        level = loudness.mean(dim=1, keepdim=True)
        recent = mel[:, :, -RECENT_HOPS:] - level[:, :, None]
        features = F.relu(self.listen_wide(recent))  # (B, 24, 52)
        features = F.relu(self.listen_deep(features))  # (B, 24, 48)
        learned = torch.tanh(self.listen_out(features))  # (B, 3, 48)
        hops = learned.shape[2]
        rise = F.relu(recent[:, :, 3:] - recent[:, :, :-3]).mean(dim=1)[:, None, -hops:]
        tone = (loudness - level)[:, None, -hops:]
        activities = torch.cat([tone, 2 * rise, learned], dim=1)  # (B, 5, 48)
        window = _pooling(hops, dt_s)  # (B, 48, lags)
        streams = torch.bmm(activities, window).flatten(1)
        sound = torch.cat([features.mean(dim=2), streams], dim=1)
        return streams, self.ask(sound), loud

    def look(self, sight: Sight, dt_s: Tensor) -> Tensor:
        """What each cell does: three logarithms, brightness, velocity; (B, 6, h/4, w/4)."""
        dt = dt_s.view(-1, 1, 1, 1).clamp(0.005, 10.0)
        displacement, confidence = sight.displacement, sight.confidence
        known = confidence.square().sum(dim=(2, 3), keepdim=True) + 1e-3
        turn = (confidence.square() * displacement).sum(dim=(2, 3), keepdim=True) / known
        velocity = (displacement - turn) * confidence / dt  # (B, 2, h, w)
        speed = (velocity.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()
        before, now = (x - x.mean(dim=(2, 3), keepdim=True) for x in (sight.before, sight.now))
        difference = (now - before).abs() / (30 * dt).sqrt()
        maps = torch.cat(
            [speed, difference, (sight.change + 1e-12).sqrt(), 4 * now, velocity], dim=1
        )
        maps = F.avg_pool2d(maps.nan_to_num(0.0, 1e3, -1e3).clamp(-1e3, 1e3), CELL)
        changes = [_outstanding(maps[:, i : i + 1], FLOORS[i]) for i in range(3)]
        return torch.cat([*changes, maps[:, 3:]], dim=1)

    def remember(
        self,
        memory: Tensor,
        cells: Tensor,
        streams: Tensor,
        heard: Tensor,
        sight: Sight,
        dt_s: Tensor,
    ) -> Tensor:
        """The memory with one frame more; `heard` (B,) is 0 where the sound does not count."""
        dt = dt_s.view(-1, 1, 1, 1).clamp(1e-3, 10.0)
        fresh = sight.fresh.view(-1, 1, 1, 1)
        old = unpacked(_carried(memory * fresh, sight, fresh))
        velocity = cells[:, 4:]
        faster = (velocity - old.velocity).square().sum(dim=1, keepdim=True) + 1e-12
        onset = F.relu(cells[:, 1:2] - old.slow) * fresh
        vision = torch.cat(
            [cells[:, :3], _outstanding(faster.sqrt(), FLOORS[3]), onset, cells[:, 3:4]], dim=1
        )
        # The first frame's channels are taken whole: before it there was nothing to smooth.
        known = (old.weight > 0).to(dt.dtype)
        trace = vision + known * torch.exp(-dt / TRACE_S) * (old.trace - vision)
        slow = cells[:, 1:2] + known * torch.exp(-dt / SLOW_S) * (old.slow - cells[:, 1:2])
        share = dt.clamp_max(0.2) * heard.view(-1, 1, 1, 1)
        tau = self.log_tau.exp().clamp(0.3, 5.0)
        weight = torch.exp(-dt / tau) * old.weight + share
        # No "+ 1e-9": the exporter takes it for nothing, and 0 / 0 is no number.
        gain = share / weight.clamp_min(1e-6)
        from_vision = trace - old.vision_mean
        from_stream = streams[:, :, None, None] - old.stream_mean  # (B, S, ., .)
        product = (from_vision[:, :, None] * from_stream[:, None]).flatten(1, 2)
        new = Memory(
            velocity=velocity,
            slow=slow,
            trace=trace,
            vision_mean=old.vision_mean + gain * from_vision,
            vision_variance=(1 - gain) * (old.vision_variance + gain * from_vision.square()),
            covariance=(1 - gain) * (old.covariance + gain * product),
            stream_mean=old.stream_mean + gain * from_stream,
            stream_variance=(1 - gain) * (old.stream_variance + gain * from_stream.square()),
            weight=weight,
        )
        return torch.cat(new, dim=1) * fresh

    def judge(self, memory: Tensor, query: Tensor, loud: Tensor) -> Judgement:
        """Gate and evidence of each cell from what is remembered; `loud` (B,) is 0 in silence."""
        seen = unpacked(memory)
        correlation = correlations(seen)
        deviation = (seen.vision_variance + 1e-12).sqrt()
        enough = seen.weight / (seen.weight + FEWEST_S)
        x = F.relu(self.read(torch.cat([correlation, deviation, seen.trace, enough], dim=1)))
        picture = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        x = x + self.compare(picture)[:, :, None, None]
        x = F.relu(x + self.gather(x))  # (B, WIDTH, h/4, w/4)
        score = self.score(x)
        moves = ((deviation[:, :5].amax(dim=1, keepdim=True) - 0.15) * 5).clamp(0.0, 1.0)
        strongest = correlation.abs().amax(dim=1, keepdim=True)
        correlates = ((strongest - 0.15) * 10).clamp(0.0, 1.0)
        sure = F.relu(torch.tanh(score / 2))
        gate = sure * moves * correlates * loud.view(-1, 1, 1, 1)
        logit = (query[:, :, None, None] * self.key(x)).sum(dim=1, keepdim=True) / KEY**0.5
        highest = logit.amax(dim=(2, 3), keepdim=True)
        mean = (logit - highest).exp().mean(dim=(2, 3), keepdim=True).log() + highest
        return Judgement(score, gate, gate * (logit - mean).clamp(0.0, MOST_NATS))


def unpacked(memory: Tensor) -> Memory:
    """The memory's channels by name."""
    return Memory(*memory.split(_LAYOUT, dim=1))


def correlations(seen: Memory) -> Tensor:
    """r of each pair, shrunk while little has been heard, (B, PAIRS, h/4, w/4), in -1..1."""
    vision = (seen.vision_variance + VISION_FLOOR).rsqrt()
    streams = (seen.stream_variance + STREAM_FLOOR).rsqrt()
    scale = (vision[:, :, None] * streams[:, None]).flatten(1, 2)
    return seen.covariance * scale * (seen.weight / (seen.weight + FEWEST_S))


def _outstanding(change: Tensor, floor: float) -> Tensor:
    """Logarithm of a change (B, 1, ., .) over the picture's geometric mean; 0 below it."""
    log_change = torch.log(change + floor)
    return F.relu(log_change - log_change.mean(dim=(2, 3), keepdim=True))


def _pooling(hops: int, dt_s: Tensor) -> Tensor:
    """Weights (B, hops, lags) that average the time between two frames, or 60 ms at least."""
    age_s = 0.01 * torch.arange(hops, 0, -1, device=dt_s.device, dtype=dt_s.dtype) - 0.005
    half = dt_s.clamp(0.06, 0.2)[:, None] / 2
    weights = []
    for lag_s in LAGS_S:
        off_s = (age_s - lag_s - half).abs()
        weights.append(((half + 0.01 - off_s) * 100).clamp(0.0, 1.0))  # (B, hops)
    stacked = torch.stack(weights, dim=2)
    return stacked / stacked.sum(dim=1, keepdim=True)


def _carried(memory: Tensor, sight: Sight, fresh: Tensor) -> Tensor:
    """The memory where the flow has taken it; what is the same in every cell stays.

    A matrix product with the bilinear weights of every pair of cells: in ONNX Runtime on so few
    cells it is faster than GridSample.
    """
    moved = (sight.displacement * sight.confidence * fresh).nan_to_num(0.0, 0.0, 0.0)
    moved = F.avg_pool2d(moved, CELL) / CELL  # (B, 2, h/4, w/4)
    height, width = memory.shape[2:]
    column = torch.arange(width, device=memory.device, dtype=memory.dtype)
    row = torch.arange(height, device=memory.device, dtype=memory.dtype)
    # minimum and maximum keep the border's cell for what comes from outside.
    x = (column.view(1, 1, width) - moved[:, 0]).clamp_min(0.0).minimum(column[-1]).flatten(1)
    y = (row.view(1, height, 1) - moved[:, 1]).clamp_min(0.0).minimum(row[-1]).flatten(1)
    from_x = F.relu(1 - (x[:, :, None] - column).abs())  # (B, n, w)
    from_y = F.relu(1 - (y[:, :, None] - row).abs())  # (B, n, h)
    weights = (from_y[:, :, :, None] * from_x[:, :, None, :]).flatten(2)  # (B, n, n)
    moving, still = memory.split([_MOVING, memory.shape[1] - _MOVING], dim=1)
    carried = torch.bmm(moving.flatten(2), weights.transpose(1, 2)).view_as(moving)
    return torch.cat([carried, still], dim=1)
