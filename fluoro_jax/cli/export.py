"""`fluoro export`: a network as a program that other software can run.

The module imports no JAX, so that --help is quick.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from fluoro_jax import __version__
from fluoro_jax.errors import refuse
from fluoro_jax.io.files import expand_path, write_all

DOES = "write a model as StableHLO, with its inputs, outputs and limits"
EPILOG = """DIR receives model.bin (for jax.export.deserialize; cpu, cuda and tpu),
model.mlir (StableHLO as text, batch 1, weights included) and model.json: inputs and
outputs with shapes and units, pixels in mm at the isocentre, frame spacing, threshold,
the model's limits, sha256. The program is read back and compared with the model first.
Needs the extra [export]. Research software. Not a medical device. Not for clinical
use."""
FILES = {"model.bin": "jax.export, serialized", "model.mlir": "StableHLO, batch 1"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("model", metavar="MODEL", help="weights, as group")
    parser.add_argument("-o", "--out", metavar="DIR", help="where the files go")
    parser.add_argument("--overwrite", action="store_true", help="replace files")
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def export(args: argparse.Namespace) -> None:
    """Exports, compares, and writes all files or none.

    Raises:
        UserError: no such weights, a folder that holds an export, an extra that is not
            installed, or answers that differ.
    """
    from fluoro_jax import zoo
    from fluoro_jax.tracking.export import MAX_DIFF, export_network

    if not args.out:
        refuse(
            "no --out",
            "fluoro export MODEL --out=DIR",
            "a program is files",
            "add --out=exported",
        )
    out = expand_path(args.out)
    _check_out(out, overwrite=args.overwrite)
    name, folder = zoo.find(args.model)
    weights = zoo.load(name, folder=folder)
    program = export_network(weights.generator, weights.params, weights.cfg)
    print(
        f"largest difference of a probability from the model's: "
        f"{program.max_abs_difference:.2g} (at most {MAX_DIFF:g})"
    )
    data = {"model.bin": program.serialized, "model.mlir": program.mlir.encode()}
    text = json.dumps(describe(weights, program, data), indent=1) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    files = {out / name: content for name, content in data.items()}
    write_all({**files, out / "model.json": text.encode()})
    print(f"{', '.join([*data, 'model.json'])} in {out}")


def describe(weights: Any, program: Any, data: dict[str, bytes]) -> dict[str, Any]:
    """Returns model.json: all that a caller of the program must know.

    Args:
        weights: of `zoo.load`.
        program: of `tracking.export.export_network`.
        data: contents of the files by name.
    """
    import jax

    from fluoro_jax.data.stack import NEIGHBOURS, OFFSETS
    from fluoro_jax.geometry import iso_pixel_mm
    from fluoro_jax.io.tracks import DISCLAIMER
    from fluoro_jax.tracking.export import MAX_DIFF
    from fluoro_jax.tracking.learned import TrainingDomain

    cfg, card = weights.cfg, weights.card
    learned = TrainingDomain.from_config(cfg)
    numbers = lambda values: [float(value) for value in values]
    return {
        "statement": DISCLAIMER,
        "name": card["name"],
        "kind": program.kind,
        "made_with": {"fluoro_jax": __version__, "jax": jax.__version__},
        "files": {
            name: {"what": FILES[name], "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in data.items()
        },
        "weights_sha256": card["weights"]["sha256"],
        "card_sha256": card["card_sha256"],
        "inputs": [dataclasses.asdict(value) for value in program.inputs],
        "outputs": [dataclasses.asdict(value) for value in program.outputs],
        "carried": program.carried,
        "start": "every input that is carried is zeros before the first frame",
        "frame": {
            "unit": "line integral, -ln(reading / open beam) [1]; bone is bright",
            "axes": "row 0 superior; columns as seen from the source",
            "rows": learned.view.rows,
            "cols": learned.view.cols,
            "pixel_iso_mm": numbers(iso_pixel_mm(learned.view)),
            "sad_mm": float(learned.view.sad_mm),
            "sdd_mm": float(learned.view.sdd_mm),
            "gantry_deg": float(learned.view.gantry_deg),
            "angles_deg": list(learned.angles_deg),
        },
        "frame_s": float(learned.frame_s),
        "stack": cfg.data.stack,
        "neighbours": list(OFFSETS.get(cfg.data.stack, NEIGHBOURS)),
        "threshold": float(cfg.evaluation.threshold),
        "answer": cfg.evaluation.answer,
        "max_abs_difference": program.max_abs_difference,
        "max_abs_difference_allowed": MAX_DIFF,
        "limits": card["limits"],
    }


def _check_out(out: Path, *, overwrite: bool) -> None:
    there = [out / name for name in (*FILES, "model.json") if (out / name).exists()]
    if there and not overwrite:
        refuse(
            f"{there[0]} is there already",
            "a folder without an export, or --overwrite",
            "an export is not replaced unasked",
            "add --overwrite, or choose another --out",
        )
    if out.exists() and not out.is_dir():
        refuse(f"{out} is a file", "a folder", "three files go there", "--out=exported")
