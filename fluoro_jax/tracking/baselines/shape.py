"""The mean outline of the training tumours, and putting an outline somewhere."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fluoro_jax.metrics import centroid_px


def place_mask(
    mask: np.ndarray, place_px: np.ndarray, *, of_px: np.ndarray | None = None
) -> np.ndarray:
    """Moves a mask or probability so that its centroid is at `place_px`.

    Args:
        mask: `[H, W]` in [0, 1].
        place_px: (row, column) in pixels.
        of_px: (row, column) of the point that is moved there; None for its centroid.

    Returns:
        `[H, W]` float32 in [0, 1]; bilinear between pixels, cut at the frame's border.
    """
    mask = np.asarray(mask, np.float32)
    of_px = centroid_px(mask) if of_px is None else of_px
    shift = np.asarray(place_px, float) - of_px
    # Order 1 keeps the values in [0, 1] up to rounding; a cubic would overshoot.
    moved = ndimage.shift(mask, shift, order=1, mode="constant", cval=0.0)
    return np.clip(moved, 0.0, 1.0)


def place_outline(mask: np.ndarray, place_px: np.ndarray) -> np.ndarray:
    """Moves a mask so that its centroid is at `place_px`, and keeps its size.

    Cut at a half: between pixels `place_mask` blurs the edge, and a lower threshold
    would make the outline larger than it is.

    Args:
        mask: `[H, W]` in {0, 1}.
        place_px: (row, column) in pixels.

    Returns:
        `[H, W]` float32 in {0, 1}.
    """
    # Of an array it is an array, which NumPy's types do not say.
    return np.float32(place_mask(mask, place_px) >= 0.5)  # pyright: ignore


def mean_shape(masks: np.ndarray, *, limit: int = 200) -> np.ndarray:
    """Returns the average of masks moved to the middle of the frame, `[H, W]`.

    Args:
        masks: `[..., H, W]` in {0, 1}; empty ones are left out.
        limit: at most so many masks, evenly spread (the mean has settled by then).

    Returns:
        Share of the tumours that cover each pixel, the tumour's centroid at the middle.

    Raises:
        ValueError: no mask has a tumour.
    """
    masks = np.asarray(masks).reshape(-1, *np.shape(masks)[-2:])
    masks = masks[masks.any(axis=(1, 2))]
    if len(masks) == 0:
        raise ValueError("no training mask holds a tumour")
    # Evenly spread, since neighbours are frames of one case. `unique` drops the repeats
    # where there are fewer masks than the limit.
    chosen = masks[np.unique(np.linspace(0, len(masks) - 1, limit).astype(int))]
    middle = (np.array(masks.shape[-2:]) - 1) / 2
    return np.mean([place_mask(mask, middle) for mask in chosen], axis=0)
