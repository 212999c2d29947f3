"""Sound into sight: per frame, one gain and shift a channel, and one gate for all.

Called cross-attention by its authors. Each frame has a single sound vector, so the softmax runs
over one element and every place gets the same; queries and keys have no effect.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 8
DROPOUT = 0.1


class SingleKeyAttention(nn.Module):
    """Attention to one key a frame: what is left of it is the value."""

    def __init__(self, width: int):
        super().__init__()
        self.value = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, key: Tensor, places: int) -> Tensor:
        """(T, 1 or places, width) for keys (T, 1, width)."""
        value = self.value(key)
        if self.training:  # a dropped place and head sees nothing
            kept = F.dropout(value.new_ones(len(key), places, HEADS, 1), DROPOUT)
            value = (value.unflatten(2, (HEADS, -1)) * kept).flatten(2)
        attended: Tensor = self.out_proj(value)
        return attended


class SoundFusion(nn.Module):
    """Changes a feature map by the sound of its frame."""

    def __init__(self, visual: int = 768, audio: int = 512, hidden: int = 256):
        super().__init__()
        self.visual_proj = nn.Linear(visual, hidden)
        self.audio_proj = nn.Linear(audio, hidden)
        self.cross_attn = SingleKeyAttention(hidden)
        film, relevance = nn.Linear(hidden, 2 * hidden), nn.Linear(hidden, 1)
        self.film_generator = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), film)
        self.relevance_selector = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), relevance)
        self.out_proj = nn.Linear(hidden, visual)
        self.norm = nn.LayerNorm(visual)
        nn.init.zeros_(film.weight)
        nn.init.zeros_(film.bias)
        nn.init.constant_(relevance.bias, -1.0)

    def forward(self, x: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps (T, C, h, w) and sounds (T, A) to maps of that shape and gates (T, 1, 1).

        A gate of 0 is not the same as no sound: the norm at the end applies all the same.
        """
        seen = x.flatten(2).transpose(1, 2)  # (T, h w, C)
        q, k = self.visual_proj(seen), self.audio_proj(sound)[:, None]
        gate = self.relevance_selector(torch.cat([q.mean(1, keepdim=True), k], dim=-1)).sigmoid()
        gain, shift = self.film_generator(self.cross_attn(k, q.shape[1])).chunk(2, dim=-1)
        filmed = q * (1 + gate * gain.tanh()) + gate * shift
        fused = self.norm(self.out_proj(filmed) + seen)
        return fused.transpose(1, 2).unflatten(2, x.shape[2:]), gate
