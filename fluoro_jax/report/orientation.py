"""A picture of one frame with the patient's axes and a scale bar, to check by eye."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.io.files import beside

BAR_MM = (100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0)
INK = "#E69F00"  # orange of the Okabe-Ito palette, on grey
SPOTS = {"left": (0.02, 0.5), "right": (0.98, 0.5), "top": (0.5, 0.98)}
SPOTS["bottom"] = (0.5, 0.02)


def draw_orientation(
    path: Path,
    frame: np.ndarray,
    domain: str,
    view: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> None:
    """Writes the picture as PNG, whole or not at all.

    Args:
        path: of the picture.
        frame: `[H, W]`, seen from the source, superior up.
        domain: of the frame; counts are shown with bone white too.
        view: the known numbers of the geometry: what is missing is not drawn.
        facts: of `describe`: edges and axes by name.
    """
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    rows, cols = frame.shape
    # Bone white, whatever the file's polarity: one look for all formats.
    shown = -frame if domain == "counts" else frame
    low, high = np.percentile(shown, (0.5, 99.5))
    down, right = facts.get("pixel_iso_mm", (1.0, 1.0))
    height = 7.0 * min(rows * down / (cols * right), 2.0)
    figure = Figure(figsize=(7.0, height + 1.1), dpi=120)
    axes = figure.add_axes((0.02, 0.02, 0.96, height / (height + 1.1) - 0.02))
    axes.imshow(shown, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
    # Pixels as they are in the patient: oblong ones are drawn oblong.
    axes.set_aspect(down / right)
    axes.set_xticks([])
    axes.set_yticks([])
    for side, end in facts.get("edges", {}).items():
        x, y = SPOTS[side]
        across = {"left": "left", "right": "right"}.get(side, "center")
        along = {"top": "top", "bottom": "bottom"}.get(side, "center")
        axes.text(
            x,
            y,
            end,
            transform=axes.transAxes,
            color=INK,
            # Read on white bone and on black lung alike.
            path_effects=[withStroke(linewidth=3, foreground="black")],
            fontsize=20,
            fontweight="bold",
            ha=across,
            va=along,
        )
    if "pixel_iso_mm" in facts:
        _scale_bar(axes, rows, cols, right)
        _isocentre(axes, rows, cols, view)
    # Two dollar signs in the name of a file are no formula.
    words = dict(fontsize=9, y=0.99, va="top", parse_math=False)
    figure.suptitle("\n".join(_words(facts, domain)), **words)
    with beside(path) as (fresh,):
        # No metadata: software versions and dates would make equal pictures differ.
        figure.savefig(fresh, metadata={"Software": None})


def _scale_bar(axes: Any, rows: int, cols: int, pixel_mm: float) -> None:
    from matplotlib.patheffects import withStroke

    wide = cols * pixel_mm
    length = next((one for one in BAR_MM if one <= wide / 3.0), BAR_MM[-1])
    left, low = 0.04 * cols, 0.95 * rows
    axes.plot([left, left + length / pixel_mm], [low, low], color=INK, linewidth=4)
    axes.text(
        left,
        low - 0.02 * rows,
        f"{length:g} mm at isocentre",
        color=INK,
        path_effects=[withStroke(linewidth=2, foreground="black")],
        va="bottom",
    )


def _isocentre(axes: Any, rows: int, cols: int, view: Mapping[str, Any]) -> None:
    if "offset_mm" not in view:
        return
    (down, right), (dy, dx) = view["offset_mm"], view["pixel_mm"]
    row, col = (rows - 1) / 2 - down / dy, (cols - 1) / 2 - right / dx
    if 0 <= row < rows and 0 <= col < cols:
        axes.plot([col], [row], marker="+", color=INK, markersize=18, markeredgewidth=2)


def _words(facts: Mapping[str, Any], domain: str) -> list[str]:
    words = [f"{facts['what']}, frame 0 of {facts['frames']}, domain {domain}"]
    geometry = facts.get("geometry", {})
    if "gantry_deg" in geometry:
        told = geometry["gantry_deg"]
        words.append(f"angle {told['value']:g} degrees from {told['source']}")
    position = facts.get("about", {}).get("patient_position", "as the file's axes")
    words.append(f"patient position: {position}; seen from the source; + isocentre")
    if facts.get("missing"):
        words.append(f"missing: {len(facts['missing'])}, see the record")
    return words
