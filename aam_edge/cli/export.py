"""`aam-edge export`: a trained checkpoint to files that every engine reads."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
from pathlib import Path

from aam_edge.errors import UsageError

EPILOG = """\
examples:
  aam-edge export runs/mine/last.pt --name mine --out weights
  aam-edge export runs/mine/last.pt --name mine --out weights --int8 photos/
  aam-edge --model weights/mine.safetensors

It writes NAME.safetensors (weights, half precision), NAME.onnx (the graph, which reads them),
NAME.json (manifest with their hashes) and a model card NAME.md, if there is none. The graph is run
beside the network in torch before anything is replaced. With --int8 there is a second graph,
NAME.int8.onnx, for model.precision=int8; some 150 photos give the ranges of what flows in it. For
the card's figures:
aam-edge evaluate SET --model NAME.safetensors --card NAME.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", type=Path, help="last.pt of a fit")
    add("--name", metavar="NAME", help="of the network (the checkpoint's folder)")
    add("--out", metavar="DIR", type=Path, default=Path(), help="folder of the files (here)")
    add("--hearing", metavar="FILE", type=Path, help="weights of a fit to sound")
    facts = "JSON object for the manifest: version, taught, licence"
    add("--facts", metavar="FILE", type=Path, help=facts)
    photos = "photos, of any kind, to make a graph for model.precision=int8 with"
    add("--int8", metavar="DIR", type=Path, help=photos)
    add("--json", action="store_true", help="print what was written as JSON")


def run(options: argparse.Namespace) -> int:
    """Exports and says what was written."""
    try:
        package = importlib.import_module("aam_edge.training.package")
        export = importlib.import_module("aam_edge.training.export")
        quantise = importlib.import_module("aam_edge.training.quantise")
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("aam_edge"):
            raise
        todo = "pip install aam-edge[train]"
        raise UsageError("export needs a library", problem.name, todo) from problem
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # of libraries that it can do without
    name = options.name or options.checkpoint.absolute().parent.name
    facts = {} if options.facts is None else export.read_facts(options.facts)
    photos = None if options.int8 is None else quantise.photos_in([options.int8])
    written = package.export_checkpoint(
        options.checkpoint, name, options.out, hearing=options.hearing, facts=facts
    )
    rounded = None if photos is None else quantise.add_int8(written.package, photos)
    record = {
        "name": name,
        "weights": written.package.weights_id,
        "model": str(written.package.tensors),
        "card": str(written.card),
        "parameters": written.parameters,
        "difference": written.difference,
        "int8_correlation": None if rounded is None else rounded.correlation,
    }
    if options.json:
        print(json.dumps(record))
    elif not options.quiet:
        print(f"{name} {record['weights']}: {record['model']}, {record['parameters']:,} weights")
        print(f"graph and torch differ by {written.difference:.0e} of the peak at most")
        if rounded is not None:
            print(quantise.tell(rounded))
        kept = "written" if written.is_new_card else "was there and is left as it is"
        print(f"model card {written.card}: {kept}")
    return 0
