"""Runs an exported model without JAX: IREE compiles model.mlir and runs it.

    pip install iree-base-compiler iree-base-runtime numpy
    python run_exported.py exported frames.npy probability.npy

frames.npy: line integrals [1], float32, `[T, rows, cols]` in the model's pixels and at
its frame spacing (model.json); a window model takes exactly its number of frames.
probability.npy: `[T, rows, cols]`, probability that a pixel is tumour [1].
Research software. Not a medical device. Not for clinical use.
"""

import json
import sys
from pathlib import Path

import iree.compiler
import iree.runtime
import numpy as np


def load(folder: Path):
    """Returns the program as a function of NumPy arrays, and its description."""
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    binary = iree.compiler.compile_file(
        str(folder / "model.mlir"),
        input_type="stablehlo",
        target_backends=["llvm-cpu"],
        extra_args=["--iree-llvmcpu-target-cpu=host"],
    )
    module = iree.runtime.load_vm_flatbuffer(binary, driver="local-task")
    return module.main, about


def run(main, about: dict, frames: np.ndarray) -> np.ndarray:
    """Returns probabilities `[T, rows, cols]` of frames of that shape."""
    frames = np.asarray(frames, np.float32)
    if about["kind"] == "window":
        return main(frames[None]).to_host()[0]
    # Every input but the frame is carried from call to call, and begins as zeros.
    state = {
        value["name"]: np.zeros(value["shape"], value["dtype"])
        for value in about["inputs"][1:]
    }
    answers = []
    for frame in frames:
        results = main(frame, *state.values())
        named = {v["name"]: r for v, r in zip(about["outputs"], results, strict=True)}
        answers.append(named["probability"].to_host())
        state = {into: named[out] for out, into in about["carried"].items()}
    return np.stack(answers)


if __name__ == "__main__":
    source, frames_path, out_path = sys.argv[1:]
    np.save(out_path, run(*load(Path(source)), np.load(frames_path)))
