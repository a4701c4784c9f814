"""The trained network as a tracker: a sliding window of the last N frames.

At frame t the window holds frames t-N+1 .. t (frame 0 repeated before the clip) and
its element N-1-lookahead answers for frame t-lookahead. With lookahead N-1 on a clip
of N frames every answer comes from one window, the whole clip: the forward pass of
training. With lookahead 0 the answer uses the past alone, however the network reads
its window.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.data.stack import stack_frames
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.models.generator import predict
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame
from fluoro_jax.tracking.learned import TrainingDomain
from fluoro_jax.tracking.tracker import make_track
from fluoro_jax.tracking.window_answer import window_answer


@dataclass(frozen=True)
class NetworkState:
    """The window so far and its answer.

    Attributes:
        check: the view, and what the check of the next frame needs.
        periodic: the clip is exactly one period of the window's length.
        frames: the last N frames at most, each `[H, W]`.
        count: frames seen.
        answer: `[N, H, W]` probabilities of the newest window, or None if not run.
    """

    check: FrameCheck
    periodic: bool
    frames: tuple[np.ndarray, ...] = ()
    count: int = 0
    answer: np.ndarray | None = None


@dataclass(frozen=True)
class NetworkTracker:
    """A generator behind the `Tracker` protocol.

    Frames must be like those of `cfg.study`, in view, domain and spacing; others are
    refused (`checks`) and `tracking.resample` converts them. The reference is checked
    and not used: the network sees images only.

    Attributes:
        generator: module whose output has `logits` `[B, T, H, W]`.
        params: its parameters.
        cfg: the run's config (study, data.stack, evaluation).
        lookahead_frames: frames after t that the answer for t may use, 0 .. N-1.
        card: what was measured of published weights; None of others.
        causal: True if that is none.
        window_frames: N.
        learned: the clips that the network was trained on.
    """

    generator: Any
    params: Any
    cfg: Any
    lookahead_frames: int
    card: Mapping[str, Any] | None = None
    causal: bool = field(init=False)
    window_frames: int = field(init=False)
    learned: TrainingDomain = field(init=False)

    def __post_init__(self) -> None:
        window = self.cfg.study.num_frames
        if not 0 <= self.lookahead_frames < window:
            raise UserError(
                f"lookahead of {self.lookahead_frames} frames",
                needed=f"a whole number from 0 to {window - 1}",
                why=f"the network sees a window of {window} frames",
                fix=f"set evaluation.stream_lookahead to at most {window - 1}",
            )
        # Derived fields of a frozen dataclass: assignment would raise.
        object.__setattr__(self, "window_frames", window)
        object.__setattr__(self, "causal", self.lookahead_frames == 0)
        object.__setattr__(self, "learned", TrainingDomain.from_config(self.cfg))

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> NetworkState:
        """See `Tracker.init`; `periodic`: one period of exactly `window_frames`."""
        check = begin(geometry, reference, domain=domain, learned=self.learned)
        return NetworkState(check, periodic)

    def step(
        self, state: NetworkState, frame: np.ndarray, time_s: float
    ) -> tuple[NetworkState, Track | None]:
        """See `Tracker.step`."""
        check, frame = next_frame(state.check, frame, time_s)
        frames = (*state.frames, frame)[-self.window_frames :]
        state = NetworkState(check, state.periodic, frames, state.count + 1)
        # The first answer is for frame 0, once the frames of its lookahead are there.
        if state.count <= self.lookahead_frames:
            return state, None
        state = replace(state, answer=self._run(state))
        return state, self._read(state, self.lookahead_frames)

    def flush(self, state: NetworkState) -> list[Track]:
        """See `Tracker.flush`: the last `lookahead_frames`, from the last window."""
        owed = min(self.lookahead_frames, state.count)
        if owed == 0:
            return []
        if state.answer is None:
            state = replace(state, answer=self._run(state))
        return [self._read(state, back) for back in reversed(range(owed))]

    def _run(self, state: NetworkState) -> np.ndarray:
        """Probabilities `[N, H, W]` of the window that ends at the newest frame.

        Of them what `window_answer` leaves. Moved by half cells
        (`evaluation.half_cells`), and of one outline (`evaluation.outline`), only if
        the whole window answers at once.
        """
        missing = self.window_frames - len(state.frames)
        window = np.stack((state.frames[0],) * missing + state.frames)
        # Windows before the last repeat frame 0 and are no whole period.
        whole = state.periodic and state.count == self.window_frames
        mode = _stack_mode(self.cfg.data.stack, whole_period=whole)
        # Not while frames arrive: each would take four passes of a whole window.
        at_once = self.lookahead_frames == self.window_frames - 1
        half = self.cfg.evaluation.half_cells and at_once
        ask = functools.partial(forward, self.generator, mode, half_cells=half)
        found = np.asarray(ask(self.params, window[None])[0])
        return window_answer(
            found,
            answer=self.cfg.evaluation.answer,
            outline=self.cfg.evaluation.outline if at_once else "frame",
            threshold=self.cfg.evaluation.threshold,
            pixel_mm=np.array(iso_pixel_mm(state.check.geometry)),
            frame_s=self.cfg.study.frame_s,
            repeated=missing,
            slides=state.count > self.window_frames,
        )

    def _read(self, state: NetworkState, back: int) -> Track:
        """The window's answer for the frame `back` frames before the newest."""
        assert state.answer is not None
        return make_track(
            state.count - 1 - back,
            state.answer[self.window_frames - 1 - back],
            state.check.geometry,
            threshold=self.cfg.evaluation.threshold,
        )


# A linen module hashes by its attributes, so it can be static: equal networks share one
# program. Parameters are traced, so other weights compile nothing again.
@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="half_cells")
def forward(
    generator: Any,
    stack_mode: str,
    params: Any,
    frames: jax.Array,
    *,
    half_cells: bool = False,
) -> jax.Array:
    """Returns probabilities `[B, T, H, W]` of frames `[B, T, H, W]`.

    Compiled once for each shape of `frames`.

    Args:
        generator: a `Generator`.
        stack_mode: of `data.stack.stack_frames`.
        params: its parameters.
        frames: line integrals.
        half_cells: answer with the mean over the frames as they are and moved by half
            a cell (`generator.patch`) down, right, and both: an outline then depends
            less on where the cells' borders lie. Four times the work.
    """
    answer = lambda frames: predict(generator, params, stack_frames(frames, stack_mode))
    if not half_cells:
        return answer(frames)
    half = generator.patch // 2
    moves = [(down, right) for down in (0, half) for right in (0, half)]
    # As one batch: four passes one after another would leave cores idle.
    answers = answer(jnp.concatenate([_moved(frames, move) for move in moves]))
    parts = zip(jnp.split(answers, len(moves)), moves, strict=True)
    total = jnp.stack([_moved_back(*part) for part in parts]).sum(0)
    # The last rows and columns were moved out of the frame in some of the four.
    ones = jnp.ones((1, 1, *frames.shape[2:]))
    return total / jnp.stack([_moved_back(ones, move) for move in moves]).sum(0)


def _moved(frames: jax.Array, move: tuple[int, int]) -> jax.Array:
    """`frames` moved down and right by whole pixels; first row and column repeat."""
    (down, right), (rows, cols) = move, frames.shape[-2:]
    still = [(0, 0)] * (frames.ndim - 2)
    padded = jnp.pad(frames, (*still, (down, 0), (right, 0)), mode="edge")
    return padded[..., :rows, :cols]


def _moved_back(answers: jax.Array, move: tuple[int, int]) -> jax.Array:
    """The inverse; zero in the rows and columns that had left the frame."""
    down, right = move
    still = [(0, 0)] * (answers.ndim - 2)
    return jnp.pad(answers[..., down:, right:], (*still, (0, down), (0, right)))


def _stack_mode(trained: str, *, whole_period: bool) -> str:
    """Neighbours wrap only where the window is one period; others stay."""
    return "edge" if trained == "wrap" and not whole_period else trained
