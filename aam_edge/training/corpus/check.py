"""Looks into every file of an item before it is packed, so that what is broken is left out once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from aam_edge.errors import DataError
from aam_edge.training.corpus.item import Item, Moment
from aam_edge.training.corpus.skipped import Skipped
from aam_edge.training.corpus.sound import read_sound
from aam_edge.training.corpus.stored import read_grey, read_image

MOST_STRETCH = 1.2
"""Between the aspects of picture and map; sets that were shrunk are off by rounding alone."""


def checked(items: Iterable[Item], skipped: Skipped) -> Iterator[Item]:
    """The items with what can be read of them, fixations as points; broken parts are noted."""
    for item in items:
        heard = checked_sound(item, skipped)
        moments = []
        for index in range(len(item)):
            with skipped.counting():
                moments.append(_checked_moment(heard, index, skipped))
        if moments:
            yield heard.with_moments(moments)


def checked_sound(item: Item, skipped: Skipped) -> Item:
    """The item; without its sound, and that noted, where it cannot be read."""
    if item.sound is None:
        return item
    try:
        read_sound(item.sound)
    except DataError as problem:
        skipped.add(problem.value, f"{problem.what}, the clip is kept silent")
        return replace(item, sound=None)
    return item


def _checked_moment(item: Item, index: int, skipped: Skipped) -> Moment:
    """The frame with its points read; DataError where a file is broken or does not belong."""
    moment = item.moments[index]
    height, width = read_image(moment.stimulus).shape[:2]
    is_seen = bool(item.things)
    if moment.saliency_map is not None:
        drawn = read_grey(moment.saliency_map)
        check_aspect(drawn.shape, (height, width), f"{moment.saliency_map}")
        is_seen |= bool(drawn.any())
    points, observers = item.points(index), moment.observers
    inside = ((points >= 0) & (points <= 1)).all(axis=1)
    if not inside.all():
        outside = int((~inside).sum())
        skipped.add(f"{item}, frame {moment.number}", "fixation is outside", outside)
        points = points[inside]
        observers = None if observers is None else observers[inside]
    if item.kind == "image" and not (is_seen or len(points)):
        raise DataError("nobody looked at the photo", item, "take it out of the list")
    fixations = None if moment.fixations is None else points
    return replace(moment, fixations=fixations, observers=observers)


def check_aspect(of_map: tuple[int, ...], of_picture: tuple[int, int], name: str) -> None:
    """Sizes may differ, shapes not; some sets are stored squeezed into squares."""
    aspects = [shape[1] / shape[0] for shape in (of_map, of_picture)]
    if 1.0 not in aspects and np.abs(np.log(aspects[0] / aspects[1])) > np.log(MOST_STRETCH):
        sizes = " and ".join(f"{shape[1]}x{shape[0]}" for shape in (of_map, of_picture))
        raise DataError("map does not fit its picture", f"{name}: {sizes}", "put the right one")
