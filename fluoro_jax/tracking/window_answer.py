"""What of a window's probability maps is the tumour, as `evaluation` asks."""

from __future__ import annotations

import numpy as np

from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.shape import place_mask
from fluoro_jax.tracking.path import most_probable_path

INSIDE = 0.5  # mean probability from which a pixel is inside the outline of a clip


def window_answer(
    maps: np.ndarray,
    *,
    answer: str,
    outline: str,
    threshold: float,
    pixel_mm: np.ndarray,
    frame_s: float,
    repeated: int = 0,
    slides: bool = False,
) -> np.ndarray:
    """Returns the maps of a window with what is not the tumour set to 0.

    Args:
        maps: `[T, H, W]` probabilities.
        answer: `evaluation.answer`; "component" leaves those of one component a frame,
            any other leaves all.
        outline: `evaluation.outline`; with "clip" it is that of `clip_outline`.
        threshold: probability from which a pixel is tumour.
        pixel_mm: `[2]` (row, column) pitch in the isocentre plane.
        frame_s: time between two frames.
        repeated: copies of frame 0 that the window begins with; no outline counts them.
        slides: the clip has frames before or after the window.
    """
    if answer != "component":
        return maps
    found = most_probable_path(maps, threshold, pixel_mm=pixel_mm, frame_s=frame_s)
    if outline == "clip":
        outlined = clip_outline(found[repeated:], threshold, ends=not slides)
        found = np.concatenate([found[:repeated], outlined])
    return found


def clip_outline(
    maps: np.ndarray, threshold: float, *, ends: bool = True
) -> np.ndarray:
    """Gives every frame of a clip the same outline, at the centroid of its own mask.

    A tumour that moves hardly changes its projection, so what differs between the
    masks of a clip is mostly error. The maps are moved until the centroids of their
    masks meet, and averaged; inside is where the mean is at least `INSIDE`. If at least
    half of the frames have a mask, others get the outline too, where the centroids
    interpolated between the frames before and after say.

    Args:
        maps: `[T, H, W]` probabilities of one component a frame.
        threshold: probability from which a pixel belongs to a frame's mask; at most
            `INSIDE`, so that nothing inside is cut off later.
        ends: frames before the first mask, and after the last, get it where that is.

    Returns:
        `[T, H, W]` the mean inside the outline, 0 outside; `INSIDE` inside where the
        place is interpolated, since nothing was found there. Frames whose mask touches
        the border stay as they are, since a part of the tumour may be cut off, and so
        do those without a mask next to them; a frame in which too small an outline
        would vanish between the pixels; and a clip whose mean is under `INSIDE`
        everywhere.
    """
    masks = maps >= threshold
    places_px = centroid_px(masks)
    seen = np.isfinite(places_px).all(axis=-1)
    whole = np.flatnonzero(seen & ~_at_border(masks))
    if not whole.size:
        return maps
    middle = np.array(maps.shape[-2:]) // 2
    moved = [place_mask(maps[t], middle, of_px=places_px[t]) for t in whole]
    mean = np.mean(moved, axis=0)
    if not (mean >= INSIDE).any():
        return maps
    answer = maps.copy()
    for t in whole:
        placed = place_mask(mean, places_px[t])
        if (placed >= INSIDE).any():
            answer[t] = np.where(placed >= INSIDE, placed, 0.0)
    for t in _between(seen, whole, ends=ends) if seen.mean() >= 0.5 else ():
        # Beyond the first and the last: where that one is.
        place_px = [np.interp(t, whole, axis) for axis in places_px[whole].T]
        placed = place_mask(mean, np.array(place_px))
        answer[t] = np.where(placed >= INSIDE, INSIDE, 0.0)
    return answer


def _between(seen: np.ndarray, whole: np.ndarray, *, ends: bool) -> list[int]:
    """Frames without a mask whose neighbours with one, before and after, are whole."""
    found = np.flatnonzero(seen)
    chosen = []
    for t in np.flatnonzero(~seen):
        beside = [*found[found < t][-1:], *found[found > t][:1]]
        if (ends or len(beside) == 2) and set(beside) <= set(whole):
            chosen.append(int(t))
    return chosen


def _at_border(masks: np.ndarray) -> np.ndarray:
    """`[T]` whether a mask touches the border of the frame."""
    rows, cols = masks[:, [0, -1], :], masks[:, :, [0, -1]]
    return np.logical_or(rows.any(axis=(1, 2)), cols.any(axis=(1, 2)))
