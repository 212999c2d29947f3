"""The text tower of CLIP (A. Radford et al., ICML 2021), as the AAM reads its prompts.

A transformer with a causal mask and pre-norm blocks. The vector of a text is what stands at its end
token, after the last norm, times a projection; it is not brought to length 1. What follows the end
token cannot reach it, so a text may be given without padding.

Tensors have the names of the `transformers` library's CLIPTextModelWithProjection.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ClipTextSize(NamedTuple):
    """Widths of a tower; by default those of ViT-L/14."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    vocabulary: int = 49_408
    context: int = 77
    projection: int = 768


class Embeddings(nn.Module):
    """A vector for each token and one for its place."""

    def __init__(self, size: ClipTextSize):
        super().__init__()
        self.token_embedding = nn.Embedding(size.vocabulary, size.width)
        self.position_embedding = nn.Embedding(size.context, size.width)

    def forward(self, ids: Tensor) -> Tensor:
        places: Tensor = self.position_embedding.weight[: ids.shape[1]]
        x: Tensor = self.token_embedding(ids) + places  # (B, L, width)
        return x


class Attention(nn.Module):
    """Each token sees itself and those before it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, L, width / heads)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))  # (B, L, width)
        return out


class Mlp(nn.Module):
    """Two layers with CLIP's quick form of GELU, x sigmoid(1.702 x)."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        out: Tensor = self.fc2(x * torch.sigmoid(1.702 * x))
        return out


class Layer(nn.Module):
    """Attention and MLP, each behind a norm and beside a short cut."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = Attention(width, heads)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, size: ClipTextSize):
        super().__init__()
        self.layers = nn.ModuleList(Layer(size.width, size.heads) for _ in range(size.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class TextModel(nn.Module):
    """Tokens to one vector a token."""

    def __init__(self, size: ClipTextSize):
        super().__init__()
        self.embeddings = Embeddings(size)
        self.encoder = Encoder(size)
        self.final_layer_norm = nn.LayerNorm(size.width)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.final_layer_norm(self.encoder(self.embeddings(ids)))
        return out


class ClipText(nn.Module):
    """Tokens to the vector that the AAM is given."""

    def __init__(self, size: ClipTextSize | None = None):
        super().__init__()
        self.size = size or ClipTextSize()
        self.text_model = TextModel(self.size)
        self.text_projection = nn.Linear(self.size.width, self.size.projection, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of some texts.

        Args:
            ids: (B, L) integers, L <= context; start, text, end, then any padding below the end.

        Returns:
            (B, projection), of any length.
        """
        states = self.text_model(ids)  # (B, L, width)
        ends = ids.argmax(dim=1)  # the end token has the highest number
        found: Tensor = self.text_projection(states[torch.arange(len(ids)), ends])
        return found
