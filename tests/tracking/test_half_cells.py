"""Answers to a frame moved by half a cell: a mean of four, put back in place."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from small_weights import random_params, small_config

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel
from fluoro_jax.tracking import export
from fluoro_jax.tracking.network import NetworkTracker, forward
from fluoro_jax.tracking.tracker import track_clip
from fluoro_jax.training.precision import make_generator

CELLS = {"gen.patch": 2, "gen.stem": 4, "evaluation.half_cells": True}


class Output(NamedTuple):
    logits: jax.Array


class OfCells(nn.Module):
    """Answers with the mean of each cell, plus the place of a pixel in its cell."""

    patch: int = 4
    gain: float = 1.0

    @nn.compact
    def __call__(self, stack):
        frames, side = stack[..., 1], self.patch
        *lead, rows, cols = frames.shape
        cells = frames.reshape(*lead, rows // side, side, cols // side, side)
        mean = jnp.broadcast_to(cells.mean((-3, -1), keepdims=True), cells.shape)
        place = (jnp.arange(rows) % side).reshape(1, 1, rows, 1)
        return Output(mean.reshape(frames.shape) + self.gain * place)


class Pointwise(nn.Module):
    """Answers with the frames: alike wherever the borders of cells lie."""

    patch: int = 4

    @nn.compact
    def __call__(self, stack):
        return Output(stack[..., 1] - 2.0)


def frames_of(count=3, side=16):
    draw = np.random.default_rng(0).normal(size=(1, count, side, side))
    return draw.astype(np.float32)


def test_it_is_the_mean_of_four_answers_put_back():
    frames, answer = frames_of(), OfCells()
    found = np.asarray(forward(answer, "edge", {}, frames, half_cells=True))
    once = lambda moved: np.asarray(forward(answer, "edge", {}, moved))
    inside = np.s_[..., 2:-2, 2:-2]
    expected = []
    for down, right in ((0, 0), (0, 2), (2, 0), (2, 2)):
        # Around the frame, which no pixel of the inside sees.
        moved = np.roll(frames, (down, right), axis=(2, 3))
        expected.append(np.roll(once(moved), (-down, -right), axis=(2, 3))[inside])
    np.testing.assert_allclose(found[inside], np.mean(expected, axis=0), atol=1e-6)
    assert np.abs(found - once(frames)).max() > 0.1


def test_an_answer_that_knows_no_cells_stays_to_the_last_row():
    frames = frames_of()
    moved = forward(Pointwise(), "edge", {}, frames, half_cells=True)
    still = forward(Pointwise(), "edge", {}, frames)
    np.testing.assert_allclose(moved, still, atol=1e-6)


@pytest.mark.parametrize("half_cells", [False, True])
def test_the_tracker_and_its_export_answer_so(half_cells):
    cfg = small_config("edge", **{**CELLS, "evaluation.half_cells": half_cells})
    generator, params = make_generator(cfg), random_params(cfg)
    frames = 3.0 + frames_of(count=cfg.study.num_frames)
    expected = forward(generator, "edge", params, frames, half_cells=half_cells)
    other = forward(generator, "edge", params, frames, half_cells=not half_cells)
    assert np.abs(expected - other).max() > 1e-4
    clip = Clip(
        frames=frames[0],
        time_s=0.5 * np.arange(cfg.study.num_frames),
        geometry=square_panel(16),
    )
    tracker = NetworkTracker(generator, params, cfg, cfg.study.num_frames - 1)
    found = np.stack([track.probability for track in track_clip(tracker, clip)])
    np.testing.assert_allclose(found, expected[0], atol=1e-6)
    live = NetworkTracker(generator, params, cfg, 0)  # of as many frames, the last
    newest = track_clip(live, clip)[-1].probability
    still = forward(generator, "edge", params, frames)
    np.testing.assert_allclose(newest, still[0, -1], atol=1e-6)
    program = export.export_network(generator, params, cfg)
    call = jax.export.deserialize(bytearray(program.serialized)).call
    np.testing.assert_allclose(call(frames), expected, atol=1e-5)
