"""A forward-only network as a tracker that reads each frame once.

`NetworkTracker` runs a whole window for every frame. This tracker keeps the state of
every ConvLSTM between frames instead: a frame costs one forward pass of one frame, and
its answer may depend on all frames since the first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.config_rules import PAST_STACKS
from fluoro_jax.data.stack import (
    MOTION_GAIN,
    MOVING_PAST,
    OFFSETS,
    running_weight,
    stack_channels,
)
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.models import generator as networks
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame
from fluoro_jax.tracking.learned import TrainingDomain
from fluoro_jax.tracking.tracker import make_track


@dataclass(frozen=True)
class StreamState:
    """The state of a stream between two frames.

    Attributes:
        check: the view, and what the check of the next frame needs.
        carry: the state of every ConvLSTM.
        latest: the last two frames, `[H, W]` each; none before the first.
        mean: running mean of the frames, `[H, W]`; None before the first, or where the
            network does not see what moves.
        count: frames seen.
    """

    check: FrameCheck
    carry: Any
    latest: tuple[np.ndarray, ...] = ()
    mean: np.ndarray | None = None
    count: int = 0


@dataclass(frozen=True)
class StreamTracker:
    """A causal generator behind the `Tracker` protocol, one frame at a time.

    Frames must be like those of `cfg.study`, in view, domain and spacing. A frame that
    is refused (a NaN in it, a wrong time) leaves the state as it was: the stream goes
    on with the next one. The reference is checked and not used.

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
        object.__setattr__(self, "learned", TrainingDomain.from_study(self.cfg.study))

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> StreamState:
        """See `Tracker.init`; `periodic` changes nothing."""
        check = begin(geometry, reference, domain=domain, learned=self.learned)
        shape = (1, 1, geometry.rows, geometry.cols)
        shape += (stack_channels(self.cfg.data.stack),)
        # A shape is enough: the carry is zeros, and nothing is computed.
        stack = jax.ShapeDtypeStruct(shape, jnp.float32)
        carry = networks.init_carry(self.generator, self.params, stack)
        return StreamState(check, carry)

    def step(
        self, state: StreamState, frame: np.ndarray, time_s: float
    ) -> tuple[StreamState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        frames = (*state.latest, frame)
        # Frame 0 stands for the frames before it, as in `stack_frames`.
        frames = (frames[0],) * (len(OFFSETS["causal"]) - len(frames)) + frames
        channels, mean = list(frames), state.mean
        if self.cfg.data.stack == MOVING_PAST:
            mean = _running_mean(mean, frame, state.count)
            channels.append(np.float32(MOTION_GAIN) * (frame - mean))
        stack = np.stack(channels, axis=-1)[None, None]
        carry, answer = _next(self.generator, self.params, state.carry, stack)
        track = make_track(
            state.count,
            np.asarray(answer[0, 0]),
            check.geometry,
            threshold=self.cfg.evaluation.threshold,
            one_component=self.cfg.evaluation.answer == "component",
        )
        state = StreamState(check, carry, frames[1:], mean, state.count + 1)
        return state, track

    def flush(self, state: StreamState) -> list[Track]:
        """See `Tracker.flush`: nothing is owed."""
        return []


# The carry is not donated: a state that was kept may be gone on from again.
# Static: the module hashes by its attributes. Weights and carry are traced.
_next = functools.partial(jax.jit, static_argnums=0)(networks.step)


def _running_mean(mean: np.ndarray | None, frame: np.ndarray, count: int) -> np.ndarray:
    """Mean of the frames so far, `[H, W]`, as `stack_frames` takes it; not in place."""
    if mean is None:
        return frame
    return mean + np.float32(running_weight(count)) * (frame - mean)
