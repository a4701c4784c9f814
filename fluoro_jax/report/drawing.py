"""Parts of figures: canvas, frame in millimetres, outline, letters, scale bar."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry, position_iso_mm


def styled(draw_fn: Callable[..., Any]) -> Callable[..., Any]:
    """Draws with the figures' text size, and leaves the user's settings alone."""

    @functools.wraps(draw_fn)
    def draw(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context({"font.size": 8, "axes.titlesize": 9}):
            return draw_fn(*args, **kwargs)

    return draw


def canvas(size: tuple[float, float]) -> Any:
    """An empty figure apart from pyplot, so that no window or backend is touched."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=size, layout="constrained")


def extent_mm(geometry: Geometry) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of the frame, mm at the isocentre."""
    corners = np.array([[-0.5, -0.5], [geometry.rows - 0.5, geometry.cols - 0.5]])
    (top, left), (bottom, right) = np.asarray(position_iso_mm(geometry, corners))
    return left, right, bottom, top


def place_mm(geometry: Geometry, points_px: np.ndarray) -> np.ndarray:
    """Pixels `[T, 2]` to (superior, right of image) mm at the isocentre."""
    return np.asarray(position_iso_mm(geometry, np.asarray(points_px)))


def draw_outline(
    axis: Any, clip: Clip, mask: np.ndarray, colour: str, dash: str
) -> None:
    """The border of a mask `[H, W]` on an axis in mm; nothing if it is empty."""
    if not mask.any():
        return
    left, right, bottom, top = extent_mm(clip.geometry)
    rows, cols = mask.shape
    x = left + (np.arange(cols) + 0.5) * (right - left) / cols
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    axis.contour(
        *(x, y, mask.astype(float), [0.5]),
        colors=[colour],
        linestyles=[dash],
        linewidths=[1.1],
    )


def draw_letters(axis: Any, gantry_deg: float) -> None:
    """S and I above and below; which side of the patient is left and right."""
    right = right_of_image(gantry_deg)
    opposite = {"left": "right", "right": "left"}
    opposite |= {"anterior": "posterior", "posterior": "anterior"}
    marks = [(0.5, 0.95, "S"), (0.5, 0.05, "I")]
    if right in opposite:
        marks += [
            (0.04, 0.5, opposite[right][0].upper()),
            (0.96, 0.5, right[0].upper()),
        ]
    for x, y, letter in marks:
        axis.text(
            *(x, y, letter),
            transform=axis.transAxes,
            color="#F0E442",
            fontsize=7,
            ha="center",
            va="center",
        )


def right_of_image(gantry_deg: float) -> str:
    """What lies at the right of the image, seen from the source."""
    names = {0: "left", 90: "posterior", 180: "right", 270: "anterior"}
    return names.get(round(gantry_deg) % 360, f"right of image at {gantry_deg:g} deg")


def draw_scale_bar(axis: Any, length_mm: float = 50.0) -> None:
    """A white bar of `length_mm` at the lower left."""
    left, right = axis.get_xlim()
    bottom, top = axis.get_ylim()
    x, y = left + 0.06 * (right - left), bottom + 0.06 * (top - bottom)
    axis.plot([x, x + length_mm], [y, y], color="white", lw=2, solid_capstyle="butt")
    axis.text(
        x, y + 0.02 * (top - bottom), f"{length_mm:.0f} mm", color="w", fontsize=6
    )


def shade_lost(axis: Any, time_s: np.ndarray, lost: np.ndarray) -> None:
    """A yellow band at each lost frame."""
    half = 0.5 * float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.5
    for when in time_s[lost]:
        axis.axvspan(when - half, when + half, color="#F0E442", alpha=0.5, lw=0)
