"""`fluoro export`: a network as a program that other software can run.

The module imports no JAX, so that --help is quick.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluoro_jax import __version__
from fluoro_jax.errors import refuse
from fluoro_jax.io.files import expand_path, readable, write_all

if TYPE_CHECKING:
    from fluoro_jax.geometry import Geometry
    from fluoro_jax.tracking.export_onnx import OnnxProgram

DOES = "write a model as StableHLO or ONNX, with its inputs, outputs and limits"
EPILOG = """DIR receives model.bin (for jax.export.deserialize; cpu, cuda and tpu),
model.mlir (StableHLO as text, batch 1, weights included) and model.json: inputs and
outputs with shapes and units, pixels in mm at the isocentre, frame spacing, threshold,
the model's limits, sha256. The program is read back and compared with the model first.
Needs the extra [export]. --onnx adds model.onnx, run in onnxruntime and compared in the
same way, and needs the extra [onnx] and jax2onnx (docs/export.md). Research software.
Not a medical device. Not for clinical use."""
FILES = {
    "model.bin": "jax.export, serialized",
    "model.mlir": "StableHLO, batch 1",
    "model.onnx": "ONNX, float32",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("model", metavar="MODEL", help="weights, as group")
    parser.add_argument("-o", "--out", metavar="DIR", help="where the files go")
    parser.add_argument("--onnx", action="store_true", help="write model.onnx too")
    parser.add_argument("--overwrite", action="store_true", help="replace files")
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def export(args: argparse.Namespace) -> None:
    """Exports, compares, and writes all files or none.

    Raises:
        UserError: no such weights, a folder that holds an export, an extra that is not
            installed, or answers that differ.
    """
    from fluoro_jax import zoo
    from fluoro_jax.tracking import export_onnx
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
    if args.onnx:
        export_onnx.import_packages()  # before the work of the first export
    name, folder = zoo.find(args.model)
    weights = zoo.load(name, folder=folder)
    program = export_network(weights.generator, weights.params, weights.cfg)
    _tell_difference("", program.max_abs_difference, MAX_DIFF)
    data = {"model.bin": program.serialized, "model.mlir": program.mlir.encode()}
    onnx = None
    if args.onnx:
        threshold = weights.cfg.evaluation.threshold
        onnx = export_onnx.to_onnx(program, threshold=threshold)
        _tell_difference("ONNX: ", onnx.max_abs_difference, export_onnx.MAX_DIFF)
        print(f"ONNX: {onnx.mask_px_changed} of {onnx.mask_px} mask pixels changed")
        data["model.onnx"] = onnx.content
    about = describe(weights, program, data) | describe_onnx(onnx)
    text = json.dumps(about, indent=1) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    files = {out / name: content for name, content in data.items()}
    write_all({**files, out / "model.json": text.encode()})
    if onnx is None:
        # Of an export that was replaced; model.json does not describe it.
        (out / "model.onnx").unlink(missing_ok=True)
    print(f"{', '.join([*data, 'model.json'])} in {readable(str(out))}")


def _tell_difference(program: str, off: float, most: float) -> None:
    print(
        f"{program}largest difference of a probability from the model's: "
        f"{off:.2g} (at most {most:g})"
    )


def describe(weights: Any, program: Any, data: dict[str, bytes]) -> dict[str, Any]:
    """Returns model.json: all that a caller of the program must know.

    Args:
        weights: of `zoo.load`.
        program: of `tracking.export.export_network`.
        data: contents of the files by name.
    """
    import jax

    from fluoro_jax.data.stack import NEIGHBOURS, OFFSETS
    from fluoro_jax.io.tracks import DISCLAIMER
    from fluoro_jax.tracking.export import MAX_DIFF
    from fluoro_jax.tracking.learned import TrainingDomain

    cfg, card = weights.cfg, weights.card
    learned = TrainingDomain.from_config(cfg)
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
        "frame": _frame(learned.view) | {"angles_deg": list(learned.angles_deg)},
        "frame_s": float(learned.frame_s),
        "stack": cfg.data.stack,
        "neighbours": list(OFFSETS.get(cfg.data.stack, NEIGHBOURS)),
        "threshold": float(cfg.evaluation.threshold),
        "answer": cfg.evaluation.answer,
        "outline": cfg.evaluation.outline,
        "max_abs_difference": program.max_abs_difference,
        "max_abs_difference_allowed": MAX_DIFF,
        "limits": card["limits"],
    }


def _frame(view: Geometry) -> dict[str, Any]:
    from fluoro_jax.geometry import iso_pixel_mm

    return {
        "unit": "line integral, -ln(reading / open beam) [1]; bone is bright",
        "axes": "row 0 superior; columns as seen from the source",
        "rows": view.rows,
        "cols": view.cols,
        "pixel_iso_mm": [float(mm) for mm in iso_pixel_mm(view)],
        "sad_mm": float(view.sad_mm),
        "sdd_mm": float(view.sdd_mm),
        "gantry_deg": float(view.gantry_deg),
    }


def describe_onnx(onnx: OnnxProgram | None) -> dict[str, Any]:
    """Returns what model.json says of model.onnx; inputs and outputs are the same."""
    from fluoro_jax.tracking.export_onnx import MAX_DIFF, OPSET

    if onnx is None:
        return {}
    return {
        "onnx": {
            "opset": OPSET,
            "made_with": onnx.made_with,
            "max_abs_difference": onnx.max_abs_difference,
            "max_abs_difference_allowed": MAX_DIFF,
            "mask_px": onnx.mask_px,
            "mask_px_changed": onnx.mask_px_changed,
        }
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
        refuse(
            f"{out} is a file", "a folder", "several files go there", "--out=exported"
        )
