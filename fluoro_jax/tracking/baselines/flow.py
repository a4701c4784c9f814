"""Optical flow of the tumour's surroundings; the outline moves by one vector of it.

Dense inverse search (OpenCV's DIS) on the region that the tumour may reach, band-passed
and resampled to pixels of one size in mm, so that frames of any size are treated alike.
"reference" takes the flow from frame 0 to every frame, begun with the last answer;
"successive" adds up the flows between frames, and with them their errors.

Source:
    Kroeger et al. 2016, arXiv:1603.03590. Preset medium: patches of 8 pixels, 3 apart,
    25 iterations of gradient descent and 5 of variational refinement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.tracking.baselines.extras import check_form, optional
from fluoro_jax.tracking.baselines.matching import (
    Patch,
    band_pass,
    correlation,
    cut_patch,
    moved_track,
    need_reference,
    patch_at,
    to_px,
)
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame

MODES = ("reference", "successive")
AVERAGES = {"mean": np.mean, "median": np.median}
RANGE_PERCENT = (1.0, 99.0)  # of frame 0, mapped to DIS's 8 bits
# What `tune` tries; a coarser grid came before (docs/rivals.md).
SETTINGS: tuple[Mapping[str, Any], ...] = tuple(
    {"band_mm": band_mm, "average": average, "pixel_mm": pixel_mm}
    for band_mm in (None, (0.6, 1.2), (1.5, 10.0), (3.0, 20.0))
    for average in AVERAGES
    for pixel_mm in (1.0, 2.0)
)


@dataclass(frozen=True)
class FlowState:
    """The tumour's displacement in the newest frame, and what the next flow needs.

    Attributes:
        check: what the check of the next frame needs.
        region: (rows, columns) of the frame that flow is found in.
        span: the two values that 8 bits run between.
        weight: `[h, w]` bool, the region's pixels inside the contour of frame 0.
        patch: the contour's surroundings in frame 0, band-passed.
        mask: `[H, W]` of frame 0.
        origin: the region of the frame that flow starts from, `[h, w]` 8 bits.
        shift_px: `[2]` from frame 0.
        frame: index of the next frame.
    """

    check: FrameCheck
    region: tuple[slice, slice]
    span: tuple[float, float]
    weight: np.ndarray
    patch: Patch
    mask: np.ndarray
    origin: np.ndarray
    shift_px: np.ndarray
    frame: int = 0


@dataclass(frozen=True)
class FlowTracker:
    """Moves the mask of frame 0 by the optical flow inside it.

    Attributes:
        mode: "reference" (from frame 0 to every frame) or "successive" (from frame to
            frame).
        average: "median" or "mean" of the flow inside the contour.
        band_mm: standard deviations of the difference of Gaussians, mm in the
            isocentre plane; None takes frames as they are.
        reach_mm: (vertical, horizontal) around the tumour of frame 0, mm in the
            isocentre plane: the region that flow is found in.
        pixel_mm: side of the pixels that flow is found on, in the isocentre plane.

    Raises:
        UserError: for another mode or average.
    """

    mode: str = "reference"
    average: str = "median"
    band_mm: tuple[float, float] | None = (3.0, 20.0)
    reach_mm: tuple[float, float] = (40.0, 25.0)
    pixel_mm: float = 2.0
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_form("mode", self.mode, MODES)
        check_form("average", self.average, AVERAGES)

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
        check = begin(geometry, reference, domain=domain)
        frame, mask = need_reference(reference)
        cv2 = optional("cv2")
        mask = np.asarray(mask, np.float32)
        filtered = band_pass(frame, geometry, self.band_mm)
        reach = cut_patch(filtered, mask, to_px(geometry, self.reach_mm))
        (top, left), (rows, cols) = reach.corner_px, reach.values.shape
        region = (slice(top, top + rows), slice(left, left + cols))
        low, high = np.percentile(reach.values, RANGE_PERCENT)
        span = (float(low), float(max(high, low + 1e-6)))
        origin = to_bytes(filtered[region], geometry, span, self.pixel_mm)
        size = (origin.shape[1], origin.shape[0])
        weight = cv2.resize(mask[region], size, interpolation=cv2.INTER_LINEAR) >= 0.5
        patch = cut_patch(filtered, mask, to_px(geometry, 2.0))
        return FlowState(check, region, span, weight, patch, mask, origin, np.zeros(2))

    def step(
        self, state: FlowState, frame: np.ndarray, time_s: float
    ) -> tuple[FlowState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        filtered = band_pass(frame, check.geometry, self.band_mm)
        now = self.picture(state, filtered)
        shift = self.shift_px(state, now)
        seen = patch_at(filtered, state.patch, shift)
        confidence = max(0.0, correlation(seen, state.patch.values))
        track = moved_track(
            state.frame, state.mask, shift, check.geometry, confidence=confidence
        )
        return advance(state, check, self.next_origin(state, now), shift), track

    def flush(self, state: FlowState) -> list[Track]:
        """Nothing is owed."""
        return []

    def picture(self, state: FlowState, filtered: np.ndarray) -> np.ndarray:
        """Returns the region of a band-passed frame that flow is found on, 8 bits."""
        part, view = filtered[state.region], state.check.geometry
        return to_bytes(part, view, state.span, self.pixel_mm)

    def next_origin(self, state: FlowState, now: np.ndarray) -> np.ndarray:
        """Returns the picture that the flow to the next frame starts from."""
        return now if self.mode == "successive" else state.origin

    def shift_px(self, state: FlowState, now: np.ndarray) -> np.ndarray:
        """Returns the displacement from frame 0 to a frame, `[2]` px of the clip.

        Args:
            state: before the frame.
            now: its `picture`.
        """
        # Pixels of the clip to those that the flow is found on.
        scale = np.array(now.shape) / [s.stop - s.start for s in state.region]
        moved = state.shift_px * scale
        if self.mode == "successive":
            weight = _moved(state.weight, moved)
            step = mean_flow(state.origin, now, weight, np.zeros(2), self.average)
            return state.shift_px + step / scale
        return mean_flow(state.origin, now, state.weight, moved, self.average) / scale


def advance(
    state: FlowState, check: FrameCheck, origin: np.ndarray, shift_px: np.ndarray
) -> FlowState:
    """Returns the state after a frame that the tumour is at `shift_px` in."""
    return FlowState(
        check,
        state.region,
        state.span,
        state.weight,
        state.patch,
        state.mask,
        origin,
        shift_px,
        state.frame + 1,
    )


def mean_flow(
    origin: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    first_px: np.ndarray,
    average: str,
) -> np.ndarray:
    """Returns the average flow from one picture to another inside a contour.

    Args:
        origin: `[h, w]` 8 bits.
        target: likewise.
        weight: `[h, w]` bool; where the flow counts, in `origin`.
        first_px: `[2]` (row, column) flow to begin with.
        average: one of `AVERAGES`.

    Returns:
        `[2]` (row, column) px; `first_px` if the contour is empty.

    Raises:
        UserError: if OpenCV is not installed.
    """
    if not weight.any():
        return first_px
    cv2 = optional("cv2")
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)  # the preset's finest scale is half of the pixels
    start = np.empty((*origin.shape, 2), np.float32)
    start[...] = first_px[::-1]  # OpenCV has (x, y)
    flow = search.calc(origin, target, start)[weight]
    column, row = AVERAGES[average](flow, axis=0)
    return np.array([row, column], float)


def to_bytes(
    values: np.ndarray,
    geometry: Geometry,
    span: tuple[float, float],
    pixel_mm: float,
) -> np.ndarray:
    """Returns a part of a frame on square pixels, 8 bits between two values.

    Args:
        values: `[h, w]`, a part of a frame.
        geometry: the view of the frame.
        span: the values that become 0 and 255.
        pixel_mm: side of the new pixels in the isocentre plane.
    """
    cv2 = optional("cv2")
    rows, cols = np.array(values.shape) * iso_pixel_mm(geometry) / pixel_mm
    size = (max(round(cols), 16), max(round(rows), 16))  # DIS needs two patches
    shrinks = iso_pixel_mm(geometry)[0] < pixel_mm
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    even = cv2.resize(np.ascontiguousarray(values), size, interpolation=how)
    low, high = span
    share = np.clip((even - low) / (high - low), 0.0, 1.0)
    return np.round(share * 255).astype(np.uint8)


def _moved(weight: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    """Returns a contour moved by whole pixels, cut at the border."""
    moved = np.zeros_like(weight)
    rows, cols = np.nonzero(weight)
    index = np.round(np.stack([rows, cols]) + shift_px[:, None]).astype(int)
    ends = np.array(weight.shape)[:, None]
    index = index[:, ((index >= 0) & (index < ends)).all(axis=0)]
    moved[tuple(index)] = True
    return moved
