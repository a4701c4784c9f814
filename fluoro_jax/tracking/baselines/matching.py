"""Parts of the trackers that follow the pattern of frame 0.

Lengths in mm are in the isocentre plane; places and shifts are (row, column) px.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from fluoro_jax.clip import Track
from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Geometry, iso_pixel_mm, position_iso_mm
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.shape import place_mask
from fluoro_jax.tracking.checks import Reference
from fluoro_jax.tracking.tracker import make_track

Pair = tuple[int, int]
SIDE_PX = 5  # the peak's own surroundings, left out of the side lobe (Bolme 2010)
# Ours: a peak so many standard deviations above the side lobe has confidence 0.5.
HALF_CONFIDENCE = 5.0
LEAST_PX = 0.45  # of a band; 0.6 mm at the pixel for which it was tuned are 0.48
FLAT = 1e-10  # a variance under this share of the whole region's is rounding
LEAST_CONFIDENCE = 0.5  # below, the status is "low_confidence"


@dataclass(frozen=True)
class Patch:
    """A rectangle cut out of a frame around the tumour.

    Attributes:
        values: `[h, w]` float32.
        corner_px: (row, column) of its first pixel in that frame.
    """

    values: np.ndarray
    corner_px: Pair


@dataclass(frozen=True)
class Match:
    """Where a patch is found in another frame.

    Attributes:
        shift_px: `[2]` from the place where the patch was cut out.
        score: the normalised cross-correlation there, in [-1, 1].
        peak_to_sidelobe: (peak - mean) / SD of the correlation away from the peak.
    """

    shift_px: np.ndarray
    score: float
    peak_to_sidelobe: float

    @property
    def confidence(self) -> float:
        """Returns p / (p + 5) of the peak-to-sidelobe ratio p, in [0, 1)."""
        ratio = max(self.peak_to_sidelobe, 0.0)
        return ratio / (ratio + HALF_CONFIDENCE)


def need_reference(reference: Reference | None) -> Reference:
    """Returns the reference, which this tracker cannot do without.

    Raises:
        UserError: if it is None.
    """
    if reference is None:
        refuse(
            "no reference",
            "frame 0 and its mask",
            why="the tracker searches for the pattern of frame 0",
            fix="pass reference=(frame, mask)",
        )
    return reference


def to_px(geometry: Geometry, length_mm: float | tuple[float, float]) -> Pair:
    """Returns mm in the isocentre plane as whole (row, column) px, at least 1 each."""
    pitch = iso_pixel_mm(geometry)
    down, right = np.broadcast_to(np.asarray(length_mm, float), 2) / pitch
    return max(1, round(down)), max(1, round(right))


def band_pass(
    frame: np.ndarray, geometry: Geometry, band_mm: tuple[float, float] | None
) -> np.ndarray:
    """Returns a frame's difference of two Gaussian means.

    Args:
        frame: `[H, W]`.
        geometry: the view; gives a pixel its mm.
        band_mm: standard deviations of the finer and of the coarser mean, mm in the
            isocentre plane; None returns the frame as it is. Where the finer is
            under `LEAST_PX` both are larger in proportion.

    Returns:
        `[H, W]` float32, the finer mean minus the coarser.
    """
    frame = np.asarray(frame, np.float32)
    if band_mm is None:
        return frame
    sigma_px = np.array(band_mm)[:, None] / np.array(iso_pixel_mm(geometry))
    # Under half a pixel nothing is averaged, and the difference is the noise.
    sigma_px = sigma_px * max(1.0, LEAST_PX / sigma_px.min())
    fine, coarse = (
        ndimage.gaussian_filter(frame, sigma, mode="nearest") for sigma in sigma_px
    )
    return fine - coarse


def cut_patch(frame: np.ndarray, mask: np.ndarray, margin_px: Pair) -> Patch:
    """Returns the mask's bounding box and a margin, cut out of a frame.

    Args:
        frame: `[H, W]`.
        mask: `[H, W]`, not empty.
        margin_px: (rows, columns) on every side, as far as the frame goes.
    """
    ends = []
    for axis in (0, 1):
        inside = np.flatnonzero((np.asarray(mask) >= 0.5).any(axis=1 - axis))
        low = max(int(inside[0]) - margin_px[axis], 0)
        ends.append((low, min(int(inside[-1]) + margin_px[axis] + 1, mask.shape[axis])))
    (top, bottom), (left, right) = ends
    values = np.ascontiguousarray(frame[top:bottom, left:right], np.float32)
    return Patch(values, (top, left))


def match_patch(
    frame: np.ndarray, patch: Patch, around_px: np.ndarray, search_px: Pair
) -> Match:
    """Finds a patch in a frame by normalised cross-correlation.

    Args:
        frame: `[H, W]`; beyond its border its nearest pixel is taken, since a step
            to black would decide the correlation there.
        patch: what is searched for.
        around_px: `[2]` shift around which it is searched for, rounded.
        search_px: (rows, columns) by which the shift may differ from it.

    Returns:
        The best shift, refined by a quadratic through the 3 x 3 values around the peak;
        `around_px` itself with a score of 0 where nothing resembles the patch, as in
        a blank frame, or where the patch is constant.
    """
    near = np.round(np.asarray(around_px, float)).astype(int)
    # One pixel more on every side, so that every peak has neighbours to be refined by.
    reach = np.array(search_px) + 1
    start = np.array(patch.corner_px) + near - reach
    region = _region(frame, start, np.array(patch.values.shape) + 2 * reach)
    beyond = correlations(region, patch.values)
    scores = beyond[1:-1, 1:-1]
    peak = np.array(np.unravel_index(int(scores.argmax()), scores.shape))
    # Where all are alike the largest is the first, a corner of the search.
    if scores[tuple(peak)] <= 0.0:
        return Match(np.asarray(around_px, float), 0.0, 0.0)
    refined = refine_peak(beyond, (int(peak[0]) + 1, int(peak[1]) + 1))
    shift = near + peak - search_px + refined
    score = float(scores[tuple(peak)])
    return Match(shift, score, _peak_to_sidelobe(scores, peak))


def correlations(region: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Returns the correlation of a pattern with a region at every place within it.

    Pearson's, in [-1, 1]; 0 where one of the two is constant.

    Args:
        region: `[H, W]`.
        pattern: `[h, w]`, no larger.

    Returns:
        `[H - h + 1, W - w + 1]` float64.
    """
    region, pattern = np.asarray(region, float), np.asarray(pattern, float)
    if pattern.var() <= 1e-24 * np.square(pattern).mean():
        return np.zeros(np.subtract(region.shape, pattern.shape) + 1)
    rounding = 1e-24 * np.square(region).mean()  # what subtracting a mean leaves
    region, pattern = region - region.mean(), pattern - pattern.mean()
    least = max(FLAT * region.var(), rounding)
    sums = lambda values: signal.fftconvolve(values, np.ones(pattern.shape), "valid")
    # Of the window under the pattern: n times its variance.
    spread = sums(np.square(region)) - np.square(sums(region)) / pattern.size
    dots = signal.fftconvolve(region, pattern[::-1, ::-1], "valid")
    # What is left of a constant window after rounding is no structure.
    seen = spread > least * pattern.size
    norm = np.sqrt(np.where(seen, spread, 1.0) * np.square(pattern).sum())
    return np.clip(np.where(seen, dots / norm, 0.0), -1.0, 1.0)


def refine_peak(scores: np.ndarray, peak: Pair) -> np.ndarray:
    """Returns the maximum of a quadratic through 3 x 3 values, from the middle one.

    f = c + g'x + x'Hx/2 in least squares; the maximum is at -H^-1 g.

    Args:
        scores: `[h, w]`.
        peak: (row, column) of the largest.

    Returns:
        `[2]` (row, column) px, within 1 each; 0 at a border or without a maximum.
    """
    row, col = peak
    inside = 1 <= row < scores.shape[0] - 1 and 1 <= col < scores.shape[1] - 1
    if not inside:
        return np.zeros(2)
    f = scores[row - 1 : row + 2, col - 1 : col + 2].astype(float)
    # Closed-form least squares on the nine points.
    slope = np.array([f[2].sum() - f[0].sum(), f[:, 2].sum() - f[:, 0].sum()]) / 6.0
    bend_rows = (f[0] + f[2] - 2.0 * f[1]).sum() / 3.0
    bend_cols = (f[:, 0] + f[:, 2] - 2.0 * f[:, 1]).sum() / 3.0
    twist = (f[2, 2] + f[0, 0] - f[0, 2] - f[2, 0]) / 4.0
    hessian = np.array([[bend_rows, twist], [twist, bend_cols]])
    if not (np.linalg.eigvalsh(hessian) < 0.0).all():
        return np.zeros(2)
    return np.clip(-np.linalg.solve(hessian, slope), -1.0, 1.0)


def patch_at(frame: np.ndarray, patch: Patch, shift_px: np.ndarray) -> np.ndarray:
    """Returns what a frame shows where a patch has moved to, `[h, w]`, bilinear."""
    start = np.array(patch.corner_px) + shift_px
    places = np.indices(patch.values.shape) + start[:, None, None]
    frame = np.asarray(frame, np.float32)
    return ndimage.map_coordinates(frame, places, order=1, mode="nearest")


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Returns Pearson's correlation of two arrays; 0 if one of them is constant."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / norm if norm > 0.0 else 0.0


def moved_track(
    frame: int,
    mask: np.ndarray,
    shift_px: np.ndarray,
    geometry: Geometry,
    *,
    confidence: float,
) -> Track:
    """Returns the `Track` of a mask moved as a whole.

    The centroid is the mask's own plus the shift, exact to a fraction of a pixel.

    Args:
        frame: index of the frame.
        mask: `[H, W]`, the mask before it moved.
        shift_px: `[2]`.
        geometry: the view.
        confidence: in [0, 1].
    """
    place = centroid_px(np.asarray(mask)) + shift_px
    track = make_track(frame, place_mask(mask, place), geometry)
    if track.status == "missed":
        return track
    return at_place(track, place, geometry, confidence=confidence)


def at_place(
    track: Track, place_px: np.ndarray, geometry: Geometry, *, confidence: float
) -> Track:
    """Returns a track with its centroid and confidence set, and its status from it."""
    return dataclasses.replace(
        track,
        centroid_px=np.asarray(place_px, float),
        centroid_iso_mm=np.asarray(position_iso_mm(geometry, place_px)),
        confidence=float(confidence),
        status="ok" if confidence >= LEAST_CONFIDENCE else "low_confidence",
    )


def _region(frame: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Returns `size` pixels of a frame from `start` on, its border repeated beyond."""
    rows, cols = (
        np.clip(np.arange(first, first + count), 0, most - 1)
        for first, count, most in zip(start, size, frame.shape, strict=True)
    )
    return np.ascontiguousarray(frame[np.ix_(rows, cols)], np.float32)


def _peak_to_sidelobe(scores: np.ndarray, peak: np.ndarray) -> float:
    rows, cols = np.ogrid[: scores.shape[0], : scores.shape[1]]
    near = (abs(rows - peak[0]) <= SIDE_PX) & (abs(cols - peak[1]) <= SIDE_PX)
    side = scores[~near] if not near.all() else scores
    spread = float(side.std())
    return float(scores.max() - side.mean()) / spread if spread > 0.0 else 0.0
