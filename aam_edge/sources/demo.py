"""The packaged clip: what runs on a machine without a camera."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aam_edge.config import SourceConfig
from aam_edge.sources.media import MediaSource

DEMO_CLIP = Path(__file__).parent / "data" / "demo.mp4"
"""20.9 s, 640x480, 30 frames/s, with sound; made by tools/make_demo_clip, authors in NOTICE."""


def demo_source(config: SourceConfig, camera: str = "demo", *, endless: bool = True) -> MediaSource:
    """The clip, again and again unless told otherwise."""
    return MediaSource(str(DEMO_CLIP), replace(config, loop=config.loop or endless), camera)
