"""Predicts one fixed outline: the score of place and shape alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.shape import mean_shape, place_mask
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame
from fluoro_jax.tracking.tracker import make_track


@dataclass(frozen=True)
class StaticState:
    """The one answer, and the index of the next frame."""

    check: FrameCheck
    probability: np.ndarray
    frame: int = 0


@dataclass(frozen=True)
class StaticTracker:
    """Answers the same outline for every frame; uses no frame.

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
        domain: str = "line_integral",
    ) -> StaticState:
        """See `Tracker.init`; `periodic` and `domain` change nothing here."""
        check = begin(geometry, reference, domain=domain)
        check_shape(geometry, self.shape)
        shape, place = start_from(reference, self.shape, self.place_px)
        return StaticState(check, place_mask(shape, place))

    def step(
        self, state: StaticState, frame: np.ndarray, time_s: float
    ) -> tuple[StaticState, Track | None]:
        """See `Tracker.step`; the frame is checked and not used."""
        check, _ = next_frame(state.check, frame, time_s)
        track = make_track(
            state.frame, state.probability, check.geometry, threshold=self.threshold
        )
        return StaticState(check, state.probability, state.frame + 1), track

    def flush(self, state: StaticState) -> list[Track]:
        """Nothing is owed."""
        return []


def check_shape(geometry: Geometry, shape: np.ndarray) -> None:
    """Refuses a view with other pixels than the training masks have.

    Raises:
        UserError: if `shape` is not `[rows, cols]` of the view.
    """
    if np.shape(shape) != (geometry.rows, geometry.cols):
        raise UserError(
            f"a view of {geometry.rows} x {geometry.cols} pixels",
            needed="{} x {}, as the training masks".format(*np.shape(shape)),
            why="the baseline places an outline learned in those pixels",
            fix="fit the baseline to clips of this view",
        )


def start_from(
    reference: Reference | None, shape: np.ndarray, place_px: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shape `[H, W]` and place `[2]` of frame 0: the reference's, or the given."""
    if reference is None:
        return shape, place_px
    mask = np.asarray(reference[1], np.float32)
    return mask, centroid_px(mask)
