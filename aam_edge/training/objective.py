"""What a step of training asks of the network, and how much of each.

Parts of the loss are sums over what teaches (rows, cells, names) divided by how much there is of
it. The divisors (`Divisors`) come from the batch alone, so that processes which share a batch can
take them over the whole of it: then the mean of their losses is the loss of one process with all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.native import lorentz
from aam_edge.model.native.decoder import Decoder, Evidence, Pyramid, smooth_max
from aam_edge.settings import setting
from aam_edge.training.batch import ABSENT, GAZE, SEARCH, TEACHER, Batch
from aam_edge.training.hae import hae
from aam_edge.training.losses import (
    cc,
    heat_loss,
    is_hot,
    kld,
    naming_loss,
    placing_loss,
    presence_loss,
    shares_of_presence,
    sim,
    variance_loss,
    words_loss,
)
from aam_edge.training.prompts import COCO_NAMES, GENERAL, NAMES, children

PAIRS = [
    (NAMES.index(general), NAMES.index(name)) for general in GENERAL for name in children(general)
]
"""General word and name below it."""
LEAST_HEAT = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """Weights of the parts of the loss."""

    gaze: float = setting(1.0, "KLD - CC - SIM against people's density")
    teacher: float = setting(0.5, "the same against stored densities of a teacher")
    search: float = setting(0.6, "KLD - CC against the place of what is asked for")
    variance: float = setting(0.1, "likelihood of the observation's own error")
    heat: float = setting(0.1, "heat of names")
    naming: float = setting(0.2, "between the names of a cell")
    placing: float = setting(0.1, "between the cells of a name")
    presence: float = setting(0.3, "whether names are in view")
    evenness: float = setting(
        0.5, "of names in presence: 0: as often as photos hold them; 1: each as often as not"
    )
    words: float = setting(0.15, "a classifier's names of the whole picture")
    hierarchy: float = setting(0.02, "general word entails name entails cell and picture")
    hae: float = setting(0.02, "L_HAE: anchor entails text entails picture; 0: without")
    contrast: float = setting(0.4, "distance of text and picture within L_HAE; 0: without")
    anchor_epochs: int = setting(1, "first epochs, in which L_HAE knows free viewing alone")
    clips: float = setting(1.0, "KLD - CC - SIM of the filtered density, frame by frame")


class Divisors(NamedTuple):
    """How much of a batch there is of what teaches; scalars."""

    heat: Tensor
    hot: Tensor
    placed: Tensor
    """Names in view whose place is known."""
    present: Tensor
    """Chances of what is in view."""
    absent: Tensor
    """And of what is not, by the weights of absence."""
    worded: Tensor
    asked: Tensor
    """Rows of L_HAE."""


def divisors_of(batch: Batch, absence: Tensor, *, is_warm_start: bool) -> Tensor:
    """What a batch has, (7,), to be averaged over the processes that share it; `absence` (M,)."""
    there, not_there = shares_of_presence(batch.chances, absence)
    counts = Divisors(
        batch.heat.sum(),
        is_hot(batch.heat).sum(),
        (batch.present == 1).sum(),
        there.sum(),
        not_there.sum(),
        batch.words.sum(),
        of_hierarchy(batch, is_warm_start=is_warm_start).sum(),
    )
    return torch.stack([count.float() for count in counts])


def absence_weights(usual: Tensor, evenness: float) -> Tensor:
    """How much the absence of names counts, (M,), of mean 1.

    A name that most photos hold is otherwise thought to be there whatever is seen, for its absence
    is rare: at an evenness of 1 each name is taught to be there as often as not.

    Args:
        usual: part of the photos that hold each name, (M,), 0..1.
        evenness: 0..1.
    """
    kept = usual.clamp(1e-3, 0.9)
    weight = (kept / (1 - kept)) ** evenness
    return weight / weight.mean()


def at_least_one(counts: Tensor, processes: int) -> Divisors:
    """The divisors of a whole batch, from counts (7,) averaged over its processes."""
    least = torch.ones_like(counts)
    least[0] = LEAST_HEAT
    return Divisors(*torch.maximum(counts, least / processes))


def of_hierarchy(batch: Batch, *, is_warm_start: bool) -> Tensor:
    """(B * N,), 1.0 for prompts whose picture lies in their cone."""
    counts = (batch.weight > 0) & (batch.kind != ABSENT)
    return counts * (batch.free if is_warm_start else torch.ones_like(batch.free))


def objective(
    decoder: Decoder,
    seen: Pyramid,
    evidence: Evidence,
    batch: Batch,
    divisors: Divisors,
    lexicon: Tensor,
    absence: Tensor,
    shares: Shares,
    *,
    is_warm_start: bool = False,
) -> dict[str, Tensor]:
    """The parts of the loss by name; it is their sum.

    Args:
        decoder: for its geometry.
        seen: of the batch's pictures.
        evidence: of their prompts.
        batch: what was drawn.
        divisors: of the batch, or of what it is a part of.
        lexicon: vectors of the names in `batch.words`, (W, 128).
        absence: weights of the names' absence, (M,), of `absence_weights`.
        shares: weights.
        is_warm_start: L_HAE takes free viewing alone.
    """
    points = decoder.point(batch.names)
    nearness = decoder.nearness_to(seen.cells, points)  # (B, M, h/2, w/2)
    parts = row_losses(evidence, batch, shares)
    parts |= name_losses(decoder, seen, nearness, points, batch, divisors, absence, shares)
    if len(lexicon):
        # A small batch may hold no picture whose words are known.
        words = batch.words if batch.words.shape[1] else lexicon.new_zeros(len(seen.whole), 1)
        told = words_loss(name_odds(decoder, seen, lexicon), words)
        parts["words"] = shares.words * told / divisors.worded
    if shares.hierarchy:
        parts["hierarchy"] = shares.hierarchy * hierarchy_loss(
            decoder, seen, points, batch, divisors
        )
    if shares.hae:
        rows = of_hierarchy(batch, is_warm_start=is_warm_start)
        told = (rows * hae_rows(decoder, seen, batch, shares.contrast)).sum()
        parts["hae"] = shares.hae * told / divisors.asked
    return parts


def name_losses(
    decoder: Decoder,
    seen: Pyramid,
    nearness: Tensor,
    points: Tensor,
    batch: Batch,
    divisors: Divisors,
    absence: Tensor,
    shares: Shares,
) -> dict[str, Tensor]:
    """What is known of NAMES in each cell and in the whole picture."""
    gain, shift = decoder.cell_line
    sharp = decoder.log_sharpness.exp() * nearness
    coco = len(COCO_NAMES)
    presence = decoder.presence_of(seen, nearness, points, batch.names)
    there, not_there = presence_loss(presence, batch.chances, absence)
    told = there / divisors.present + not_there / divisors.absent
    naming = naming_loss(sharp[:, :coco], batch.heat[:, :coco])
    placing = placing_loss(sharp, batch.heat, batch.present)
    return {
        "heat": shares.heat * heat_loss(gain * nearness + shift, batch.heat) / divisors.heat,
        "naming": shares.naming * naming / divisors.hot,
        "placing": shares.placing * placing / divisors.placed,
        "presence": shares.presence * told / 2,
    }


def row_losses(evidence: Evidence, batch: Batch, shares: Shares) -> dict[str, Tensor]:
    """Losses of the densities, each a mean over all rows."""
    log_density, wanted, kind = evidence.log_density, batch.wanted, batch.kind
    apart, alike, shared = (f(log_density, wanted) for f in (kld, cc, sim))
    viewing = (kind == GAZE) * shares.gaze + (kind == TEACHER) * shares.teacher
    finding = ((kind == SEARCH) | (kind == ABSENT)) * shares.search
    found = kind == SEARCH
    spread = variance_loss(log_density, evidence.log_variance, wanted)
    weight = batch.weight
    asks = F.binary_cross_entropy_with_logits(
        evidence.searching, finding.sign().float(), reduction="none"
    )
    return {
        "gaze": (weight * viewing * (apart - alike - shared)).mean(),
        "search": (weight * finding * (apart - alike * found)).mean(),
        "variance": shares.variance * (weight * (viewing + finding * found) * spread).mean(),
        "searching": 0.1 * ((weight > 0) * asks).mean(),
    }


def name_odds(decoder: Decoder, seen: Pyramid, lexicon: Tensor) -> Tensor:
    """Log-odds of many names for the whole picture, from coarse cells: (B, W)."""
    coarse = F.avg_pool2d(seen.cells, 4)
    nearness = decoder.nearness_to(coarse, decoder.point(lexicon))
    return decoder.log_sharpness.exp() * smooth_max(nearness)


def hae_rows(decoder: Decoder, seen: Pyramid, batch: Batch, contrast: float) -> Tensor:
    """L_HAE of every prompt and its picture, (B * N,)."""
    c = decoder.curvature
    texts = decoder.point(batch.prompts.flatten(0, 1))
    images = seen.whole.repeat_interleave(batch.prompts.shape[1], dim=0)
    anchor = lorentz.exp_map0(decoder.anchor[None], c)
    return hae(images, texts, anchor, c).total(contrast)


def hierarchy_loss(
    decoder: Decoder, seen: Pyramid, points: Tensor, batch: Batch, divisors: Divisors
) -> Tensor:
    """Anchor entails general word entails name entails cell and picture; mean angles outside."""
    c = decoder.curvature
    anchor = lorentz.exp_map0(decoder.anchor[None], c)
    of_anchor = lorentz.entailment_loss(anchor, points, c).mean()
    general, below = (points[list(which)] for which in zip(*PAIRS, strict=True))
    of_general = lorentz.entailment_loss(general, below, c).mean()
    picture, name = torch.nonzero(batch.present == 1, as_tuple=True)
    hottest = batch.heat[picture, name].flatten(1).argmax(1)
    cells = seen.cells.flatten(2)[picture, :, hottest]
    of_cells = lorentz.entailment_loss(points[name], cells, c).sum()
    of_whole = lorentz.entailment_loss(points[name], seen.whole[picture], c).sum()
    return of_anchor + of_general + (of_cells + of_whole) / divisors.placed
