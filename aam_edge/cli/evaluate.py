"""`aam-edge evaluate`: how well a model fits where people looked, next to rivals and to people."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam_edge.cli import evaluate_models
from aam_edge.cli.progress import Progress
from aam_edge.errors import UsageError

if TYPE_CHECKING:  # the base install lacks what they need
    from aam_edge.training.measure.predictor import Predictor
    from aam_edge.training.measure.run import SetScores
    from aam_edge.training.measure.table import Line

logger = logging.getLogger(__name__)

EPILOG = """\
examples:
  aam-edge evaluate native:gaze/osie native:gaze/scene500
  aam-edge evaluate OSIE DHF1K --root corpus --maps deepgaze=maps/ --csv photos.csv
  aam-edge evaluate coco:coco2017 --model my.safetensors --json

A SET is one that `aam-edge train pack` reads: a data set of the AAM corpus by name, native:DIR,
coco:DIR, boxes:DIR. Sets with gaze get CC, KLD, SIM, NSS, AUC-J, sAUC and IG, photos with boxes
how well things are found by name; below each figure stands its 95 % interval, by bootstrap over
photos. A folder of maps holds .npy files or grey pictures named like the photos. All rows are
scored on the same photos: one that somebody has no map for is named and left out.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("sets", metavar="SET", nargs="+", help="data set, as below")
    add("--root", metavar="DIR", type=Path, default=Path(), help="of the AAM corpus (here)")
    part = "which part of the sets (%(default)s)"
    add("--split", choices=("train", "val"), default="val", help=part)
    model = "network; several with several --model; none (nano)"
    add("--model", metavar="NAME|FILE", action="append", dest="models", help=model)
    weights = "checkpoint of released-s, released-b or released-l"
    add("--weights", metavar="FILE", type=Path, help=weights)
    add("--engine", metavar="NAME", default="auto", help="as for the stream (%(default)s)")
    add("--precision", metavar="NAME", default="auto", help="as model.precision (%(default)s)")
    maps = "maps of another model on the same photos; several with several --maps"
    add("--maps", metavar="NAME=DIR", action="append", default=[], help=maps)
    add("--no-rivals", action="store_true", help="leave OpenCV's own saliency out")
    frames = "frames of 1/30 s that a photo is shown (%(default)s)"
    add("--frames", metavar="N", type=int, default=1, help=frames)
    add("--most", metavar="N", type=int, help="photos or clips of a set at most, evenly spread")
    draws = "draws of the bootstrap (%(default)s)"
    add("--resamples", metavar="N", type=int, default=2000, help=draws)
    add("--csv", metavar="FILE", type=Path, help="table with a line for each photo")
    add("--card", metavar="FILE", type=Path, help="model card to put the table into")
    add("--markdown", action="store_true", help="print the table as Markdown")
    add("--json", action="store_true", help="print everything as JSON")


def run(options: argparse.Namespace) -> int:
    """Measures set after set and prints the table; says in the end what was left out."""
    _check(options)
    try:
        return _run(options)
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("aam_edge"):
            raise
        todo = "pip install aam-edge[train]"
        raise UsageError("evaluate needs a library", problem.name, todo) from problem


def _check(options: argparse.Namespace) -> None:
    for name in ("frames", "most", "resamples"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError("nothing would be measured", f"--{name} {value}", "give 1 or more")


def _run(options: argparse.Namespace) -> int:
    measure = importlib.import_module("aam_edge.training.measure.run")
    search = importlib.import_module("aam_edge.training.measure.search")
    table = importlib.import_module("aam_edge.training.measure.table")
    skipped = importlib.import_module("aam_edge.training.corpus.skipped").Skipped()
    predictors = evaluate_models.open_predictors(options)
    measured: list[SetScores] = []
    lines: list[Line] = []
    found: list[Line] = []
    with Progress(len(options.sets), is_quiet=options.quiet) as progress:
        for spec in options.sets:
            given = (spec, options.root, options.split, predictors, skipped, options.most)
            scores = measure.measure_set(*given, lambda item: progress.add_map())
            if scores is not None:
                measured.append(scores)
                lines += table.gaze_lines(scores, options.resamples)
                lines += table.prompt_lines(scores, options.resamples)
            searched = search.measure_search(*given, lambda item: progress.add_map())
            found += [] if searched is None else table.search_lines(searched)
            if scores is None and searched is None:
                raise UsageError("set has neither gaze nor boxes", spec, "give another one")
            progress.add_file()
    if options.csv is not None:
        table.write_photos(options.csv, measured)
    blocks = [(lines, table.METRICS), (found, table.SEARCH_COLUMNS)]
    blocks = [(rows, columns) for rows, columns in blocks if rows]
    if options.card is not None:
        card = importlib.import_module("aam_edge.training.card")
        text = "\n\n".join(table.as_markdown(*block) for block in blocks)
        card.put_figures(options.card, text)
    if options.json:
        print(json.dumps(_record(options, predictors, table, lines, found, skipped)))
    else:
        how = table.as_markdown if options.markdown else table.as_text
        print("\n\n".join(how(*block) for block in blocks))
    if skipped.count:
        print(f"aam-edge: {skipped}", file=sys.stderr)
    return 0


def _record(
    options: argparse.Namespace, predictors: list[Predictor], table: Any,
    lines: list[Line], found: list[Line], skipped: Any,
) -> dict[str, Any]:  # fmt: skip
    return {
        "split": options.split,
        "models": {p.name: getattr(p, "facts", {}) for p in predictors},
        "gaze": table.as_record(lines),
        "search": table.as_record(found),
        "skipped": dict(skipped.reasons),
    }
