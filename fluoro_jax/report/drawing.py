"""Parts of figures: canvas, frame in millimetres, outline, letters, scale bar."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
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
    """Returns an empty figure apart from pyplot: no window, no backend is touched."""
    from matplotlib.figure import Figure as Canvas

    return Canvas(figsize=size, layout="constrained")


def extent_mm(geometry: Geometry) -> tuple[float, float, float, float]:
    """Returns (left, right, bottom, top) of the frame, mm at the isocentre."""
    corners = np.array([[-0.5, -0.5], [geometry.rows - 0.5, geometry.cols - 0.5]])
    # Half a pixel out: the extent is of the pixels' edges, positions are of their
    # centres.
    (top, left), (bottom, right) = np.asarray(position_iso_mm(geometry, corners))
    return left, right, bottom, top


def place_mm(geometry: Geometry, points_px: np.ndarray) -> np.ndarray:
    """Returns pixels `[T, 2]` as (superior, right of image) mm at the isocentre."""
    return np.asarray(position_iso_mm(geometry, np.asarray(points_px)))


def draw_outline(
    axis: Any, clip: Clip, mask: np.ndarray, look: Mapping[str, Any]
) -> None:
    """Draws the border of a mask `[H, W]` on an axis in mm; nothing if it is empty.

    Args:
        axis: in mm at the isocentre.
        clip: gives the geometry.
        mask: boolean.
        look: `color`, `ls` and `lw` of the line.
    """
    if not mask.any():
        return
    left, right, bottom, top = extent_mm(clip.geometry)
    rows, cols = mask.shape
    x = left + (np.arange(cols) + 0.5) * (right - left) / cols
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    # `contour` wants the centres of the pixels, in the axis' millimetres; rows run
    # downward.
    axis.contour(
        *(x, y, mask.astype(float), [0.5]),
        colors=[look["color"]],
        linestyles=[look["ls"]],
        linewidths=[look["lw"]],
    )


def draw_letters(axis: Any, gantry_deg: float) -> None:
    """Marks S and I, and which sides of the patient are left and right."""
    right = right_of_image(gantry_deg)
    # Other angles show no side alone, so no letter would be right.
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
    """Returns the patient's side at the right of the image, seen from the source."""
    names = {0: "left", 90: "posterior", 180: "right", 270: "anterior"}
    return names.get(round(gantry_deg) % 360, f"right of image at {gantry_deg:g} deg")


def crop_mm(
    geometry: Geometry, masks: np.ndarray, *, margin_mm: float = 15.0
) -> tuple[float, float, float, float]:
    """Returns (left, right, bottom, top) of a square around all masks, in mm.

    Where the frame is narrower than the square, the frame's width or height.

    Args:
        geometry: of the clip.
        masks: `[T, H, W]` boolean; all empty gives the whole frame.
        margin_mm: on each side of the masks.
    """
    left, right, bottom, top = extent_mm(geometry)
    frames, rows, cols = np.nonzero(masks)
    if len(frames) == 0:
        return left, right, bottom, top
    ends = np.array([[f(rows), f(cols)] for f in (np.min, np.max)])
    # Rows count downward, millimetres upward: the smallest row is the highest place.
    (high, low_x), (low, high_x) = place_mm(geometry, ends)
    middle = (0.5 * (low_x + high_x), 0.5 * (low + high))
    # Square, so that millimetres are as long on both axes.
    half = 0.5 * max(high_x - low_x, high - low) + margin_mm
    wide, tall = min(half, 0.5 * (right - left)), min(half, 0.5 * (top - bottom))
    # Kept inside the frame, so that no panel has an empty margin
    x = float(np.clip(middle[0], left + wide, right - wide))
    y = float(np.clip(middle[1], bottom + tall, top - tall))
    return x - wide, x + wide, y - tall, y + tall


def draw_scale_bar(axis: Any, length_mm: float = 50.0) -> None:
    """Draws a white bar of `length_mm` at the lower left."""
    left, right = axis.get_xlim()
    bottom, top = axis.get_ylim()
    x, y = left + 0.06 * (right - left), bottom + 0.06 * (top - bottom)
    axis.plot([x, x + length_mm], [y, y], color="white", lw=2, solid_capstyle="butt")
    axis.text(
        x, y + 0.02 * (top - bottom), f"{length_mm:.0f} mm", color="w", fontsize=6
    )


def shade_empty(axis: Any, time_s: np.ndarray, empty: np.ndarray) -> None:
    """Draws a yellow band at each frame with an empty prediction."""
    half = 0.5 * float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.5
    # Half a spacing to either side: bands of consecutive frames touch.
    for when in time_s[empty]:
        axis.axvspan(when - half, when + half, color="#F0E442", alpha=0.5, lw=0)
