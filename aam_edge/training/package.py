"""A checkpoint to a package that runs: files, a check that they say the same, a model card."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aam_edge.engine.catalog import open_backend, open_text
from aam_edge.engine.package import Package, find_package
from aam_edge.engine.session import Session
from aam_edge.errors import ModelError, SinkError, UsageError
from aam_edge.messages import Frame, Observation
from aam_edge.training.card import BEGIN, END
from aam_edge.training.export import assembled, export_network

FILES = (".safetensors", ".onnx", ".json")
"""The manifest last: where it is, the others are whole."""
MOST_DIFFERENCE = 1e-3
"""Between the graph's density and torch's, as a part of its peak; engines round differently."""
PROMPTS = ("free viewing", "search for cup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    package: Package
    card: Path
    is_new_card: bool
    parameters: int
    difference: float
    """Largest of densities between the graph and torch, as a part of the peak."""


def export_checkpoint(
    checkpoint: Path, name: str, out: Path, *, hearing: Path | None = None,
    facts: dict[str, Any] | None = None,
) -> Exported:  # fmt: skip
    """Writes NAME.safetensors, .onnx, .json and, where there is none, the card NAME.md.

    Nothing is replaced before the new files are whole and were run.

    Args:
        checkpoint: of a fit.
        name: of the network.
        out: folder.
        hearing: weights of a fit to sound; None takes the checkpoint's own.
        facts: for the manifest: version, taught, licence.

    Raises:
        UsageError: the name is none.
        ModelError: the checkpoint does not fit, or the graph says something else than torch.
        SinkError: the files cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UsageError("name of a network is none", name, "give letters, digits, - and _")
    network = assembled(checkpoint, hearing)
    told = {"follows_prompts": True, "uses_sound": hearing is not None, **(facts or {})}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as folder:
            export_network(network, name, Path(folder), told)
            difference = difference_of(find_package(f"{folder}/{name}.json"))
            for suffix in FILES:
                Path(folder, name + suffix).replace(out / (name + suffix))
        package = find_package(str(out / f"{name}.json"))
        parameters = sum(tensor.numel() for tensor in network.parameters())
        card, is_new = out / f"{name}.md", not (out / f"{name}.md").exists()
        if is_new:
            card.write_text(card_text(package, parameters, checkpoint.name))
    except OSError as problem:
        what = f"package cannot be written, {problem.strerror or problem}"
        raise SinkError(what, out, "make room, or choose another folder") from problem
    return Exported(
        package=package, card=card, is_new_card=is_new, parameters=parameters, difference=difference
    )


def difference_of(package: Package) -> float:
    """Largest difference between graph and torch on two frames; ModelError if it is large."""
    rng = np.random.default_rng(0)
    frames = [
        Frame(rng.integers(0, 255, (96, 128, 3), np.uint8), 1 + i, "check", i) for i in (0, 1)
    ]
    seen = []
    for engine in ("onnx", "eager"):
        session = Session(open_backend(package, engine), PROMPTS, embed=open_text())
        steps = [session.step(Observation(frame)) for frame in frames]
        seen.append(np.stack([raw.density for step in steps for raw in step]))
    difference = float(np.abs(seen[0] - seen[1]).max() / seen[1].max())
    if not difference <= MOST_DIFFERENCE:
        value = f"{package.name}: {difference:.1e} of the peak"
        raise ModelError("graph differs from the network", value, "report it with the checkpoint")
    return difference


def card_text(package: Package, parameters: int, checkpoint: str) -> str:
    """A card to be filled in; figures go between the marks (`aam-edge evaluate --card`)."""
    untold = "Not said: write it here, with the licence of each source."
    facts, size_mb = package.manifest, package.tensors.stat().st_size / 1e6
    return f"""# Model card: {package.name} {facts.get("version", "")}

**What it is.** A network of aam-edge: picture, prompt and sound in, density of human attention out.
{parameters / 1e6:.2f} M weights, {size_mb:.1f} MB in half precision; made from {checkpoint}.

**Weights.** {facts["tensors_sha256"]}

**What it was taught.** {facts.get("taught", untold)}

**Licence.** {facts.get("licence", "Not said.")}

**How good.**

{BEGIN}
Not measured yet: aam-edge evaluate SET --model {package.name}.safetensors --card {package.name}.md
{END}
"""
