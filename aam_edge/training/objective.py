"""What a step of training asks of the network, and how much of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aam_edge.model.native import lorentz
from aam_edge.model.native.decoder import Decoder, Evidence, Pyramid, smooth_max
from aam_edge.training.batch import ABSENT, GAZE, SEARCH, TEACHER, Batch
from aam_edge.training.losses import (
    cc,
    heat_loss,
    kld,
    naming_loss,
    placing_loss,
    presence_loss,
    sim,
    variance_loss,
    words_loss,
)
from aam_edge.training.prompts import COCO_NAMES, GENERAL, NAMES, children

PAIRS = [
    (NAMES.index(general), NAMES.index(name)) for general in GENERAL for name in children(general)
]
"""General word and name below it."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Weights of the parts of the loss."""

    gaze: float = 1.0
    teacher: float = 0.5
    search: float = 0.6
    variance: float = 0.1
    heat: float = 0.1
    naming: float = 0.2
    placing: float = 0.1
    presence: float = 0.3
    words: float = 0.15
    hierarchy: float = 0.02


def objective(
    decoder: Decoder,
    seen: Pyramid,
    evidence: Evidence,
    batch: Batch,
    lexicon: Tensor,
    shares: Shares,
) -> tuple[Tensor, dict[str, float]]:
    """The loss, and its parts by name.

    Args:
        decoder: for its geometry.
        seen: of the batch's pictures.
        evidence: of their prompts.
        batch: what was drawn.
        lexicon: vectors of the names in `batch.words`, (W, 128).
        shares: weights.
    """
    points = decoder.point(batch.names)
    nearness = decoder.nearness_to(seen.cells, points)  # (B, M, h/2, w/2)
    gain, shift = decoder.cell_line
    parts = row_losses(evidence, batch, shares)
    parts["heat"] = shares.heat * heat_loss(gain * nearness + shift, batch.heat)
    sharp = decoder.log_sharpness.exp() * nearness
    coco = len(COCO_NAMES)
    parts["naming"] = shares.naming * naming_loss(sharp[:, :coco], batch.heat[:, :coco])
    parts["placing"] = shares.placing * placing_loss(sharp, batch.heat, batch.present)
    presence = decoder.presence_of(nearness, seen.whole, points)
    parts["presence"] = shares.presence * presence_loss(presence, batch.present)
    if len(lexicon):
        # A small batch may hold no picture whose words are known.
        words = batch.words if batch.words.shape[1] else torch.zeros(len(seen.whole), len(lexicon))
        parts["words"] = shares.words * words_loss(name_odds(decoder, seen, lexicon), words)
    parts["hierarchy"] = shares.hierarchy * hierarchy_loss(decoder, seen, points, batch)
    total = torch.stack(list(parts.values())).sum()
    return total, {name: float(part.detach()) for name, part in parts.items()}


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


def hierarchy_loss(decoder: Decoder, seen: Pyramid, points: Tensor, batch: Batch) -> Tensor:
    """Anchor entails general word entails name entails cell and picture; mean angles outside."""
    c = decoder.curvature
    anchor = lorentz.exp_map0(decoder.anchor[None], c)
    of_anchor = lorentz.entailment_loss(anchor, points, c).mean()
    general, below = (points[list(which)] for which in zip(*PAIRS, strict=True))
    of_general = lorentz.entailment_loss(general, below, c).mean()
    picture, name = torch.nonzero(batch.present == 1, as_tuple=True)
    if not len(picture):
        return of_anchor + of_general
    hottest = batch.heat[picture, name].flatten(1).argmax(1)
    cells = seen.cells.flatten(2)[picture, :, hottest]
    of_cells = lorentz.entailment_loss(points[name], cells, c).mean()
    of_whole = lorentz.entailment_loss(points[name], seen.whole[picture], c).mean()
    return of_anchor + of_general + of_cells + of_whole
