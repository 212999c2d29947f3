"""L_HAE: equal to the public code's, and an anchor that can learn from the first step on."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [train]")
pytest.importorskip("safetensors", reason="needs the extra [train]")

from safetensors.torch import load_file

from aam_edge.engine.text import TextTable
from aam_edge.model.native import lorentz
from aam_edge.model.native.network import NativeNetwork
from aam_edge.training.hae import hae, point_anchor

C = torch.tensor(0.8)


@pytest.mark.parametrize("case", ["normal", "wide"])
def test_parts_are_those_of_the_public_code(shared: Path, case: str) -> None:
    table = load_file(shared / "aam" / "fixtures" / "b_losses.safetensors")
    image, text, anchor = (table[f"hae/{case}/z_{part}"] for part in ("img", "txt", "anc"))
    found = hae(image, text, anchor, C)
    entail = (found.image + found.text).mean() / 2
    ours = torch.stack([*(part.mean() for part in found), entail, found.total(0.4).mean()])
    # The public code adds 1e-4 to the length that its half aperture divides by.
    torch.testing.assert_close(
        ours, table[f"hae/{case}/contrast,ti,at,entail,weighted"], atol=1e-3, rtol=1e-4
    )


def test_nothing_is_lost_where_each_entails_the_next() -> None:
    direction = torch.nn.functional.normalize(torch.randn(3, 8), dim=1)
    anchor, text, image = (lorentz.exp_map0(depth * direction, C) for depth in (0.3, 1.0, 2.0))
    found = hae(image, text, anchor, C)
    assert float(found.image.max()) == float(found.text.max()) == 0
    assert float(found.total(0.0).max()) == 0
    torch.testing.assert_close(found.contrast, torch.ones(3))


def test_anchor_begins_on_the_way_to_free_viewing_and_has_a_gradient() -> None:
    torch.manual_seed(0)
    decoder = NativeNetwork().decoder
    free, dog = (torch.tensor(TextTable().embed(p)) for p in ("free viewing", "dog"))
    point_anchor(decoder, free)
    points = decoder.point(torch.stack([free, dog]))
    anchor = lorentz.exp_map0(decoder.anchor[None], decoder.curvature)
    angles = lorentz.exterior_angle(anchor.expand_as(points), points, decoder.curvature)
    to_free, to_dog = angles.detach().tolist()
    assert to_free < 1e-3 < to_dog
    angles[1].backward()
    assert decoder.anchor.grad is not None
    assert 0 < float(decoder.anchor.grad.norm()) < 1e3
