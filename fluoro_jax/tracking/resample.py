"""Clips in the pixels and at the frame spacing that a tracker was trained on.

Space. Both grids lie in the isocentre plane, where one ray is one point whatever the
distance of the detector. A new pixel is the average, over its area, of the bilinear
interpolant of the old pixels: no aliasing when pixels grow, and areas and centroids in
mm are kept. Beyond the old panel its border is repeated.

Time. Nearest frame, never a blend: a blended frame shows the tumour twice. A clip with
frames more often than the tracker's is split into interleaved sequences, so that every
frame gets an answer of its own; one with frames more rarely is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from dataclasses import dataclass

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, iso_pixel_mm
from fluoro_jax.tracking.checks import LONGEST_GAP, OFF, SPACING_OFF
from fluoro_jax.tracking.learned import TrainingDomain

# Ours, all three.
LEAST_COVER = 0.75  # of the tracker's field of view that a clip must show
JITTER = 0.1  # of a frame spacing, by which the ends of a clip may be off
SAME_DEG = 0.5  # of an angle as a machine reports it
WHOLE_COVER = 0.98  # less gives a warning


@dataclass(frozen=True)
class Resampler:
    """Between a clip's pixels and a tracker's.

    Attributes:
        source: the clip's view.
        target: the tracker's view of it.
        cover: share of the target's area that the source shows.
    """

    source: Geometry
    target: Geometry
    cover: float

    def frames(self, frames: np.ndarray) -> np.ndarray:
        """Returns `[T, H, W]` of the source as float32 `[T, h, w]` of the target."""
        return _apply(*self._forth, frames)

    # Kept, as a stream resamples frame by frame.
    @functools.cached_property
    def _forth(self) -> tuple[np.ndarray, np.ndarray]:
        return _weights(self.source, self.target, border="repeat")

    @functools.cached_property
    def _back(self) -> tuple[np.ndarray, np.ndarray]:
        return _weights(self.target, self.source, border="zero")

    def back(self, track: Track, *, frame: int) -> Track:
        """Returns a track of the target's pixels in those of the source.

        The centroid is mapped exactly (millimetres do not change); the probability is
        resampled, 0 beyond the tracker's view.

        Args:
            track: of frames of the target.
            frame: its index in the clip.
        """
        return dataclasses.replace(
            track,
            frame=frame,
            centroid_px=map_px(self.target, self.source, track.centroid_px),
            probability=_apply(*self._back, np.asarray(track.probability)[None])[0],
        )


def make_resampler(view: Geometry, learned: TrainingDomain) -> Resampler:
    """Returns the resampler from `view` to the pixels of `learned`.

    The target keeps the clip's gantry angle and source. Its panel is centred as in
    training; where training panels followed the tumour, it is centred on the clip's.

    Raises:
        UserError: if the clip shows too little of the tracker's field of view.
    """
    trained = learned.view
    source_per_iso = float(view.sdd_mm) / float(view.sad_mm)
    target_per_iso = float(trained.sdd_mm) / float(trained.sad_mm)
    offset_mm = trained.offset_mm
    if not learned.whole_chest:
        # Offsets are at the detector, and the two detectors differ in magnification.
        scale = target_per_iso / source_per_iso
        offset_mm = tuple(float(o) * scale for o in view.offset_mm)
    # The clip's SAD with the magnification of training: rays are the clip's own, and
    # the pixel at the isocentre keeps the trained size.
    target = dataclasses.replace(
        trained,
        gantry_deg=view.gantry_deg,
        sad_mm=float(view.sad_mm),
        sdd_mm=float(view.sad_mm) * target_per_iso,
        offset_mm=(float(offset_mm[0]), float(offset_mm[1])),
    )
    shares = []
    for axis in (0, 1):
        (low, high), (first, last) = _edges_mm(target, axis), _edges_mm(view, axis)
        shares.append(max(min(high, last) - max(low, first), 0.0) / (high - low))
    # Both grids are rectangles along the same axes, so the shares multiply.
    cover = shares[0] * shares[1]
    if cover < LEAST_COVER:
        raise UserError(
            f"frames that show {cover:.0%} of the network's field of view",
            needed=f"at least {LEAST_COVER:.0%} of {_extent(target)} mm at the "
            "isocentre",
            why="the rest would have to be made up",
            fix="use weights trained on a view like this; check pixel_mm and offset_mm",
        )
    turned = learned.turned_deg(float(view.gantry_deg))
    # Of a network that knows several angles: further off than `within` is refused.
    if len(learned.angles_deg) > 1 and turned > SAME_DEG:
        sides = ", ".join(f"{angle:g}" for angle in learned.angles_deg)
        warnings.warn(
            f"WARNING the clip's gantry angle, {float(view.gantry_deg):g} degrees, is "
            f"{turned:.1f} off the nearest of those trained on ({sides}). Next: fit at "
            "this angle too.",
            stacklevel=2,
        )
    if cover < WHOLE_COVER:
        warnings.warn(
            f"WARNING the frames show {cover:.0%} of the network's field of view; the "
            "rest repeats their border, expect larger errors near it. Next: use "
            "weights trained on a view like this.",
            stacklevel=2,
        )
    return Resampler(view, target, cover)


def to_view(clip: Clip, resampler: Resampler) -> Clip:
    """Returns the clip in the target's pixels, its truth included.

    >>> from fluoro_jax.geometry import square_panel
    >>> clip = Clip(np.ones((1, 8, 8)), np.zeros(1), square_panel(8))
    >>> to_view(clip, Resampler(clip.geometry, square_panel(6), 1.0)).frames.shape
    (1, 6, 6)
    """
    mask, centroid = clip.mask, clip.centroid_px
    if mask is not None:
        # A pixel is tumour if at least half of it is: masks neither grow nor shrink.
        mask = (resampler.frames(np.asarray(mask)) >= 0.5).astype(np.float32)
    if centroid is not None:
        centroid = map_px(resampler.source, resampler.target, np.asarray(centroid))
    return dataclasses.replace(
        clip,
        frames=resampler.frames(np.asarray(clip.frames)),
        geometry=resampler.target,
        mask=mask,
        centroid_px=centroid,
    )


def map_px(source: Geometry, target: Geometry, place_px: AnyArray) -> np.ndarray:
    """Returns pixel positions `[..., 2]` (row, column) of one view in another's."""
    (a_down, b_down), (a_right, b_right) = (_affine(source, target, n) for n in (0, 1))
    place = np.asarray(place_px, float)
    return place * np.array([a_down, a_right]) + np.array([b_down, b_right])


def interleave(time_s: np.ndarray, frame_s: float) -> list[np.ndarray]:
    """Splits frames into sequences that are `frame_s` apart.

    >>> [part.tolist() for part in interleave(np.arange(7) * 0.25, 0.5)]
    [[0, 2, 4, 6], [1, 3, 5]]

    Args:
        time_s: `[T]`, increasing.
        frame_s: the spacing wanted.

    Returns:
        Index arrays. Each takes the frames nearest to its first frame's time plus
        multiples of `frame_s`; together they hold every frame, some of them more than
        once where `frame_s` is no multiple of the clip's spacing.

    Raises:
        UserError: if a clip has no frame near enough to one of those times.
    """
    time_s = np.asarray(time_s, float)
    parts: list[np.ndarray] = []
    # Every round takes at least the first frame that is left, so it ends.
    left = np.ones(len(time_s), bool)
    while left.any():
        part = _sequence(time_s, int(np.argmax(left)), frame_s)
        left[part] = False
        parts.append(part)
    return parts


def is_near(time_s: np.ndarray, frame_s: float) -> bool:
    """Returns whether frames are about `frame_s` apart, but for dropped ones.

    >>> is_near(np.array([0.0, 0.25, 0.5, 1.0]), 0.2)
    True

    Args:
        time_s: `[T]`, increasing.
        frame_s: the spacing wanted.
    """
    gaps = np.diff(time_s) / frame_s
    if not len(gaps):
        return True
    usual = abs(np.median(gaps) - 1.0) <= OFF
    return bool(usual and gaps.min() >= 1.0 - OFF and gaps.max() <= LONGEST_GAP)


def _sequence(time_s: np.ndarray, through: int, frame_s: float) -> np.ndarray:
    """Frames `frame_s` apart, before and after frame `through`."""
    steps = (time_s[[0, -1]] - time_s[through]) / frame_s
    first, last = int(np.ceil(steps[0] - JITTER)), int(np.floor(steps[1] + JITTER))
    wanted = time_s[through] + frame_s * np.arange(first, last + 1)
    # `unique` merges a frame that is nearest to two wanted times; the shorter list
    # tells.
    index = np.unique([int(np.abs(time_s - t).argmin()) for t in wanted])
    gaps = np.diff(time_s[index])
    off = np.abs(gaps / frame_s - 1.0)
    repeated = len(index) < len(wanted)
    if repeated or (off.size and off.max() > OFF):
        worst = int(off.argmax()) if off.size else 0
        gap = gaps[worst] if off.size else time_s[-1] - time_s[0]
        raise UserError(
            f"{gap:.4g} s between usable frames, from {time_s[index[worst]]:g} s on",
            needed=f"a frame near every {frame_s:g} s, within {SPACING_OFF:.0%}",
            why="the network has learned how far a tumour moves in that time; frames "
            "in between are not made up",
            fix="use weights trained at this spacing, or cut the clip at its gaps",
        )
    return index


def _edges_mm(view: Geometry, axis: int) -> tuple[float, float]:
    """Returns the panel's ends in the isocentre plane, mm (down or right)."""
    count, pitch = (view.rows, view.cols)[axis], iso_pixel_mm(view)[axis]
    middle = float(view.offset_mm[axis]) * float(view.sad_mm) / float(view.sdd_mm)
    return middle - 0.5 * count * pitch, middle + 0.5 * count * pitch


def _extent(view: Geometry) -> str:
    sides = [high - low for low, high in (_edges_mm(view, 0), _edges_mm(view, 1))]
    return "{:.0f} x {:.0f}".format(*sides)


def _affine(source: Geometry, target: Geometry, axis: int) -> tuple[float, float]:
    """(a, b) with target pixel = a * source pixel + b."""
    fine, coarse = iso_pixel_mm(source)[axis], iso_pixel_mm(target)[axis]
    begin, start = _edges_mm(source, axis)[0], _edges_mm(target, axis)[0]
    # Pixel i has its centre (i + 0.5) pitches from the panel's edge.
    return fine / coarse, (begin + 0.5 * fine - start) / coarse - 0.5


def _weights(
    source: Geometry, target: Geometry, *, border: str
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices `[h, H]` and `[w, W]` that average the interpolant over new pixels."""
    answer = []
    for axis in (0, 1):
        count, many = (source.rows, source.cols)[axis], (target.rows, target.cols)[axis]
        a, b = _affine(target, source, axis)
        low = a * (np.arange(many) - 0.5) + b  # edges of new pixels, in old pixels
        knots = np.arange(count)[None, :]
        # Clipped edges: a new pixel that the border cuts averages the part that is
        # shown, and one wholly beyond it takes the border's pixel.
        if border == "repeat":  # new pixels move to the nearest place that is shown
            high = np.clip(low + a, -0.5, count - 0.5)
            low = np.clip(low, -0.5, count - 0.5)
            empty = high - low < 1e-9
            low = np.where(empty, np.clip(low, 0, count - 1) - 0.5 * a, low)
            high = np.where(empty, low + a, high)
        else:
            high = low + a
        # The interpolant is a sum of hats, one an old pixel; each one's part of a new
        # pixel is the difference of its integral at the two edges.
        part = _hat(high[:, None] - knots) - _hat(low[:, None] - knots)
        # "repeat" averages over what is shown; "zero" over the whole new pixel, so that
        # beyond the panel counts as 0 and areas are kept.
        if border == "repeat":
            part /= part.sum(axis=1, keepdims=True)
        else:
            part /= a
        answer.append(part)
    return answer[0], answer[1]


def _hat(x: np.ndarray) -> np.ndarray:
    """Integral up to `x` of the triangle max(0, 1 - |x|)."""
    x = np.clip(x, -1.0, 1.0)
    return np.where(x < 0.0, 0.5 * (x + 1.0) ** 2, 1.0 - 0.5 * (1.0 - x) ** 2)


def _apply(down: np.ndarray, right: np.ndarray, frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames, np.float32)
    down, right = down.astype(np.float32), right.astype(np.float32)
    return np.einsum("hH,tHW,wW->thw", down, frames, right, optimize=True)
