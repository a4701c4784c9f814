"""Figures of a study: PNGs with a CSV beside each that shows numbers.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines differ in
dash as well. Lengths are mm in the isocentre plane.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.evaluation.statistics import FrameScores
from fluoro_jax.geometry import axis_names
from fluoro_jax.report.drawing import (
    canvas,
    crop_mm,
    draw_letters,
    draw_outline,
    draw_scale_bar,
    extent_mm,
    place_mm,
    right_of_image,
    shade_empty,
    styled,
)

TRUTH, OURS = "#56B4E9", "#D55E00"
# On a frame the truth is a wide solid line and the prediction a dashed one over it, so
# that both are seen where they coincide.
TRUTH_LINE = {"color": TRUTH, "ls": "-", "lw": 3.0}
OURS_LINE = {"color": "#E69F00", "ls": (0, (2.2, 1.6)), "lw": 1.6}
BAR_MM = 20.0
STYLES = {  # colour, dash
    "truth": ("#000000", "-"),
    "ours": (OURS, "-"),
    "ours_online": ("#E69F00", "--"),
    "static": ("#999999", ":"),
    "static_frame0": ("#999999", "-."),
    "phase_prior": ("#009E73", ":"),
    "phase_prior_frame0": ("#009E73", "-."),
}
MORE_STYLES = (("#CC79A7", "--"), ("#0072B2", "-."), ("#56B4E9", ":"))  # any other key
DPI = 130


@dataclass(frozen=True)
class Figure:
    """A figure of the report.

    Attributes:
        path: of the PNG.
        title: a few words.
        caption: what is shown, over what, and how it was made.
    """

    path: Path
    title: str
    caption: str


@dataclass(frozen=True)
class Example:
    """One case to be shown.

    Attributes:
        title: the case and why it was chosen.
        clip: frames and true masks, `[T, H, W]`.
        pred: predicted masks, `[T, H, W]`.
        iou: of each frame, `[T]` in [0, 1].
    """

    title: str
    clip: Clip
    pred: np.ndarray
    iou: np.ndarray


OVERLAY_CAPTION = (
    "True outline (blue, wide, solid) and the network's (orange, dashed, over it) on "
    "line integrals, bone and tumour bright, seen from the source. Left: the whole "
    "frame with the region shown beside it; right: that region, which holds the true "
    f"outlines of the clip. Bars: 50 and {BAR_MM:.0f} mm at the isocentre. "
)
CHOSEN = (
    "Single frames of single test cases, chosen by their truth, except the network's "
    "worst; one seed. (The paper's figure 5.)"
)


@styled
def overlays(
    examples: Sequence[Example],
    path: Path,
    *,
    frames: Sequence[int],
    caption: str = CHOSEN,
) -> Figure:
    """Draws rows of frames with both outlines, as the paper's figure 5.

    Args:
        examples: a row each.
        path: of the PNG.
        frames: which frames are shown, enlarged around the tumour; the first stands
            whole at the left too.
        caption: of the cases and frames; how they are drawn is put before it.
    """
    from matplotlib.lines import Line2D

    fig = canvas((2.35 * (len(frames) + 1), 2.85 * len(examples) + 0.3))
    bands = np.atleast_1d(fig.subfigures(len(examples), 1))
    for band, example in zip(bands, examples, strict=True):
        band.suptitle(example.title, x=0.01, ha="left", fontsize=9, fontweight="bold")
        row = band.subplots(1, len(frames) + 1, squeeze=False)[0]
        region = crop_mm(example.clip.geometry, np.asarray(example.clip.mask) >= 0.5)
        _frame_with_outlines(row[0], example, frames[0])
        draw_scale_bar(row[0])
        _draw_region(row[0], region)
        for axis, t in zip(row[1:], frames, strict=True):
            _frame_with_outlines(axis, example, t)
            axis.set(xlim=region[:2], ylim=region[2:])
        draw_scale_bar(row[1], BAR_MM)
    lines = [
        Line2D([], [], **TRUTH_LINE, label="truth"),
        Line2D([], [], **OURS_LINE, label="network"),
    ]
    fig.legend(
        handles=lines, loc="outside lower center", ncols=2, frameon=False, fontsize=8
    )
    return save(fig, path, "Outlines on the frames", OVERLAY_CAPTION + caption)


def _draw_region(axis: Any, region: tuple[float, float, float, float]) -> None:
    """Marks the enlarged region on a whole frame."""
    left, right, bottom, top = region
    x, y = [left, right, right, left, left], [bottom, bottom, top, top, bottom]
    axis.plot(x, y, color="white", lw=0.8, ls=":")


def _frame_with_outlines(axis: Any, example: Example, t: int) -> None:
    clip = example.clip
    shown = np.asarray(clip.frames)
    low, high = np.percentile(shown, [1, 99.7])  # one grey scale for the clip
    axis.imshow(
        shown[t],
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=extent_mm(clip.geometry),
        interpolation="bicubic",
    )
    draw_outline(axis, clip, np.asarray(clip.mask)[t], TRUTH_LINE)
    draw_outline(axis, clip, example.pred[t], OURS_LINE)
    draw_letters(axis, float(clip.geometry.gantry_deg))
    when = float(np.asarray(clip.time_s)[t])
    axis.set_title(f"{when:.1f} s   IoU {example.iou[t]:.2f}", fontsize=7)
    axis.set_axis_off()


@styled
def traces(
    clip: Clip,
    centroids_px: Mapping[str, np.ndarray],
    path: Path,
    *,
    labels: Mapping[str, str],
    title: str,
    caption: str,
) -> Figure:
    """Draws the centroid against time on both axes: truth, network, baselines.

    Frames for which the network's prediction is empty are shaded.

    Args:
        clip: gives times, view and the true masks' centroids under "truth" in
            `centroids_px`.
        centroids_px: `[T, 2]` by name; "truth" and "ours" are needed.
        path: of the PNG.
        labels: names for the legend.
        title: of the figure.
        caption: of the figure.
    """
    time_s = np.asarray(clip.time_s)
    places = {k: place_mm(clip.geometry, v) for k, v in centroids_px.items()}
    wide = 8.0 if len(time_s) <= 20 else 10.0
    fig = canvas((wide, 6.0))
    axes = fig.subplots(3, 1, sharex=True)
    gantry_deg = float(clip.geometry.gantry_deg)
    names, sides = axis_names(gantry_deg), ("superior", right_of_image(gantry_deg))
    for i, axis in enumerate(axes[:2]):
        _trace_lines(axis, time_s, {k: v[:, i] for k, v in places.items()}, labels)
        axis.set_ylabel(f"{names[i]} [mm], + {sides[i]}", fontsize=8)
        error = places["ours"][:, i] - places["truth"][:, i]
        colour = ("#0072B2", "#CC79A7")[i]
        axes[2].plot(time_s, error, color=colour, label=names[i], lw=1.3)
    axes[2].axhspan(-3, 3, color="0.92", zorder=0)  # as `within_3mm`
    for axis in axes:
        shade_empty(axis, time_s, np.isnan(places["ours"][:, 0]))
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
    handles, words = axes[0].get_legend_handles_labels()
    fig.legend(
        *(handles, words),
        loc="outside upper center",
        ncols=len(places),
        frameon=False,
        fontsize=8,
    )
    axes[2].set_ylabel("network - truth [mm]", fontsize=8)
    axes[2].legend(fontsize=7, ncols=2, loc="upper right")
    axes[2].set_xlabel("time [s]", fontsize=8)
    write_columns(path.with_suffix(".csv"), _trace_columns(time_s, places))
    return save(fig, path, title, caption)


def styles_of(keys: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Returns (colour, dash) of each method; keys without their own take turns."""
    more = itertools.cycle(MORE_STYLES)
    return {key: STYLES[key] if key in STYLES else next(more) for key in keys}


def _trace_columns(
    time_s: np.ndarray, places: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    columns = {"time_s": time_s}
    for key, place in places.items():
        columns |= {f"{key}_vertical_mm": place[:, 0]}
        columns |= {f"{key}_horizontal_mm": place[:, 1]}
    return columns


def _trace_lines(
    axis: Any,
    time_s: np.ndarray,
    lines: Mapping[str, np.ndarray],
    labels: Mapping[str, str],
) -> None:
    styles = styles_of(lines)
    for key, values in lines.items():
        colour, dash = styles[key]
        wide = 2.2 if key == "truth" else 1.3
        mark = "o" if key == "ours" else None
        look = {"color": colour, "ls": dash, "lw": wide, "marker": mark, "ms": 2.5}
        axis.plot(time_s, values, label=labels[key], **look)


@styled
def error_distribution(
    scores: Mapping[str, Sequence[FrameScores]],
    path: Path,
    *,
    labels: Mapping[str, str],
) -> Figure:
    """Draws the network's signed errors and the cumulative distances of all."""
    fig = canvas((8.6, 3.3))
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.2))
    shift = np.concatenate([s.shift_iso_mm[~s.empty] for s in scores["ours"]])
    shift = shift[~np.isnan(shift).any(axis=1)]
    reach = max(3.0, float(np.percentile(np.abs(shift), 99)) if len(shift) else 3.0)
    bins = np.linspace(-reach, reach, 41)
    looks = (("vertical", "#0072B2"), ("horizontal", "#CC79A7"))
    for i, (name, colour) in enumerate(looks):
        inside = np.clip(-shift[:, i] if i == 0 else shift[:, i], -reach, reach)
        left.hist(inside, bins, histtype="step", color=colour, label=name, lw=1.5)
    left.set_xlabel("network - truth [mm at isocentre], + superior / right of image")
    left.set_ylabel("frames")
    left.legend(fontsize=7)
    grid_mm = np.linspace(0, 20, 201)
    columns, styles = {"distance_mm": grid_mm}, styles_of(scores)
    for key, each in scores.items():
        distance_mm = np.concatenate(
            [np.where(s.empty, np.inf, s.distance_mm) for s in each]
        )
        distance_mm = distance_mm[~np.isnan(distance_mm)]
        share = 100.0 * np.mean(distance_mm[None, :] <= grid_mm[:, None], axis=1)
        colour, dash = styles[key]
        right.plot(grid_mm, share, color=colour, ls=dash, label=labels[key], lw=1.5)
        columns[f"{key}_pct"] = share
    for limit in (2, 3):  # mm, two of the limits that tables count
        right.axvline(limit, color="0.7", lw=0.8)
    right.set(xlim=(0, 20), ylim=(0, 101), ylabel="frames within [%]")
    right.set_xlabel("centroid distance [mm at isocentre]")
    right.legend(fontsize=7, loc="lower right")
    right.grid(alpha=0.25)
    write_columns(path.with_suffix(".csv"), columns)
    return save(
        fig,
        path,
        "Errors, frame by frame",
        f"All frames of {len(scores['ours'])} test cases, one seed, without intervals "
        "(frames of one case are alike). Left: the network's signed centroid errors "
        f"on the {len(shift)} frames whose prediction is not empty; the outermost bins "
        "hold everything beyond. Right: share of all frames within a distance (an "
        "empty prediction is within none); thin lines at 2 and 3 mm.",
    )


@styled
def learning_curves(
    metrics_path: Path, path: Path, *, choices: str = ""
) -> Figure | None:
    """Draws losses, validation IoU and validation errors against the step.

    Args:
        metrics_path: the run's metrics.jsonl.
        path: of the PNG.
        choices: a sentence on which cases choices were made, for the caption.

    Returns:
        None if the log has nothing to draw.
    """
    curves = read_curves(metrics_path)
    panels = _panels(curves)
    if not panels:
        return None
    fig = canvas((3.5 * len(panels), 3.1))
    axes = fig.subplots(1, len(panels), squeeze=False)
    palette = ("#0072B2", OURS, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
    rows = []
    for axis, (name, keys) in zip(axes[0], panels, strict=True):
        for i, key in enumerate(sorted(keys)):
            steps, values = curves[key]
            short = key.split("/")[-1].removesuffix("_mm")
            colour = palette[i % len(palette)]
            axis.plot(steps, values, color=colour, label=short, lw=1.3)
            rows += [(key, s, v) for s, v in zip(steps, values, strict=True)]
        axis.set(xlabel="step", title=name)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.25)
        if name == "losses" and all(min(curves[k][1]) > 0 for k in keys):
            axis.set_yscale("log")
    head = ("name", "step", "value")
    columns: dict[str, Any] = dict(zip(head, zip(*rows, strict=True), strict=True))
    write_columns(path.with_suffix(".csv"), columns)
    return save(
        fig,
        path,
        "Learning curves",
        "From metrics.jsonl, one run (one seed). Validation values are means over all "
        "frames of the validation split, used neither for training nor for testing. "
        + choices,
    )


def _panels(curves: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Title and keys of each panel that has something to show."""
    panels = [
        ("losses", [k for k in curves if _is_loss(k)]),
        ("validation IoU", [k for k in curves if k.startswith("eval/") and "iou" in k]),
        (
            "validation error [mm at isocentre]",
            [k for k in curves if k.endswith("_mm")],
        ),
    ]
    return [(name, keys) for name, keys in panels if keys]


def read_curves(metrics_path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Returns (steps, values) by name from a JSON-lines log, without broken lines."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    lines = metrics_path.read_text().splitlines() if metrics_path.exists() else []
    for line in lines:
        try:
            record = json.loads(line)
            step = float(record["step"])
        except (ValueError, KeyError, TypeError):
            continue  # a line cut short by a killed run
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(step)
                values.append(float(value))
    return curves


def _is_loss(name: str) -> bool:
    parts = ("l1", "ssim", "iou", "cross_entropy")
    return name.startswith("train/") and name.split("/")[-1] in parts


def write_columns(path: Path, columns: Mapping[str, Iterable[Any]]) -> None:
    """Writes the numbers of a figure as a CSV, a column each."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.keys())
        writer.writerows(zip(*columns.values(), strict=True))


def save(fig: Any, path: Path, title: str, caption: str) -> Figure:
    """Writes the PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=DPI)
    return Figure(path, title, caption)
