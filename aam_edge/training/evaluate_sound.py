"""What sound does to the map, on synthetic scenes of other seeds than those of the fit.

    python -m aam_edge.training.evaluate_sound --weights hearing.pt --scenes 200

`mass` is the density on the sounding thing, `stray` the total variation between the maps with and
without sound. Both are means over the frames after SETTLED_S: before that nobody can know.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from aam_edge.errors import exit_code_of
from aam_edge.model.native.hearing import Hearing, initial_memory
from aam_edge.training.fit_sound import Batch, collate, hear, read_hearing, total_variation
from aam_edge.training.sound_pictures import Material, read_material
from aam_edge.training.sound_scenes import Kind, draw_scene

SETTLED_S = 1.5
HELD_SEED = 1_000_000
"""First of the seeds for evaluation."""
SHAPE = (48, 64)
GROUP = 10
"""Scenes at a time; also what shuffled sound is drawn from."""


class Told(NamedTuple):
    """Each scene's means over its settled frames, (scenes,); NaN where a scene has none."""

    silent_mass: Tensor
    mass: Tensor
    stray: Tensor
    gate: Tensor


@torch.no_grad()
def tell(hearing: Hearing, batch: Batch) -> Told:
    """What sound does in each scene of a batch."""
    outcome = hear(hearing, batch, initial_memory(len(batch.dt_s), *batch.silent.shape[2:]))
    settled = (batch.dt_s.cumsum(dim=1) > SETTLED_S).float()
    thing = (batch.truth > 0.25).float()
    silent = batch.silent.exp()

    def mean(x: Tensor, where: Tensor) -> Tensor:
        return (x * where).sum(dim=1) / where.sum(dim=1)

    heard = settled * batch.sounds
    return Told(
        silent_mass=mean((silent * thing).sum(dim=(2, 3)), heard),
        mass=mean((outcome.density * thing).sum(dim=(2, 3)), heard),
        stray=mean(total_variation(outcome.density, silent), settled),
        gate=mean(outcome.judged.gate.amax(dim=(2, 3)), settled),
    )


def with_sound_of_another(batch: Batch) -> Batch:
    """Each scene hears its neighbour, frame by frame."""
    return batch._replace(mel=batch.mel.roll(1, 0), heard=batch.heard.roll(1, 0))


def tell_all(
    hearing: Hearing,
    kind: Kind,
    scenes: int,
    material: Material | None = None,
    *,
    shuffled: bool = False,
    frames: int = 120,
) -> Told:
    """So many scenes of a kind, always the same ones."""
    told = []
    for begin in range(0, scenes, GROUP):
        numbers = range(begin, min(scenes, begin + GROUP))
        rngs = [np.random.default_rng((HELD_SEED, number)) for number in numbers]
        batch = collate([draw_scene(rng, SHAPE, frames, material, kind) for rng in rngs])
        told.append(tell(hearing, with_sound_of_another(batch) if shuffled else batch))
    return Told(*(torch.cat(parts) for parts in zip(*told, strict=True)))


def figures(
    hearing: Hearing, scenes: int, material: Material | None = None, *, frames: int = 120
) -> dict[str, float]:
    """All that is claimed of hearing, as numbers."""
    right = tell_all(hearing, "sounding", scenes, material, frames=frames)
    wrong = tell_all(hearing, "sounding", scenes, material, frames=frames, shuffled=True)
    found = {
        "mass_silent": right.silent_mass.nanmean(),
        "mass": right.mass.nanmean(),
        "mass_shuffled": wrong.mass.nanmean(),
        "risen_by_half": _share(right.mass > 1.5 * right.silent_mass, right.mass),
        "risen_by_half_shuffled": _share(wrong.mass > 1.5 * wrong.silent_mass, wrong.mass),
        "gate": right.gate.nanmean(),
        "stray_shuffled": wrong.stray.nanmean(),
    }
    kinds: tuple[Kind, ...] = ("elsewhere", "still", "turning", "silent")
    for kind in kinds:
        stray = tell_all(hearing, kind, scenes // 2, material, frames=frames).stray
        found[f"stray_{kind}"] = stray.nanmean()
        found[f"stray_{kind}_p95"] = stray.nanquantile(0.95)
    return {name: round(float(value), 4) for name, value in found.items()}


def _share(holds: Tensor, of: Tensor) -> Tensor:
    return holds[~of.isnan()].float().mean()


def main() -> None:
    """Reads the options and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="of fit_sound, .pt")
    parser.add_argument("--photos", type=Path, help="folder of .jpg to cut things from")
    parser.add_argument("--clips", type=Path, nargs="*", default=[], help="backgrounds that move")
    parser.add_argument("--scenes", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    hearing = read_hearing(options.weights)
    material = read_material(options.photos, options.clips)
    sys.stdout.write(json.dumps(figures(hearing, options.scenes, material), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(exit_code_of(main))
