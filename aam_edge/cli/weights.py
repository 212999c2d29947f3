"""`aam-edge weights`: networks that are here, that can be brought, and what is in them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from aam_edge.cli.parser import add_step, show_steps
from aam_edge.engine.weights import (
    KINDS,
    Row,
    Shown,
    import_weights,
    list_weights,
    show_weights,
    user_folder,
)
from aam_edge.errors import ModelError

SIZES = ("s", "b", "l")
EXAMPLES = """\
examples:
  aam-edge weights list
  aam-edge weights import best_model_cc_DHF1K.pth --size l
  aam-edge weights show nano
"""
LIST_EPILOG = """\
example:
  aam-edge weights list

Below what is here stands what could be: where you get each file, under which terms, and how it is
imported. Nothing is fetched by itself.
"""
IMPORT_EPILOG = """\
examples:
  aam-edge weights import best_model_cc_DHF1K.pth --size l
  aam-edge weights import dinov3_vits16_pretrain_lvd1689m.pth
  aam-edge weights import ViT-L-14.pt --vocabulary bpe_simple_vocab_16e6.txt.gz
  aam-edge weights import clip-vit-large-patch14/
  aam-edge weights import Wav2CLIP.pt

A FILE is what torch.save or safetensors wrote, a TorchScript archive, or a folder of the Hugging
Face hub. No code in it is run. The result goes to $XDG_DATA_HOME/aam-edge/weights, else to
~/.local/share/aam-edge/weights, and is called released-l, dinov3-s, clip-text or wav2clip.
"""
SHOW_EPILOG = """\
examples:
  aam-edge weights show nano
  aam-edge weights show released-l
  aam-edge weights show best_model.pth --size l      (what keeps a file from being imported)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the sub-commands."""
    show_steps(parser, EXAMPLES)
    steps = parser.add_subparsers(title="steps", metavar="STEP", dest="step", required=True)

    def step(name: str, words: str, epilog: str) -> argparse.ArgumentParser:
        child = add_step(steps, name, words, epilog)
        child.add_argument("--json", action="store_true", help="print JSON")
        return child

    step("list", "weights that are here, and where to get others", LIST_EPILOG)
    child = step("import", "bring weights from a file of yours", IMPORT_EPILOG)
    child.add_argument("file", metavar="FILE", type=Path, help="file or folder")
    _add_kind(child)
    child.add_argument("--name", metavar="NAME", help="to be given to --model (released-l, ...)")
    words = "of CLIP: bpe_simple_vocab_16e6.txt.gz, a merges.txt or a tokenizer.json"
    child.add_argument("--vocabulary", metavar="FILE", type=Path, help=words)
    child = step("show", "tensors, hash and terms of weights, and what does not fit", SHOW_EPILOG)
    child.add_argument("what", metavar="NAME|FILE", help="of the list, or any file")
    _add_kind(child)


def _add_kind(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, help="of the network (told by the tensors)")
    parser.add_argument("--kind", choices=KINDS, help="what it is (told by the tensors)")


def run(options: argparse.Namespace) -> int:
    """Runs the step that is asked for."""
    return {"list": run_list, "import": run_import, "show": run_show}[options.step](options)


def run_list(options: argparse.Namespace) -> int:
    """Prints all that is here and all that could be."""
    rows = list(list_weights())
    if options.json:
        print(json.dumps({"folder": str(user_folder()), "weights": [r.as_map() for r in rows]}))
        return 0
    here = [row for row in rows if row.state != "missing"]
    wide = max(len(row.name) for row in rows)
    for row in here:
        print(_line(row, wide))
    missing = [row for row in rows if row.state == "missing"]
    if missing:
        print(f"\nNot here; what you import goes to {user_folder()}")
    for row in missing:
        print(f"\n{row.name:<{wide}}  {row.words}")
        for word, value in (("from", row.where), ("terms", row.licence), ("then", row.command)):
            print(f"{'':<{wide}}  {word:<5}  {value}")
    return 0


def _line(row: Row, wide: int) -> str:
    if row.state == "damaged":
        return f"{row.name:<{wide}}  damaged   {row.words}"
    size_mb = f"{row.size_bytes / 1e6:.1f} MB"
    return f"{row.name:<{wide}}  {row.state:<8}  {size_mb:>9}  {row.sha256[:12]}  {row.licence}"


def run_import(options: argparse.Namespace) -> int:
    """Imports a file and says under which name it is found."""
    stored = import_weights(
        options.file,
        kind=options.kind,
        size=options.size,
        name=options.name,
        vocabulary=options.vocabulary,
    )
    if options.json:
        print(json.dumps({"path": str(stored.path), **stored.manifest}))
    elif not options.quiet:
        print(f"{stored.name}  {stored.weights_id}  {stored.path}")
        print(f"terms: {stored.manifest['licence']}")
        if stored.kind == "clip" and not stored.merges.is_file():
            print("prompts need CLIP's vocabulary too: import again with --vocabulary")
    return 0


def run_show(options: argparse.Namespace) -> int:
    """Prints what is in weights; fails where they do not fit."""
    shown = show_weights(options.what, kind=options.kind, size=options.size)
    if options.json:
        print(json.dumps(shown.as_map()))
    else:
        print("\n".join(_report(shown)))
    if shown.misfits:
        value = f"{options.what}: {len(shown.misfits)} faults"
        raise ModelError("weights cannot be imported", value, "see them above")
    return 0


def _report(shown: Shown) -> list[str]:
    wide = max((len(name) for name in shown.tensors), default=0)
    tensors = [f"{n:<{wide}}  {d:<8} {s}" for n, (d, s) in shown.tensors.items()]
    note = [f"{key}: {value}" for key, value in shown.note.items() if key != "format"]
    numbers = f"{len(shown.tensors)} tensors, {shown.parameters:,} numbers"
    misfits = ["", "what does not fit:", *shown.misfits] if shown.misfits else []
    card = ["", shown.card.rstrip()] if shown.card else []
    return [str(shown.path), f"sha256: {shown.sha256}", *note, numbers, *tensors, *card, *misfits]
