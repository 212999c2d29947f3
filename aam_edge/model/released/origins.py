"""Where users get the weights that aam-edge does not bring, and under which terms. Needs no torch.

None of them is shipped or fetched: each has an owner whose terms the user accepts.
"""

from __future__ import annotations

from dataclasses import dataclass

DINOV3_TERMS = (
    "DINOv3 License (Meta): use and passing on under its terms only, with a copy of it; accept it "
    "where you get the file"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """One sort of weights."""

    kind: str
    size: str
    """s, b or l; empty where there is one alone."""
    name: str
    """What it is called once imported."""
    words: str
    where: str
    licence: str
    command: str


def _aam(size: str) -> Origin:
    return Origin(
        "aam",
        size,
        f"released-{size}",
        f"public AAM checkpoint, size {size}",
        "linked from https://github.com/wz-zhao/Attend-to-Anything",
        f"code Apache-2.0; the file holds a DINOv3 backbone and so is under the {DINOV3_TERMS}",
        f"aam-edge weights import best_model.pth --size {size}",
    )


def _dinov3(size: str) -> Origin:
    model = f"dinov3-vit{size}16-pretrain-lvd1689m"
    return Origin(
        "dinov3",
        size,
        f"dinov3-{size}",
        f"DINOv3 ViT-{size.upper()}/16, to train from",
        f"https://github.com/facebookresearch/dinov3 (.pth) or "
        f"https://huggingface.co/facebook/{model} (folder)",
        DINOV3_TERMS,
        f"aam-edge weights import {model}/ --size {size}",
    )


ORIGINS = (
    *(_aam(size) for size in "sbl"),
    *(_dinov3(size) for size in "sbl"),
    Origin(
        "clip",
        "",
        "clip-text",
        "CLIP ViT-L/14, of which the text tower is taken: prompts",
        "https://huggingface.co/openai/clip-vit-large-patch14 (folder), or ViT-L-14.pt as "
        "https://github.com/openai/CLIP names it, with bpe_simple_vocab_16e6.txt.gz from there",
        "MIT (OpenAI)",
        "aam-edge weights import ViT-L-14.pt --vocabulary bpe_simple_vocab_16e6.txt.gz",
    ),
    Origin(
        "wav2clip",
        "",
        "wav2clip",
        "Wav2CLIP: sound",
        "Wav2CLIP.pt among the releases of https://github.com/descriptinc/lyrebird-wav2clip",
        "MIT (Descript)",
        "aam-edge weights import Wav2CLIP.pt",
    ),
)


def origin_of(kind: str, size: str) -> Origin:
    """The origin of a kind and size."""
    return next(origin for origin in ORIGINS if (origin.kind, origin.size) == (kind, size))
