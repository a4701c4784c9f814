"""A tracker that never moves: what the place and the shape alone are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.shape import mean_shape, place_mask
from fluoro_jax.tracking.tracker import Reference, make_track


@dataclass(frozen=True)
class StaticState:
    """The one answer, and the index of the next frame."""

    geometry: Geometry
    probability: np.ndarray
    frame: int = 0


@dataclass(frozen=True)
class StaticTracker:
    """Answers one outline for ever; never looks at a frame.

    Blind, it is the training tumours' mean shape at their mean position. Given frame
    0, it is the true mask of frame 0.

    Attributes:
        shape: `[H, W]` mean training shape, in [0, 1].
        place_px: `[2]` mean training centroid.
        threshold: probability from which a pixel is tumour.
    """

    shape: np.ndarray
    place_px: np.ndarray
    threshold: float = 0.5
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    @classmethod
    def fit(cls, arrays: Mapping[str, Any], *, threshold: float = 0.5) -> StaticTracker:
        """From training arrays: mask `[N, T, H, W]` and centroid_px `[N, T, 2]`."""
        place = np.asarray(arrays["centroid_px"], float).mean(axis=(0, 1))
        return cls(mean_shape(arrays["mask"]), place, threshold)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
    ) -> StaticState:
        """See `Tracker.init`; `periodic` changes nothing here."""
        shape, place = start_from(reference, self.shape, self.place_px)
        return StaticState(geometry, place_mask(shape, place))

    def step(
        self, state: StaticState, frame: np.ndarray, time_s: float
    ) -> tuple[StaticState, Track | None]:
        """See `Tracker.step`; the frame is not used."""
        track = make_track(
            state.frame, state.probability, state.geometry, threshold=self.threshold
        )
        return StaticState(state.geometry, state.probability, state.frame + 1), track

    def flush(self, state: StaticState) -> list[Track]:
        """Nothing is owed."""
        return []


def start_from(
    reference: Reference | None, shape: np.ndarray, place_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shape `[H, W]` and place `[2]` of frame 0: the reference's, or the given."""
    if reference is None:
        return shape, place_px
    mask = np.asarray(reference[1], np.float32)
    return mask, centroid_px(mask)
