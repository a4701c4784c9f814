"""Runs an exported model.onnx without JAX, in onnxruntime.

    pip install onnxruntime numpy
    python run_onnx.py exported frames.npy probability.npy

frames.npy: line integrals [1], float32, `[T, rows, cols]` in the model's pixels and at
its frame spacing (model.json); a window model takes exactly its number of frames.
probability.npy: `[T, rows, cols]`, probability that a pixel is tumour [1].
Research software. Not a medical device. Not for clinical use.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def load(folder: Path):
    """Returns the program as a session of onnxruntime, and its description."""
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of constants that nothing uses
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options), about


def run(session, about: dict, frames: np.ndarray) -> np.ndarray:
    """Returns probabilities `[T, rows, cols]` of frames of that shape."""
    frames = np.asarray(frames, np.float32)
    if about["kind"] == "window":
        return session.run(["probability"], {"frames": frames[None]})[0][0]
    # Every input but the frame is carried from call to call, and begins as zeros.
    inputs = {v["name"]: np.zeros(v["shape"], v["dtype"]) for v in about["inputs"]}
    outputs = ["probability", *about["carried"]]
    answers = []
    for frame in frames:
        inputs["frame"] = frame
        results = dict(zip(outputs, session.run(outputs, inputs), strict=True))
        answers.append(results["probability"])
        inputs = {into: results[out] for out, into in about["carried"].items()}
    return np.stack(answers)


if __name__ == "__main__":
    source, frames_path, out_path = sys.argv[1:]
    np.save(out_path, run(*load(Path(source)), np.load(frames_path)))
