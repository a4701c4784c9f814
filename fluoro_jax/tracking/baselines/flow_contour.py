"""Optical flow, then a search for the reference pattern around where it leads.

Flow follows large displacements and drifts; correlation with the pattern of frame 0,
searched a few pixels around, takes the drift away. The contour is rigid.

Source:
    Xu et al. 2008, PMC2673603, which searches for the best correlation around the
    place found by flow. Departures: DIS in place of their flow; the search is in mm and
    wider than their 2 pixels, by tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry
from fluoro_jax.tracking.baselines.flow import FlowState, FlowTracker, advance
from fluoro_jax.tracking.baselines.matching import (
    band_pass,
    match_patch,
    moved_track,
    to_px,
)
from fluoro_jax.tracking.checks import Reference, next_frame

# What `tune` tries; a coarser grid came before (docs/rivals.md).
SETTINGS: tuple[Mapping[str, Any], ...] = tuple(
    {"search_mm": search_mm, "flow": FlowTracker(mode="successive", band_mm=band_mm)}
    for search_mm in (5.0, 10.0, 15.0)
    for band_mm in (None, (1.0, 4.0), (3.0, 20.0))
)


@dataclass(frozen=True)
class FlowContourTracker:
    """Flow from frame to frame, corrected by correlation with frame 0.

    Attributes:
        flow: finds the displacement that the search begins from.
        search_mm: either way of it, mm in the isocentre plane.
    """

    flow: FlowTracker = field(
        default_factory=lambda: FlowTracker(mode="successive", band_mm=None)
    )
    search_mm: float = 15.0
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> FlowState:
        """See `Tracker.init`; `periodic` and `domain` change nothing here.

        Raises:
            UserError: no reference, or OpenCV is not installed.
        """
        return self.flow.init(geometry, reference, periodic=periodic, domain=domain)

    def step(
        self, state: FlowState, frame: np.ndarray, time_s: float
    ) -> tuple[FlowState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        geometry = check.geometry
        filtered = band_pass(frame, geometry, self.flow.band_mm)
        now = self.flow.picture(state, filtered)
        near = self.flow.shift_px(state, now)
        match = match_patch(
            filtered, state.patch, near, to_px(geometry, self.search_mm)
        )
        track = moved_track(
            state.frame,
            state.mask,
            match.shift_px,
            geometry,
            confidence=max(0.0, match.score),
        )
        origin = self.flow.next_origin(state, now)
        return advance(state, check, origin, match.shift_px), track

    def flush(self, state: FlowState) -> list[Track]:
        """Nothing is owed."""
        return []
