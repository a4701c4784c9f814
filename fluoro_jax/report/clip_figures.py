"""Figures of one clip's report, each a PNG inside the page with words beside it."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from fluoro_jax.evaluation.track_errors import MISSED_MM, error_mm
from fluoro_jax.geometry import axis_names
from fluoro_jax.io.tracks import TrackTable
from fluoro_jax.report.drawing import canvas, draw_outline, extent_mm, styled

if TYPE_CHECKING:
    from fluoro_jax.report.clip import Tracked

LINES_MM = (2.0, 3.0)
WORST = 6
FOUND = {"color": "#E69F00", "ls": "-", "lw": 1.4}  # as in the player; both are told
TRUTH = {"color": "#0072B2", "ls": "--", "lw": 1.4}  # apart by every eye, and in grey


@styled
def error_figure(tracked: Tracked, truth: TrackTable) -> dict[str, str]:
    """Returns histogram, cumulative curve and Bland-Altman plots of the errors."""
    error, expected = error_mm(tracked.track, truth)
    keep: Any = np.isfinite(error).all(axis=1)
    error, expected = error[keep], expected[keep]
    distance = np.linalg.norm(error, axis=1)
    figure = canvas((11.0, 2.8))
    first, second, *both = figure.subplots(1, 4)
    first.hist(distance, bins=30, color="0.5")
    second.plot(
        np.sort(distance), 100.0 * np.arange(1, len(distance) + 1) / max(len(keep), 1)
    )
    second.set(ylim=(0, 100), ylabel="frames within [%]")
    for axis in (first, second):
        axis.set_xlabel("distance [mm]")
        for mm in LINES_MM:
            axis.axvline(mm, color="0.7", lw=0.8)
    names = axis_names(float(tracked.clip.geometry.gantry_deg))
    for i, axis in enumerate(both):
        if len(error):
            _bland_altman(axis, expected[:, i], error[:, i])
        axis.set(xlabel=f"true {names[i]} [mm]", ylabel="error [mm]")
    words = (
        "Distance in the isocentre plane: histogram and share of frames (lines at 2 "
        "and 3 mm); error against position, with bias and limits of agreement (1.96 "
        "SD). A slope means that the amplitude is damped."
    )
    return {"title": "Errors", "words": words, "png": _png(figure)}


def _bland_altman(axis: Any, place: np.ndarray, error: np.ndarray) -> None:
    axis.plot(place, error, ".", ms=3, color="0.3")
    bias, limit = float(error.mean()), 1.96 * float(error.std())
    for value, style in ((bias, "-"), (bias - limit, "--"), (bias + limit, "--")):
        axis.axhline(value, color=TRUTH["color"], ls=style, lw=1.0)


@styled
def worst_figure(tracked: Tracked, truth: TrackTable) -> dict[str, str]:
    """Returns the six frames with the largest errors; without an answer first."""
    error, _ = error_mm(tracked.track, truth)
    distance = np.linalg.norm(error, axis=1)
    order = np.argsort(-np.where(np.isfinite(distance), distance, np.inf))[:WORST]
    figure = canvas((11.0, 2.4))
    frames, clip = np.asarray(tracked.clip.frames), tracked.clip
    axes = np.atleast_1d(figure.subplots(1, len(order)))
    for axis, index in zip(axes, order, strict=True):
        axis.imshow(frames[index], cmap="gray", extent=extent_mm(clip.geometry))
        draw_outline(axis, clip, tracked.masks[index] > 0, FOUND)
        if clip.mask is not None:
            draw_outline(axis, clip, np.asarray(clip.mask)[index] > 0, TRUTH)
        told = f"{distance[index]:.1f} mm" if np.isfinite(distance[index]) else "missed"
        axis.set_title(f"frame {index}: {told}")
        axis.set(xticks=[], yticks=[])
    words = (
        "The six frames with the largest distance; orange: found, blue dashes: true. "
        f"Over {MISSED_MM:g} mm a frame counts as missed."
    )
    return {"title": "Worst frames", "words": words, "png": _png(figure)}


@styled
def latency_figure(tracked: Tracked) -> dict[str, str]:
    """Returns the times from a frame to its answer, with the frames' spacing."""
    figure = canvas((5.5, 2.4))
    axis = figure.subplots()
    axis.hist(tracked.latency_ms, bins=40, color="0.5")
    gaps = np.diff(tracked.track.time_s)
    if len(gaps):
        axis.axvline(1e3 * float(np.median(gaps)), color=TRUTH["color"], ls="--")
    axis.set(xlabel="from acquisition to answer [ms]", ylabel="frames")
    words = (
        "Time from a frame's acquisition to its answer: the wait for later frames and "
        "the computation on this machine. Dashes: time between frames."
    )
    return {"title": "Latency", "words": words, "png": _png(figure)}


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
