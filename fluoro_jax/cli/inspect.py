"""`fluoro inspect`: what a file is, its geometry with sources, what it lacks.

The module imports no JAX, so that --help is quick; `inspect` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fluoro_jax.cli import stated
from fluoro_jax.errors import refuse
from fluoro_jax.io.files import expand_path, readable

DOES = "say what a file is: kind, geometry with sources, what is missing"
EPILOG = """PATH is any clip that `fluoro track` takes, or another DICOM file or folder.
Nothing that names a patient is printed. With --out an orientation picture of the first
frame is written, with patient axes and a scale bar; look at it before any number is
used. Research software. Not a medical device. Not for clinical use."""
PICTURE, RECORD = "orientation.png", "inspect.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("path", metavar="PATH", help="file or folder to look at")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "-o", "--out", metavar="DIR", help=f"write {PICTURE} and {RECORD} there"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace them")
    parser.add_argument("--debug", action="store_true", help="show the traceback")
    stated.add_arguments(parser)


def inspect(args: argparse.Namespace) -> None:
    """Describes a path on stdout, and writes picture and record if asked.

    Raises:
        UserError: a path that cannot be described, or results that would be replaced.
    """
    given = stated.stated_from(args)
    out = None if args.out is None else expand_path(args.out)
    if out is not None:
        _check_out(out, overwrite=args.overwrite)
    from fluoro_jax.io.describe import describe

    found = describe(args.path, given)
    facts = readable(found.facts)  # paths stand all over them
    text = json.dumps(facts, indent=1, allow_nan=False, ensure_ascii=False)
    if out is not None:
        from fluoro_jax.io.files import write_text
        from fluoro_jax.report.orientation import draw_orientation

        out.mkdir(parents=True, exist_ok=True)
        if found.frame is not None:
            draw_orientation(
                out / PICTURE, found.frame, found.domain, found.view, facts
            )
        write_text(out / RECORD, text + "\n")
    print(text if args.json else "\n".join(_lines(facts)))


def _check_out(folder: Path, *, overwrite: bool) -> None:
    there = [name for name in (PICTURE, RECORD) if (folder / name).exists()]
    if (there and not overwrite) or (folder.exists() and not folder.is_dir()):
        refuse(
            f"{folder} is a file" if not there else f"{folder} holds {there[0]}",
            "--overwrite, or another folder",
            "results are not replaced unasked",
            f"add --overwrite, or --out {folder}-2",
        )


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yields the description for a terminal."""
    yield f"{facts['path']}: {facts['what']}"
    if "frames" in facts:
        yield f"  {facts['frames']} frames of {facts['rows']} x {facts['cols']} pixels"
        domain = facts["domain"]
        yield f"  {'domain':<11} {domain['value']}  [{domain['source']}]"
    if "time" in facts:
        time = facts["time"]
        span = f"{time['seconds']:.3f} s, {1e3 * time['frame_s']:.1f} ms a frame"
        yield f"  {'time':<11} {span}  [{time['source']}]"
    for name, told in facts.get("geometry", {}).items():
        value = told["value"]
        pair = value if isinstance(value, list) else [value]
        words = " x ".join(f"{one:.6g}" for one in pair)
        yield f"  {name:<11} {words}  [{told['source']}]"
    if "pixel_iso_mm" in facts:
        down, right = facts["pixel_iso_mm"]
        yield f"  {'at isocentre':<11} {down:.4g} x {right:.4g} mm a pixel"
        yield f"  {'millimetres':<11} {facts['millimetres']}"
    if "edges" in facts:
        edges = ", ".join(f"{side} {end}" for side, end in facts["edges"].items())
        vertical, horizontal = facts["axes"].values()
        yield f"  {'axes':<11} vertical {vertical}, horizontal {horizontal}"
        yield f"  {'edges':<11} {edges}"
    for name, value in facts.get("about", {}).items():
        yield f"  {name.replace('_', ' '):<11} {value}"
    for note in facts.get("assumptions", []):
        yield f"WARNING {note}."
    for one in facts.get("missing", []):
        yield f"MISSING {one['found']}"
        yield f"  needed  {one['needed']}"
        yield f"  fix     {one['fix']}"
    left = {"files"} & set(facts)
    yield from (f"  {name:<11} {facts[name]}" for name in left)
