from __future__ import annotations

import dataclasses
import warnings

import jax
import numpy as np
import pytest
from draws import random_params

from configs.base import base_config
from fluoro_jax.clip import Clip
from fluoro_jax.data.stack import stack_frames
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import square_panel
from fluoro_jax.models.generator import Generator, predict
from fluoro_jax.tracking.follow import make_plan
from fluoro_jax.tracking.stream import MOST_REPEATS, StreamTracker
from fluoro_jax.tracking.tracker import Tracker, track_clip

SIDE, FRAMES = 16, 6
UNSCALED = dict(input_mean=0.0, input_scale=1.0)
SMALL = dict(levels=2, refine_levels=2, base=4, cap=8, **UNSCALED)


def config(stack="causal"):
    cfg = base_config("smoke")
    cfg.data.stack = stack
    cfg.study.update(rows=SIDE, cols=SIDE)
    return cfg


def blank(channels):
    return jax.ShapeDtypeStruct((1, 1, SIDE, SIDE, channels), np.float32)


@pytest.fixture(scope="module")
def case():
    """(generator, parameters, clip)."""
    generator = Generator(**SMALL, bidirectional=False)
    rng = np.random.default_rng(0)
    frames = 3.0 + rng.normal(size=(FRAMES, SIDE, SIDE)).astype(np.float32)
    frames[:, :, 6:10] += 2.0  # spine
    stack = stack_frames(frames[None], "causal")
    params = random_params(generator, stack)
    time_s = 0.5 * np.arange(FRAMES)
    return generator, params, Clip(frames, time_s, square_panel(SIDE))


def test_init_makes_no_state(case):
    generator, _, clip = case
    stack = stack_frames(clip.frames[None], "causal")
    made = jax.eval_shape(generator.init, jax.random.key(0), stack)
    assert set(made) == {"params"}


@pytest.fixture(scope="module")
def trackers(case):
    """One tracker a stack; "moving_past" has a channel more, so other parameters."""
    generator, params, _ = case
    more = random_params(generator, blank(4))
    of = {"causal": params, "moving_past": more}
    return {m: StreamTracker(generator, p, config(m)) for m, p in of.items()}


STARTS: dict = {}  # by stack: parameters are not in it, and `init` takes long to trace


def start(tracker):
    """The state before the first frame, which stays as it is."""
    mode = tracker.cfg.data.stack
    if mode not in STARTS:
        STARTS[mode] = tracker.init(square_panel(SIDE))
    return STARTS[mode]


def run(tracker, frames, time_s, state=None):
    """(state, probabilities) after frames at their times."""
    state = start(tracker) if state is None else state
    found = []
    for frame, now_s in zip(frames, time_s, strict=True):
        state, track = tracker.step(state, frame, now_s)
        found.append(track.probability)
    return state, np.stack(found)


@pytest.mark.parametrize("mode", ["causal", "moving_past"])
@pytest.mark.parametrize("cut", range(1, FRAMES))
def test_any_split_of_the_frames_is_the_whole_sequence(case, trackers, mode, cut):
    """The state after the first frames holds all that later answers need."""
    _, _, clip = case
    tracker = trackers[mode]
    state, first = run(tracker, clip.frames[:cut], clip.time_s[:cut])
    # Another sequence in between: nothing is kept outside of the state.
    run(tracker, clip.frames[::-1], clip.time_s)
    _, second = run(tracker, clip.frames[cut:], clip.time_s[cut:], state)
    stack = stack_frames(clip.frames[None], mode)
    whole = jax.jit(predict, static_argnums=0)(tracker.generator, tracker.params, stack)
    found = np.concatenate([first, second])
    np.testing.assert_allclose(found, np.asarray(whole)[0], rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:WARNING")
@pytest.mark.parametrize("mode", ["causal", "moving_past"])
@pytest.mark.parametrize("given", [[0, 1, 3, 4], [0, 2, 4, 5], [0, 4, 5], [0, 1, 5]])
def test_a_dropped_frame_is_the_frame_before_it_repeated(case, trackers, mode, given):
    _, _, clip = case
    tracker = trackers[mode]
    _, found = run(tracker, clip.frames[given], clip.time_s[given])
    shown = [max(g for g in given if g <= t) for t in range(given[-1] + 1)]
    _, filled = run(tracker, clip.frames[shown], clip.time_s[: len(shown)])
    np.testing.assert_array_equal(found, filled[given])


@pytest.mark.filterwarnings("ignore:WARNING")
def test_jitter_is_no_dropped_frame_and_a_long_gap_is_refused(case, trackers):
    _, _, clip = case
    tracker = trackers["causal"]
    _, even = run(tracker, clip.frames[:3], [0.0, 0.5, 1.0])
    _, uneven = run(tracker, clip.frames[:3], [0.0, 0.6, 1.34])
    np.testing.assert_array_equal(even, uneven)
    state, _ = run(tracker, clip.frames[:1], [0.0])
    assert MOST_REPEATS == 3
    assert run(tracker, clip.frames[1:2], [2.1], state)[0].memory.seen == 5
    with pytest.raises(UserError, match=r"2\.2 s between"):
        tracker.step(state, clip.frames[1], 2.2)


def test_two_gaps_too_short_to_fill_are_another_frame_rate(case, trackers):
    _, _, clip = case
    with pytest.warns(UserWarning, match="between two frames"):
        state, _ = run(trackers["causal"], clip.frames[:2], [0.0, 0.7])
    with pytest.raises(UserError, match=r"0\.7 s between"):
        trackers["causal"].step(state, clip.frames[2], 1.4)


def test_after_warm_up_nothing_is_compiled(case):
    generator, _, clip = case
    tracker = StreamTracker(generator.clone(base=8), {}, config())
    params = random_params(tracker.generator, blank(3))
    tracker = dataclasses.replace(tracker, params=params)
    assert tracker.warm_up() > 0.0
    state = tracker.init(clip.geometry)
    with jax.no_tracing():
        run(tracker, clip.frames, clip.time_s, state)


@pytest.mark.parametrize("mode", ["causal", "moving_past"])
def test_frame_by_frame_is_the_whole_sequence(case, trackers, mode):
    _, _, clip = case
    generator, params = trackers[mode].generator, trackers[mode].params
    tracks = track_clip(StreamTracker(generator, params, config(mode)), clip)
    found = np.stack([track.probability for track in tracks])
    stack = stack_frames(clip.frames[None], mode)
    whole = np.asarray(jax.jit(predict, static_argnums=0)(generator, params, stack))[0]
    np.testing.assert_allclose(found, whole, rtol=0, atol=2e-6)
    assert np.abs(found[1:] - found[:-1]).max() > 1e-2


def test_the_state_carries_what_earlier_frames_said(case):
    generator, params, clip = case
    tracker = StreamTracker(generator, params, config())
    other = clip.replace(frames=np.array(clip.frames))
    other.frames[0] += 1.0
    ours, theirs = track_clip(tracker, clip), track_clip(tracker, other)
    # Frames 3 and later no longer see frame 0 as a channel, only through the state.
    assert np.abs(ours[3].probability - theirs[3].probability).max() > 1e-5


def test_a_kept_state_may_be_gone_on_from_twice(case):
    generator, params, clip = case
    tracker = StreamTracker(generator, params, config())
    state, _ = tracker.step(start(tracker), clip.frames[0], 0.0)
    first = tracker.step(state, clip.frames[1], 0.5)[1]
    again = tracker.step(state, clip.frames[1], 0.5)[1]
    np.testing.assert_array_equal(first.probability, again.probability)


def test_what_it_says_of_itself_and_what_it_refuses(case):
    generator, params, _ = case
    tracker = StreamTracker(generator, params, config())
    assert isinstance(tracker, Tracker)
    assert tracker.causal and tracker.lookahead_frames == 0
    with pytest.raises(UserError, match="bidirectional = True"):
        StreamTracker(Generator(**SMALL), params, config())
    for stack in ("wrap", "single"):
        with pytest.raises(UserError, match=f'"{stack}"'):
            StreamTracker(generator, params, config(stack))
    with pytest.raises(UserError, match=r"shape \(8, 9\)"):
        tracker.step(start(tracker), np.zeros((8, 9)), 0.0)


def test_a_refused_frame_leaves_the_stream_as_it_was(case):
    """One NaN must not reach any later answer."""
    generator, params, clip = case
    tracker = StreamTracker(generator, params, config())
    state, _ = tracker.step(start(tracker), clip.frames[0], 0.0)
    broken = clip.frames[1].copy()
    broken[3, 4] = np.nan
    with pytest.raises(UserError, match="1 values that are not finite"):
        tracker.step(state, broken, 0.5)
    with pytest.warns(UserWarning, match="between two frames"):
        after, track = tracker.step(state, clip.frames[1], 1.0)
    assert np.isfinite(track.probability).all() and track.frame == 1
    filled, _ = tracker.step(state, clip.frames[0], 0.5)
    same = tracker.step(filled, clip.frames[1], 1.0)[1]
    np.testing.assert_array_equal(track.probability, same.probability)
    later = tracker.step(after, clip.frames[2], 1.5)[1]
    assert later.frame == 2 and np.isfinite(later.probability).all()


def test_clips_near_its_spacing_are_not_split_and_gaps_are_filled(case, trackers):
    _, _, clip = case
    near = [0, 0.6, 1.2, 1.8, 2.4, 3.0], [0, 0.5, 1.5, 2.0, 3.0, 3.5]
    # A late frame after a gap that is filled; a spacing off by all that is allowed.
    near += [0, 0.5, 1.5, 2.14, 2.64, 3.14], (0.375 * np.arange(FRAMES)).tolist()
    for times in near:
        plan = make_plan(trackers["causal"], clip.replace(time_s=np.array(times)))
        assert [part.tolist() for part in plan.parts] == [list(range(FRAMES))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len([t for t, _ in plan.run() if t is not None]) == FRAMES
