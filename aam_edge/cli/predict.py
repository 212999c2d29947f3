"""`aam-edge predict`: photos, folders and videos to maps, overlays and a table of targets.

Photos are stills, each without memory of the others; a video runs as a stream, every frame of it.
What cannot be read is named and left out.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from aam_edge.errors import SourceError, UsageError
from aam_edge.prompts import FREE_VIEWING, checked_prompt

if TYPE_CHECKING:  # a stream that starts has no need of them
    from aam_edge.cli.predict_items import Item
    from aam_edge.cli.predict_writer import Outputs, Prediction, Writer
    from aam_edge.cli.progress import Progress
    from aam_edge.model_api import Model

EPILOG = """\
examples:
  aam-edge predict photo.jpg --overlays
  aam-edge predict photos/ clip.mp4 --out results --maps png --csv results/targets.csv
  aam-edge predict *.mcap --out results --ray --workers 8

Results keep the tree of what was given, below --out: photos/a/b.jpg makes photos/a/b.jpg.npy,
b.jpg.map.png and b.jpg.overlay.jpg; clip.mp4 makes clip.mp4/000000.npy and so on. With several
prompts their number, from 0, comes in: b.jpg.p1.npy. Maps are at 1/4 of the network's input and
cover the picture evenly.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    inputs = "photo, folder (its photos, at any depth), video, address, or demo"
    add("inputs", metavar="INPUT", nargs="+", help=inputs)
    add("--out", metavar="DIR", type=Path, default=Path("attention"), help="results (%(default)s)")
    prompt = f"what to look for, in English; several with several --prompt ({FREE_VIEWING})"
    add("--prompt", metavar="TEXT", action="append", dest="prompts", help=prompt)
    add("--model", metavar="NAME|FILE", default="nano", help="network (%(default)s)")
    add("--engine", metavar="NAME", default="auto", help="as for the stream (%(default)s)")
    maps = "npy: density, float32; png: 16 bit, scaled to its peak; both; none (%(default)s)"
    add("--maps", choices=("npy", "png", "both", "none"), default="npy", help=maps)
    add("--overlays", action="store_true", help="pictures with map and targets, JPEG")
    add("--csv", metavar="FILE", type=Path, help="table of targets, a row each")
    add("--json", action="store_true", help="print targets as JSON, an object a map")
    add("--ray", action="store_true", help="share the work out, needs aam-edge[ray]")
    workers = "with --ray: networks at work (one a core, or a GPU)"
    add("--workers", metavar="N", type=int, help=workers)
    add("--ray-address", metavar="ADDRESS", help="with --ray: of a running Ray (a local one)")


def run(options: argparse.Namespace) -> int:
    """Predicts all inputs; SourceError if none could be read."""
    from aam_edge.cli.predict_items import list_items
    from aam_edge.cli.predict_writer import Outputs, Writer
    from aam_edge.cli.progress import Progress
    from aam_edge.model_api import load

    prompts = [checked_prompt(prompt) for prompt in options.prompts or [FREE_VIEWING]]
    outputs = Outputs(
        out=options.out,
        maps=options.maps,
        overlays=options.overlays,
        csv=options.csv,
        json=options.json,
    )
    _check(options, outputs)
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        items = list_items(options.inputs, options.out)
        if options.ray:
            return _run_with_ray(options, items, prompts, outputs)
        with (
            closing(load(options.model, engine=options.engine)) as model,
            Writer(outputs) as writer,
            Progress(len(items), is_quiet=options.quiet) as progress,
        ):
            return predict_all(model, items, prompts, writer, progress)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run_with_ray(
    options: argparse.Namespace, items: Sequence[Item], prompts: Sequence[str], outputs: Outputs
) -> int:
    from aam_edge.cli.predict_ray import Task, predict_with_ray
    from aam_edge.cli.progress import Progress

    task = Task(
        model=options.model,
        engine=options.engine,
        prompts=tuple(prompts),
        outputs=outputs,
        workers=options.workers,
        address=options.ray_address,
    )
    with Progress(len(items), is_quiet=options.quiet) as progress:
        return predict_with_ray(items, task, progress)


def _check(options: argparse.Namespace, outputs: Outputs) -> None:
    if options.workers is not None and options.workers < 1:
        raise UsageError("nobody would work", f"--workers {options.workers}", "give 1 or more")
    if not options.ray and (options.workers or options.ray_address):
        given = "--workers" if options.workers else "--ray-address"
        raise UsageError("option is for Ray alone", given, "add --ray")
    if outputs.maps == "none" and not (outputs.overlays or outputs.csv or outputs.json):
        raise UsageError("nothing would be made", "--maps none", "add --overlays, --csv or --json")


def _stop(number: int, frame: FrameType | None) -> None:
    # Asked to stop is as good as Ctrl-C: what is written stays, the exit code is 0.
    raise KeyboardInterrupt


def predict_all(
    model: Model, items: Sequence[Item], prompts: Sequence[str], writer: Writer, progress: Progress
) -> int:
    """Predicts item after item and says in the end how it went; returns the exit code."""
    skipped = 0
    try:
        for item in items:
            skipped += not _predict_item(model, item, prompts, writer, progress)
            progress.add_file()
    except KeyboardInterrupt:
        progress.say(f"stopped, maps: {progress.maps}")
        return 0
    if not progress.maps:
        raise SourceError("nothing could be read", f"{skipped} skipped", "see the lines above")
    if skipped or not progress.is_quiet:
        counts = f"maps: {progress.maps}, files: {len(items) - skipped}, skipped: {skipped}"
        progress.say(f"{counts} ({progress.rate_hz:.1f} maps/s)")
    return 0


def _predict_item(
    model: Model, item: Item, prompts: Sequence[str], writer: Writer, progress: Progress
) -> bool:
    """Whether all of it could be read; if not, says why."""
    try:
        for prediction in predictions(model, item, prompts):
            writer.write(prediction)
            progress.add_map()
    except SourceError as problem:
        progress.say(f"aam-edge: skipped: {problem}")
        return False
    return True


def predictions(model: Model, item: Item, prompts: Sequence[str]) -> Iterator[Prediction]:
    """All maps of a photo or video; raises SourceError where it cannot be read (further)."""
    if item.problem is not None:
        raise item.problem
    return _of_photo(model, item, prompts) if item.is_photo else _of_video(model, item, prompts)


def _of_photo(model: Model, item: Item, prompts: Sequence[str]) -> Iterator[Prediction]:
    from aam_edge.cli.predict_writer import Prediction
    from aam_edge.sources.picture import read_picture

    image = read_picture(Path(item.spec))
    for number, prompt in enumerate(prompts):
        stem = item.name.with_name(item.name.name + _mark(number, prompts))
        yield Prediction(item.spec, stem, 0, 0.0, image, model.predict(image, prompt))


def _of_video(model: Model, item: Item, prompts: Sequence[str]) -> Iterator[Prediction]:
    from aam_edge.cli.predict_writer import Prediction
    from aam_edge.sources.catalog import open_source
    from aam_edge.sources.media import shown

    file, stream, start_ns = shown(item.spec), model.stream(prompts), None
    with open_source(item.spec, pace="every") as frames:
        for count, frame in enumerate(frames):
            start_ns = frame.capture_ns if start_ns is None else start_ns
            time_s = (frame.capture_ns - start_ns) * 1e-9
            for number, attention in enumerate(stream.step(frame)):
                stem = item.name / f"{count:06d}{_mark(number, prompts)}"
                yield Prediction(file, stem, count, time_s, frame.image, attention)
    if start_ns is None:
        raise SourceError("video has no frames", file, "give another file")


def _mark(number: int, prompts: Sequence[str]) -> str:
    """What tells the results of several prompts apart."""
    return f".p{number}" if len(prompts) > 1 else ""
