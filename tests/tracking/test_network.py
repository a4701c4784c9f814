from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs.base import base_config
from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import square_panel
from fluoro_jax.tracking.network import NetworkTracker, forward
from fluoro_jax.tracking.tracker import Tracker, track_clip

VIEW = square_panel(8)
WINDOW = 10


class Output(NamedTuple):
    logits: jax.Array


class StandIn(nn.Module):
    """Each answer mixes all frames of the window, with a weight that tells them apart.

    `logits[t] = sum_k |t - k| mean_channels(stack[k]) + gain stack[t, ..., 0]`.
    """

    @nn.compact
    def __call__(self, stack):
        gain = self.param("gain", nn.initializers.constant(0.3), ())
        index = jnp.arange(stack.shape[1], dtype=jnp.float32)
        weight = jnp.abs(index[:, None] - index[None, :]) / 100.0
        mixed = jnp.einsum("tk,bkhwc->bthw", weight, stack)
        return Output(mixed + gain * stack[..., 0])


def config(stack="wrap"):
    cfg = base_config("smoke")
    cfg.study.update(rows=8, cols=8, num_frames=WINDOW)
    cfg.data.stack = stack
    return cfg


def clip_of(length, periodic=False, seed=0):
    frames = 4.0 + np.random.default_rng(seed).normal(size=(length, 8, 8))
    frames[:, :, 3:5] += 3.0  # spine
    return Clip(
        frames=frames.astype(np.float32),
        time_s=0.5 * np.arange(length),
        geometry=VIEW,
        periodic=periodic,
    )


@pytest.fixture(scope="module")
def params():
    stack = jnp.zeros((1, WINDOW, 8, 8, 3))
    return jax.jit(StandIn().init)(jax.random.key(0), stack)["params"]


def batch_forward(params, frames, mode):
    return np.asarray(forward(StandIn(), mode, params, frames[None])[0])


@pytest.mark.parametrize(
    ("stack", "periodic", "mode"),
    [
        ("wrap", True, "wrap"),
        ("wrap", False, "edge"),
        ("edge", True, "edge"),
        ("single", True, "single"),
    ],
)
def test_full_lookahead_on_one_window_is_the_batch_forward(
    params, stack, periodic, mode
):
    clip = clip_of(WINDOW, periodic)
    tracker = NetworkTracker(StandIn(), params, config(stack), WINDOW - 1)
    tracks = track_clip(tracker, clip)
    found = np.stack([t.probability for t in tracks])
    np.testing.assert_array_equal(found, batch_forward(params, clip.frames, mode))
    other = "edge" if mode == "wrap" else "wrap"
    assert np.abs(found - batch_forward(params, clip.frames, other)).max() > 1e-4


class Itself(nn.Module):
    """Answers with the frames, less what makes them line integrals."""

    @nn.compact
    def __call__(self, stack):
        return Output(stack[..., 1] - 5.0)


@pytest.mark.parametrize(("answer", "jumps"), [("mask", 4), ("component", 0)])
def test_one_component_of_the_window_answers(answer, jumps):
    """Also in a frame in which another is stronger."""
    logits = np.full((WINDOW, 8, 8), -3.0, np.float32)
    logits[:, 1:4, 1:4] = 3.0
    logits[3:7, 6:8, 5:8] = 3.0
    logits[5, 1:4, 1:4] = 0.1
    cfg = config("edge")
    cfg.evaluation.answer = answer
    clip = Clip(frames=5.0 + logits, time_s=0.5 * np.arange(WINDOW), geometry=VIEW)
    tracks = track_clip(NetworkTracker(Itself(), {}, cfg, WINDOW - 1), clip)
    away = [np.abs(t.centroid_px - 2.0).max() > 0.5 for t in tracks]
    assert sum(away) == jumps


@pytest.mark.parametrize("lookahead", [0, 3, 9])
def test_each_answer_comes_from_its_own_window(params, lookahead):
    clip = clip_of(25)
    tracker = NetworkTracker(StandIn(), params, config(), lookahead)
    tracks = track_clip(tracker, clip)
    for t, track in enumerate(tracks):
        newest = min(t + lookahead, 24)
        index = np.maximum(np.arange(newest - WINDOW + 1, newest + 1), 0)
        whole = batch_forward(params, clip.frames[index], "edge")
        place = WINDOW - 1 - (newest - t)
        np.testing.assert_array_equal(track.probability, whole[place])


def test_no_answer_depends_on_frames_after_its_lookahead(params):
    clip = clip_of(14)
    changed = clip.replace(frames=np.array(clip.frames))
    changed.frames[10:] += 5.0
    tracker = NetworkTracker(StandIn(), params, config(), 2)
    before, after = track_clip(tracker, clip), track_clip(tracker, changed)
    for t in range(8):  # frame t may use frames up to t + 2
        np.testing.assert_array_equal(before[t].probability, after[t].probability)
    assert np.abs(before[8].probability - after[8].probability).max() > 1e-4


def test_a_period_of_another_length_never_wraps(params):
    tracker = NetworkTracker(StandIn(), params, config(), WINDOW - 1)
    wrapped = track_clip(tracker, clip_of(12, periodic=True))
    edged = track_clip(tracker, clip_of(12, periodic=False))
    for one, other in zip(wrapped, edged, strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)


@pytest.mark.parametrize("length", [1, 3])
def test_a_short_clip_gets_an_answer_a_frame(params, length):
    tracker = NetworkTracker(StandIn(), params, config(), WINDOW - 1)
    assert [t.frame for t in track_clip(tracker, clip_of(length))] == list(
        range(length)
    )


def test_protocol_and_what_it_says_of_itself(params):
    online = NetworkTracker(StandIn(), params, config(), 0)
    assert isinstance(online, Tracker) and online.causal
    assert not NetworkTracker(StandIn(), params, config(), 5).causal


def test_bad_lookahead_and_bad_frames_are_refused(params):
    with pytest.raises(UserError, match="stream_lookahead"):
        NetworkTracker(StandIn(), params, config(), WINDOW)
    tracker = NetworkTracker(StandIn(), params, config(), 0)
    with pytest.raises(UserError, match=r"shape \(8, 9\)"):
        tracker.step(tracker.init(VIEW), np.zeros((8, 9)), 0.0)
