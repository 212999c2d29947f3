"""Names of CLIP's text tower and of Wav2CLIP, as their publishers and as we write them.

CLIP comes in two spellings: OpenAI's (`transformer.resblocks.0.attn.in_proj_weight`) and that of
the `transformers` library, which is ours. Wav2CLIP comes in one. What belongs to other parts of the
same file (CLIP's eyes, Wav2CLIP's training) is left out; anything unknown stays, so that the
comparison with the network names it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from aam_edge.errors import ModelError
from aam_edge.model.released.clip_tokens import Pair, parse_merges
from aam_edge.model.released.files import Tensors, read_json

CLIP_MARKS = ("token_embedding.weight", "text_model.embeddings.token_embedding.weight")
"""Either tells CLIP from everything else."""
WAV2CLIP_MARKS = ("audio_encoder.conv1.weight", "encoder.spectrogram.window")

# Of the whole CLIP: eyes, temperature, and numbers that OpenAI's archive keeps as tensors.
_NOT_TEXT = (
    *("visual.", "vision_model.", "visual_projection.", "logit_scale", "logit_bias"),
    *("input_resolution", "context_length", "vocab_size"),
    "text_model.embeddings.position_ids",
)
_MASK = "attn_mask"
"""An archive may keep the causal mask of every block as if it were a weight."""
_HEARD = {"audio_encoder.": "encoder.", "audio_transform.": "transform."}
_TOWER = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
_BLOCK = "transformer.resblocks."
_IN_BLOCK = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
MERGES_FILES = ("merges.txt", "tokenizer.json")
ASK_FOR_MERGES = "pass --vocabulary with bpe_simple_vocab_16e6.txt.gz or a merges.txt"


def clip_tensors(tensors: Mapping[str, Tensor]) -> Tensors:
    """The text tower under our names, from either spelling; the rest of CLIP is left out."""
    text = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(_NOT_TEXT) and not name.endswith(_MASK)
    }
    if CLIP_MARKS[0] not in text:
        return text
    return dict(renamed for item in text.items() for renamed in _from_openai(*item))


def wav2clip_tensors(tensors: Mapping[str, Tensor]) -> Tensors:
    """What hears, under our names; parts of the file that were for training are left out."""
    if WAV2CLIP_MARKS[0] not in tensors:
        return dict(tensors)
    return {
        ours + name.removeprefix(theirs): tensor
        for name, tensor in tensors.items()
        for theirs, ours in _HEARD.items()
        if name.startswith(theirs)
    }


def check_clip_config(config: Mapping[str, Any], path: Path) -> None:
    """Refuses a folder whose tower computes something else than OpenAI's.

    Raises:
        ModelError: another activation; LAION's towers have the names and shapes of OpenAI's.
    """
    text = config.get("text_config", config)
    activation = text.get("hidden_act", "quick_gelu") if isinstance(text, dict) else "unknown"
    if activation != "quick_gelu":
        todo = "give OpenAI's ViT-L/14, which the AAM was trained with"
        raise ModelError("CLIP is of another training", f"{path}: {activation}", todo)


def read_merges(path: Path) -> list[Pair]:
    """The pairs of a vocabulary: OpenAI's .txt.gz, a merges.txt, a tokenizer.json, or their folder.

    Raises:
        ModelError: none there, or no such file.
    """
    if path.is_dir():
        file = next((path / name for name in MERGES_FILES if (path / name).is_file()), None)
        if file is None:
            raise ModelError("vocabulary is not there", path / MERGES_FILES[0], ASK_FOR_MERGES)
        path = file
    if path.suffix == ".json":
        return _pairs_of_tokenizer(path)
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        pairs = parse_merges(content.decode())
    except (OSError, EOFError, ValueError, zlib.error) as problem:
        value = f"{path}: {problem}"
        raise ModelError("vocabulary cannot be read", value, ASK_FOR_MERGES) from problem
    return _checked(pairs, path)


def _pairs_of_tokenizer(path: Path) -> list[Pair]:
    model = read_json(path).get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    # Older files have "a b", newer ones ["a", "b"].
    halves = [m.split() if isinstance(m, str) else m for m in merges or ()]
    pairs = [tuple(h) for h in halves if isinstance(h, list) and [*map(type, h)] == [str, str]]
    if len(pairs) != len(halves):
        raise ModelError("vocabulary cannot be read", path, ASK_FOR_MERGES)
    return _checked(pairs, path)


def _checked(pairs: Iterable[Any], path: Path) -> list[Pair]:
    """The pairs, each once and each made of earlier pieces."""
    found = list(pairs)
    if not found or len(set(found)) != len(found):
        raise ModelError("vocabulary has no pairs or some twice", path, ASK_FOR_MERGES)
    return found


def merges_text(pairs: Iterable[Pair]) -> str:
    """A merges.txt of these pairs."""
    return "\n".join(["#version: 0.2", *map(" ".join, pairs), ""])


def _from_openai(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name == "text_projection":
        yield "text_projection.weight", tensor.T.contiguous()
    elif name.startswith(_BLOCK):
        number, _, rest = name.removeprefix(_BLOCK).partition(".")
        for inner, part in _in_block(rest, tensor):
            yield f"text_model.encoder.layers.{number}.{inner}", part
    else:
        yield _TOWER.get(name, name), tensor


def _in_block(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    module, _, last = name.rpartition(".")
    if module == "attn" and last in ("in_proj_weight", "in_proj_bias"):
        # Rows of query, key and value lie one below the other.
        for letter, part in zip("qkv", tensor.chunk(3), strict=False):
            yield f"self_attn.{letter}_proj.{last.removeprefix('in_proj_')}", part.contiguous()
    else:
        yield f"{_IN_BLOCK.get(module, module)}.{last}", tensor
