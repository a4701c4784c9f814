"""A forward-only network as a tracker that reads each frame once.

`NetworkTracker` runs a whole window for every frame. This tracker keeps the state of
every ConvLSTM between frames instead: a frame costs one forward pass of one frame, and
its answer may depend on all frames since the first.

The state knows no time, only frames at the spacing of training. Where frames were
dropped, it therefore sees the frame before the gap again, once for each dropped frame.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.compiling import STREAM, known_options
from fluoro_jax.config_rules import PAST_STACKS
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.tracking.checks import (
    LONGEST_GAP,
    FrameCheck,
    Reference,
    begin,
    next_frame,
)
from fluoro_jax.tracking.learned import TrainingDomain
from fluoro_jax.tracking.one_frame import Memory, advance, before_first
from fluoro_jax.tracking.tracker import make_track

# A longer gap is refused by `checks`, so a frame is repeated at most so often.
MOST_REPEATS = int(LONGEST_GAP) - 1


@dataclass(frozen=True)
class StreamState:
    """The state of a stream between two frames.

    Attributes:
        check: the view, and what the check of the next frame needs.
        memory: of the network; repeated frames are in it.
        newest: the frame before, `[H, W]`; None before the first.
        count: frames given.
    """

    check: FrameCheck
    memory: Memory
    newest: np.ndarray | None = None
    count: int = 0


@dataclass(frozen=True)
class StreamTracker:
    """A causal generator behind the `Tracker` protocol, one frame at a time.

    Frames must be like those of `cfg.study`, in view, domain and spacing. A frame that
    is refused (a NaN in it, a wrong time) leaves the state as it was: the stream goes
    on with the next one. A gap of k frame spacings (rounded), k at most 4, is filled:
    the network sees the frame before the gap k - 1 times more, at the cost of as many
    forward passes, and the answer is that of a stream with the frame repeated. The
    reference is checked and not used.

    Attributes:
        generator: module with `bidirectional` False.
        params: its parameters.
        cfg: the run's config (study, evaluation; data.stack one of `PAST_STACKS`).
        card: what was measured of published weights; None of others.
        learned: the clips that the network was trained on.

    Raises:
        UserError: for a network that reads later frames.
    """

    generator: Any
    params: Any
    cfg: Any
    card: Mapping[str, Any] | None = None
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)
    fills_gaps: bool = field(default=True, init=False)
    learned: TrainingDomain = field(init=False)

    def __post_init__(self) -> None:
        stack, both = self.cfg.data.stack, self.generator.bidirectional
        # Refused here and not at a frame: the answers would look plausible.
        if both or stack not in PAST_STACKS:
            raise UserError(
                f'gen.bidirectional = {both}, data.stack = "{stack}"',
                needed="gen.bidirectional = False and data.stack one of "
                + ", ".join(PAST_STACKS),
                why="a stream has no later frame to read when it answers",
                fix="train with both, or use NetworkTracker with a window",
            )
        # A derived field of a frozen dataclass: assignment would raise.
        object.__setattr__(self, "learned", TrainingDomain.from_config(self.cfg))

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> StreamState:
        """See `Tracker.init`; `periodic` changes nothing."""
        check = begin(
            geometry, reference, domain=domain, learned=self.learned, fills_gaps=True
        )
        size = (geometry.rows, geometry.cols)
        mode = self.cfg.data.stack
        return StreamState(check, before_first(self.generator, self.params, mode, size))

    def warm_up(self) -> float:
        """Compiles all that `step` runs; returns the seconds that it took."""
        begun_s = time.perf_counter()
        view = self.learned.view
        # A line integral of 3.0 in every pixel: a chest's, so that no check warns.
        frame = np.full((view.rows, view.cols), 3.0, np.float32)
        self.step(self.init(view), frame, 0.0)
        # The position in mm is computed only where a tumour was found.
        make_track(0, np.ones_like(frame), view)
        return time.perf_counter() - begun_s

    def step(
        self, state: StreamState, frame: np.ndarray, time_s: float
    ) -> tuple[StreamState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        repeats = _dropped(state.check, time_s)
        check, frame = next_frame(state.check, frame, time_s)
        memory = state.memory
        for _ in range(repeats):
            memory, _ = self._see(memory, state.newest)
        memory, answer = self._see(memory, frame)
        track = make_track(
            state.count,
            np.asarray(answer),
            check.geometry,
            threshold=self.cfg.evaluation.threshold,
            one_component=self.cfg.evaluation.answer == "component",
        )
        return StreamState(check, memory, frame, state.count + 1), track

    def flush(self, state: StreamState) -> list[Track]:
        """See `Tracker.flush`: nothing is owed."""
        return []

    def _see(self, memory: Memory, frame: np.ndarray | None) -> tuple[Memory, Any]:
        """The memory after one more frame, and its probabilities `[H, W]`."""
        program = _program(jax.default_backend())
        return program(self.generator, self.cfg.data.stack, self.params, memory, frame)


@functools.cache
def _program(platform: str) -> Callable:
    # Not to be called within a trace, for which JAX takes no compiler options.
    # The memory is not donated: a state that was kept may be gone on from again.
    # Static: the module hashes by its attributes. Weights and memory are traced.
    options = known_options(STREAM, platform)
    return jax.jit(advance, static_argnums=(0, 1), compiler_options=options or None)


def _dropped(check: FrameCheck, time_s: float) -> int:
    """Frames missing between the newest frame and one at `time_s`, by their spacing."""
    if check.last_s is None or not check.frame_s or not np.isfinite(time_s):
        return 0
    # Half a spacing and more is a frame; `next_frame` refuses what lies over the limit.
    spacings = int((time_s - check.last_s) / check.frame_s + 0.5)
    return min(max(spacings - 1, 0), MOST_REPEATS)
