"""An exported network as ONNX: converted by jax2onnx, compared in onnxruntime.

It is made of the same function as the StableHLO, with the same inputs and outputs, is
run on the frames of that comparison, and must give the network's answers.

Source:
    ONNX, https://onnx.ai; https://github.com/enpasos/jax2onnx.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.tracking.export import (
    Program,
    Value,
    largest_difference,
    stream_answers,
)

# Of ONNX 1.16. jax2onnx writes operators of newer ones into 17: ReduceMean with axes as
# an input.
OPSET = 21
# Ours, of a probability: four times the largest of 36 comparisons on published weights
# (docs/export.md). onnxruntime adds the same float32 numbers in another order than XLA,
# which compiles both sides of the comparison of StableHLO.
MAX_DIFF = 2e-4
CONVERTER = "jax2onnx==0.17.1"
PACKAGES = ("onnx", "onnxruntime", "jax2onnx")
ERRORS_ONLY = 3  # of onnxruntime's log: conversion leaves constants that nothing uses


@dataclass(frozen=True)
class OnnxProgram:
    """A network as ONNX, with its comparison.

    Attributes:
        content: of the file; a "window" takes a batch of any size.
        max_abs_difference: largest difference of a probability from the network's own
            answer [1], over `Program.checked_frames`.
        mask_px: pixels of the network's own masks of these frames.
        mask_px_changed: pixels that are in one mask and not in the other.
        made_with: versions of the packages.
    """

    content: bytes
    max_abs_difference: float
    mask_px: int
    mask_px_changed: int
    made_with: dict[str, str]


def import_packages() -> tuple[Any, Any, Any]:
    """Returns the modules onnx, onnxruntime and jax2onnx.

    Raises:
        UserError: if one of them, or a package that they need, is not installed or
            cannot be imported.
    """
    try:
        # By name: pip cannot install jax2onnx as an extra, so none declares it.
        onnx, onnxruntime, jax2onnx = map(importlib.import_module, PACKAGES)
    except Exception as error:
        # Of any kind: versions that do not belong together fail in many ways.
        missing = isinstance(error, ModuleNotFoundError)
        raise UserError(
            f"the package {error.name} is not installed"
            if missing
            else f"the packages of ONNX cannot be imported: {error}",
            needed="the extra [onnx], and jax2onnx without its requirements",
            why="jax2onnx requires orbax-checkpoint<0.11.37, which it does not import, "
            "and this package a newer one, so pip refuses the two together",
            fix="pip install 'fluoro_jax[onnx]', then "
            f"pip install --no-deps '{CONVERTER}'",
        ) from error
    return onnx, onnxruntime, jax2onnx


def to_onnx(program: Program, *, threshold: float) -> OnnxProgram:
    """Converts an exported network and compares the ONNX program with it.

    Args:
        program: of `export_network`.
        threshold: probability from which a pixel is tumour, for the masks.

    Raises:
        UserError: without the packages, if the network cannot be converted, or if the
            answers differ by more than `MAX_DIFF`.
    """
    content, session = _convert(program)
    names = [value.name for value in program.inputs]
    call = lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))
    frames, expected = program.checked_frames, program.checked_answers
    if program.kind == "stream":
        found = stream_answers(call, program.inputs, frames)
    else:
        found = np.asarray(call(frames)[0])
    off = largest_difference(found, expected, most=MAX_DIFF, program="ONNX")
    mask = expected >= threshold
    return OnnxProgram(
        content=content,
        max_abs_difference=off,
        mask_px=int(mask.sum()),
        mask_px_changed=int((mask != (found >= threshold)).sum()),
        made_with={name: version(name) for name in PACKAGES},
    )


def _convert(program: Program) -> tuple[bytes, Any]:
    """The file's content, and a session that runs it."""
    onnx, onnxruntime, jax2onnx = import_packages()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    try:
        with _without_warnings():
            model = jax2onnx.to_onnx(
                program.function,
                [_shape(value) for value in program.inputs],
                opset=OPSET,
                input_names=[value.name for value in program.inputs],
                output_names=[value.name for value in program.outputs],
            )
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString()
        providers = ["CPUExecutionProvider"]
        return content, onnxruntime.InferenceSession(content, options, providers)
    # Neither jax2onnx nor onnxruntime has one class of errors of its own.
    except Exception as error:
        said = " ".join(str(error).split())[:160]
        raise UserError(
            f"no ONNX of this network: {type(error).__name__}: {said}",
            needed="operations that jax2onnx converts and onnxruntime runs",
            why="ONNX has its own list of operations and of types",
            fix="export without --onnx, or export weights that compute in float32 "
            f"(gen.dtype); {CONVERTER} is tested, {version('jax2onnx')} is installed",
        ) from error


def _shape(value: Value) -> Any:
    """As jax2onnx takes it: a shape with an open batch bare, which means float32."""
    if "batch" in value.shape:
        return value.shape
    return jax.ShapeDtypeStruct(value.shape, value.dtype)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences the log: jax2onnx warns of examples that it cannot import."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
