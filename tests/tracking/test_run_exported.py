"""The example that runs an exported model without JAX, on the text that is exported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from small_weights import SIDE, put_weights

from fluoro_jax import zoo
from fluoro_jax.cli import main as cli
from fluoro_jax.clip import Clip
from fluoro_jax.tracking.network import forward
from fluoro_jax.tracking.stream import StreamTracker
from fluoro_jax.tracking.tracker import track_clip

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "run_exported.py"


def test_the_example_is_short_and_names_no_jax():
    text = EXAMPLE.read_text("utf-8")
    assert len(text.splitlines()) <= 60
    assert "import jax" not in text and "fluoro_jax" not in text


@pytest.fixture(scope="module")
def example():
    for needed in ("flatbuffers", "iree.compiler", "iree.runtime"):
        pytest.importorskip(needed)
    spec = importlib.util.spec_from_file_location("run_exported", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_frames(count, side):
    rng = np.random.default_rng(0)
    return rng.uniform(2.0, 4.0, (count, side, side)).astype(np.float32)


@pytest.mark.slow
def test_iree_answers_as_a_stream(example, tmp_path):
    put_weights(tmp_path, "small", "moving_past")
    assert cli.main(["export", str(tmp_path), f"--out={tmp_path / 'out'}"]) == 0
    frames = random_frames(4, SIDE)
    found = example.run(*example.load(tmp_path / "out"), frames)
    weights = zoo.load("small", folder=tmp_path)
    tracker = StreamTracker(weights.generator, weights.params, weights.cfg)
    clip = Clip(frames, 0.5 * np.arange(4), tracker.learned.view)
    expected = np.stack([t.probability for t in track_clip(tracker, clip)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_iree_answers_as_a_model_of_the_package(example, tmp_path):
    """Ten frames of 256 x 256 pixels; IREE rounds otherwise than XLA."""
    assert cli.main(["export", "group", f"--out={tmp_path / 'out'}"]) == 0
    frames = random_frames(10, 256)
    found = example.run(*example.load(tmp_path / "out"), frames)
    weights = zoo.load("group")
    stack = weights.cfg.data.stack
    answer = forward(weights.generator, stack, weights.params, frames[None])
    np.testing.assert_allclose(found, np.asarray(answer)[0], rtol=0, atol=2e-4)
