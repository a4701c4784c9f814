from __future__ import annotations

import functools
import importlib.util

import jax
import numpy as np
import pytest
from marks import further
from small_weights import SIDE, random_params, small_config

from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.tracking import export
from fluoro_jax.tracking.network import forward
from fluoro_jax.tracking.stream import StreamTracker
from fluoro_jax.tracking.tracker import track_clip
from fluoro_jax.training.precision import make_generator

pytest.importorskip("flatbuffers")


@functools.cache
def exported(stack):
    """(config, generator, parameters, program)."""
    cfg = small_config(stack)
    generator, params = make_generator(cfg), random_params(cfg)
    return cfg, generator, params, export.export_network(generator, params, cfg)


def frames_of(count, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(2.0, 4.0, (count, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("stack", [further("causal"), "moving_past"])
def test_the_program_of_a_stream_is_its_tracker(stack):
    cfg, generator, params, program = exported(stack)
    assert program.kind == "stream" and program.max_abs_difference <= 1e-5
    tracker = StreamTracker(generator, params, cfg)
    # More frames than the running mean counts like a plain one.
    frames = frames_of(40)
    clip = Clip(frames, 0.5 * np.arange(40), tracker.learned.view)
    wanted = [track.probability for track in track_clip(tracker, clip)]
    call = jax.jit(jax.export.deserialize(bytearray(program.serialized)).call)
    state = {v.name: np.zeros(v.shape, v.dtype) for v in program.inputs[1:]}
    for frame, expected in zip(frames, wanted, strict=True):
        results = call(frame, *state.values())
        named = {v.name: r for v, r in zip(program.outputs, results, strict=True)}
        np.testing.assert_allclose(named["probability"], expected, rtol=0, atol=1e-5)
        state = {into: named[out] for out, into in program.carried.items()}
    assert int(state["seen"]) == 40
    assert ("mean" in state) == (stack == "moving_past")


@pytest.mark.parametrize("stack", ["wrap", further("moving")])
def test_the_program_of_a_window_takes_any_batch(stack):
    _, generator, params, program = exported(stack)
    assert program.kind == "window" and program.carried == {}
    assert program.inputs[0].shape == ("batch", 4, SIDE, SIDE)
    mode = "edge" if stack == "wrap" else stack
    call = jax.export.deserialize(bytearray(program.serialized)).call
    for batch in (1, 3):
        frames = frames_of(batch * 4).reshape(batch, 4, SIDE, SIDE)
        expected = forward(generator, mode, params, frames)
        np.testing.assert_allclose(call(frames), expected, rtol=0, atol=1e-5)


@pytest.mark.thorough
def test_a_forward_only_network_with_a_stack_of_both_sides_is_a_window():
    cfg = small_config("edge", **{"gen.bidirectional": False})
    generator, params = make_generator(cfg), random_params(cfg)
    assert export.export_network(generator, params, cfg).kind == "window"


def test_the_text_is_the_whole_program_at_batch_1():
    _, _, params, program = exported("moving_past")
    assert program.mlir.startswith("module @jit_advance")
    assert "stablehlo.convolution" in program.mlir and "loc(" not in program.mlir
    # Weights are in it: eight hexadecimal digits each.
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert len(program.mlir) > 8 * weights
    found = jax.tree.leaves(
        program.function(*(np.zeros(v.shape, v.dtype) for v in program.inputs))
    )
    assert [(v.shape, v.dtype) for v in program.outputs] == [
        (leaf.shape, str(leaf.dtype)) for leaf in found
    ]


def test_a_program_that_answers_otherwise_is_refused(monkeypatch):
    cfg = small_config("causal")
    generator, params = make_generator(cfg), random_params(cfg)
    answers = export.stream_answers
    for factor, words in ((1.0001, "differ by"), (np.nan, "differ by nan")):
        # The exported program answers first, then the function that was exported.
        factors = iter((factor, 1.0))
        off = lambda *args, factors=factors: next(factors) * answers(*args)
        monkeypatch.setattr(export, "stream_answers", off)
        with pytest.raises(UserError, match=f"probabilities {words}"):
            export.export_network(generator, params, cfg)


def test_without_flatbuffers_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"fluoro_jax\[export\]"):
        export.export_network(None, None, None)
