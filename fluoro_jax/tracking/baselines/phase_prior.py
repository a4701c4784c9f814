"""Predicts the mean training trajectory by frame index, without the image.

Where every clip is one regular cycle from the same phase, such a tracker may score
well: a baseline for every network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry
from fluoro_jax.tracking.baselines.shape import (
    mean_shape,
    place_mask,
    place_outline,
)
from fluoro_jax.tracking.baselines.static import check_shape, start_from
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame
from fluoro_jax.tracking.tracker import make_track


@dataclass(frozen=True)
class PhasePriorState:
    """Outline, place and time of frame 0, and the index of the next frame."""

    check: FrameCheck
    shape: np.ndarray
    start_px: np.ndarray
    given: bool = False
    frame: int = 0
    start_s: float | None = None


@dataclass(frozen=True)
class PhasePriorTracker:
    """Moves one outline along the mean training path; uses no image.

    Blind, it starts from the mean training shape and position. Given frame 0, from
    the true mask of frame 0, and adds the mean training *displacement*. After the last
    frame of the training cycle it begins again.

    Attributes:
        shape: `[H, W]` mean training shape, in [0, 1].
        path_px: `[T, 2]` mean training centroid by frame index.
        threshold: probability from which a pixel is tumour.
        frame_s: time between the frames of `path_px`; None accepts any.
        by_time: read the path at the time since frame 0, modulo the training cycle, and
            accept frames at any times; else by the number of the frame.
    """

    shape: np.ndarray
    path_px: np.ndarray
    threshold: float = 0.5
    frame_s: float | None = None
    by_time: bool = False
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    @classmethod
    def fit(
        cls,
        arrays: Mapping[str, Any],
        *,
        threshold: float = 0.5,
        by_time: bool = False,
    ) -> PhasePriorTracker:
        """Fits the baseline to training arrays.

        Args:
            arrays: mask `[N, T, H, W]`, centroid_px `[N, T, 2]`, and time_s `[N, T]`
                if clips of another frame spacing are to be refused.
            threshold: probability from which a pixel is tumour.
            by_time: see the attribute; needs time_s.
        """
        path = np.asarray(arrays["centroid_px"], float).mean(axis=0)
        gaps = np.diff(np.asarray(arrays.get("time_s", np.zeros((1, 1))), float))
        # Training clips share their times, so one spacing stands for all.
        frame_s = float(np.median(gaps)) if gaps.size else None
        return cls(mean_shape(arrays["mask"]), path, threshold, frame_s, by_time)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> PhasePriorState:
        """See `Tracker.init`; `periodic` and `domain` change nothing here."""
        spacing_s = None if self.by_time else self.frame_s
        check = begin(geometry, reference, domain=domain, frame_s=spacing_s)
        check_shape(geometry, self.shape)
        shape, start = start_from(reference, self.shape, self.path_px[0])
        return PhasePriorState(check, shape, start, given=reference is not None)

    def step(
        self, state: PhasePriorState, frame: np.ndarray, time_s: float
    ) -> tuple[PhasePriorState, Track | None]:
        """See `Tracker.step`; the frame is checked and not used."""
        check, _ = next_frame(state.check, frame, time_s)
        start_s = time_s if state.start_s is None else state.start_s
        # The prior knows the training cycle alone, and drifts out of phase where
        # breathing is not the training's.
        moved = self._path_px(state.frame, time_s - start_s) - self.path_px[0]
        place = place_outline if state.given else place_mask
        probability = place(state.shape, state.start_px + moved)
        track = make_track(
            state.frame, probability, check.geometry, threshold=self.threshold
        )
        return (
            replace(state, check=check, frame=state.frame + 1, start_s=start_s),
            track,
        )

    def _path_px(self, frame: int, since_s: float) -> np.ndarray:
        """Returns the place on the training path, `[2]` px."""
        count = len(self.path_px)
        if not self.by_time or self.frame_s is None:
            return self.path_px[frame % count]
        # Linear between the path's frames, the last and the first among them.
        phase = (since_s / self.frame_s) % count
        early = int(phase) % count
        late, part = (early + 1) % count, phase - int(phase)
        return (1.0 - part) * self.path_px[early] + part * self.path_px[late]

    def flush(self, state: PhasePriorState) -> list[Track]:
        """Nothing is owed."""
        return []
