"""A forward-only network as a tracker that reads each frame once.

Where `NetworkTracker` runs a whole window for every frame, this one keeps the state of
every ConvLSTM between frames: a frame costs one frame's work, and its answer may depend
on all frames since the first, where a window forgets.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.models import generator as networks
from fluoro_jax.tracking.tracker import Reference, frame_of_view, make_track


@dataclass(frozen=True)
class StreamState:
    """What is kept between two frames.

    Attributes:
        geometry: the view.
        carry: the state of every ConvLSTM.
        latest: the last two frames, `[H, W]` each; none before the first.
        count: frames seen.
    """

    geometry: Geometry
    carry: Any
    latest: tuple[np.ndarray, ...] = ()
    count: int = 0


@dataclass(frozen=True)
class StreamTracker:
    """A causal generator behind the `Tracker` protocol, one frame at a time.

    Frames must come at the spacing the network was trained on (`cfg.study.frame_s`).
    The reference is not used: the network sees images only.

    Attributes:
        generator: module with `bidirectional` False.
        params: its parameters.
        cfg: the run's config (data.stack "causal", evaluation.threshold).

    Raises:
        UserError: for a network that reads later frames.
    """

    generator: Any
    params: Any
    cfg: Any
    causal: bool = True
    lookahead_frames: int = 0

    def __post_init__(self) -> None:
        stack, both = self.cfg.data.stack, self.generator.bidirectional
        if both or stack != "causal":
            raise UserError(
                f'gen.bidirectional = {both}, data.stack = "{stack}"',
                needed='gen.bidirectional = False and data.stack = "causal"',
                why="a stream has no later frame to read when it answers",
                fix="train with both, or use NetworkTracker with a window",
            )

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
    ) -> StreamState:
        """See `Tracker.init`; `periodic` changes nothing."""
        shape = (1, 1, geometry.rows, geometry.cols, 3)
        stack = jax.ShapeDtypeStruct(shape, jnp.float32)
        carry = networks.init_carry(self.generator, self.params, stack)
        return StreamState(geometry, carry)

    def step(
        self, state: StreamState, frame: np.ndarray, time_s: float
    ) -> tuple[StreamState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        frame = frame_of_view(frame, state.geometry)
        frames = (*state.latest, frame)
        frames = (frames[0],) * (3 - len(frames)) + frames
        stack = np.stack(frames, axis=-1)[None, None]
        carry, answer = _next(self.generator, self.params, state.carry, stack)
        track = make_track(
            state.count,
            np.asarray(answer[0, 0]),
            state.geometry,
            threshold=self.cfg.evaluation.threshold,
        )
        state = replace(state, carry=carry, latest=frames[1:], count=state.count + 1)
        return state, track

    def flush(self, state: StreamState) -> list[Track]:
        """See `Tracker.flush`: nothing is owed."""
        return []


# The carry is not donated: a state that was kept may be gone on from again.
_next = functools.partial(jax.jit, static_argnums=0)(networks.step)
