"""Figures of a plan: all learning curves, and all parts side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluoro_jax.evaluation.statistics import FEW
from fluoro_jax.evaluation.summary import (
    PHASE_PRIORS,
    causality,
    column,
    given_to,
    value,
)
from fluoro_jax.experiments.roles import SECTIONS, select
from fluoro_jax.report.drawing import canvas, styled
from fluoro_jax.report.figures import DPI, OURS, write_columns

Records = Mapping[str, Mapping[str, Any]]
# In the order drawn: ours last, so that its dot lies over the others'.
TRACKERS: dict[str, str] = {
    **dict(zip(PHASE_PRIORS, ("#009E73", "#CC79A7"), strict=True)),
    **{"ours_frame0": "#0072B2", "ours": OURS},
}
MEASURES = ("iou", "vertical_iso_mm")
POINTS = ("eval/iou", "eval/vertical_mm")
# Of Okabe and Ito's; beyond as many runs of a section the dash tells them apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")


def draw(parts: Mapping[str, Any], records: Records, workdir: Path) -> list[Path]:
    """Writes `figures/curves.png` and `figures/parts.png`, each with its CSV.

    Args:
        parts: of the plan, by name, in the order to be drawn.
        records: of those that were run.
        workdir: of the plan.

    Returns:
        Paths of the PNGs.
    """
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    # In the plan's order, not that of the records.
    order = {name: records[name] for name in parts if name in records}
    drawn = [parts_side_by_side(order, folder / "parts.png")]
    if any(record["curve"] for record in _without_ablations(records).values()):
        drawn.append(curves(records, folder / "curves.png"))
    return drawn


def captions(records: Records) -> dict[str, str]:
    """Returns a caption for each figure of `draw`, by the name of its file."""
    found = {}
    shown = _without_ablations(records)
    if shown:
        counts = ", ".join(f"{n} {r['table']['n_cases']}" for n, r in shown.items())
        found["parts"] = (
            "Mean IoU and mean vertical error over the test cases of each part, each "
            "case averaged over its frames, with the 95 % BCa interval over cases "
            "(sub-group: over patients; patient: over the cases of one patient). "
            f"Filled: mean and interval; open: median and range, under {FEW} cases. "
            f"Test cases: {counts}. One seed a part. “ours” is the network, the phase "
            "priors use no image (causal, lookahead 0); “frame0”: shown frame 0 with "
            "its true mask (not drawn where a clip is one frame)."
        )
    trained = [record for record in shown.values() if record["curve"]]
    if trained:
        cases = sorted({record["config"]["study"]["num_val"] for record in trained})
        found["curves"] = (
            "Validation IoU and mean vertical error (mm at the isocentre) against the "
            "training step, a row of axes a section of the plan, a line a run (one "
            "seed) but the ablations: means over all frames of the validation cases "
            f"({', '.join(map(str, cases))} by study), without intervals."
        )
    return found


@styled
def curves(records: Records, path: Path) -> Path:
    """Draws validation IoU and vertical error (mm at the isocentre) against the step.

    A row of axes for each section of the plan, since studies differ in both by orders
    of magnitude, and steps too.

    Args:
        records: with `curve`, a list of points; a line each, but the ablations.
        path: of the PNG; the CSV stands beside it.
    """
    shown = {n: r for n, r in _without_ablations(records).items() if r["curve"]}
    sections = [s for s in SECTIONS if select(shown, section=s)]
    # A line of the legend is 0.16 inches high.
    heights = [max(2.2, 0.16 * len(select(shown, section=s))) for s in sections]
    fig = canvas((9.0, sum(heights) + 0.4))
    grid = fig.subplots(len(sections), 2, squeeze=False, height_ratios=heights)
    rows: list[tuple[str, str, float, float]] = []
    for axes, section in zip(grid, sections, strict=True):
        rows += _curves_of(select(shown, section=section), axes)
        axes[0].set(title=section, ylabel="validation IoU", ylim=(0, 1))
        axes[1].set(ylabel="vertical error [mm]", yscale="log")
        axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=7)
    for axis in grid[-1]:
        axis.set_xlabel("training step")
    head = ("part", "name", "step", "value")
    columns: dict[str, Any] = dict(zip(head, zip(*rows, strict=True), strict=True))
    write_columns(path.with_suffix(".csv"), columns)
    fig.savefig(path, dpi=DPI)
    return path


def _curves_of(runs: Records, axes: Any) -> list[tuple[str, str, float, float]]:
    """Draws a line a run on each axis; returns rows of (run, measure, step, value)."""
    rows = []
    looks = itertools.cycle(itertools.product(DASHES, COLOURS))
    for (name, run), (dash, colour) in zip(runs.items(), looks, strict=False):
        steps = [point["step"] for point in run["curve"]]
        look: dict[str, Any] = dict(color=colour, ls=dash, label=name)
        for axis, key in zip(axes, POINTS, strict=True):
            values = [point[key] for point in run["curve"]]
            axis.plot(steps, values, marker="o", ms=2.5, lw=1.2, **look)
            rows += [(name, key, s, v) for s, v in zip(steps, values, strict=True)]
    return rows


@styled
def parts_side_by_side(records: Records, path: Path) -> Path:
    """Draws IoU and vertical error with 95 % intervals, the phase priors beside."""
    shown = _without_ablations(records)
    names = list(shown)
    fig = canvas((9.5, 0.34 * len(names) + 1.3))
    axes = fig.subplots(1, 2, sharey=True)
    rows = []
    for axis, key in zip(axes, MEASURES, strict=True):
        for place, name in enumerate(reversed(names)):
            table = shown[name]["table"]
            for who in _comparable(shown[name]):
                found, colour = value(table, key, who), TRACKERS[who]
                if found["mean"] is None:
                    continue
                # One label a tracker in the legend, from the lowest row.
                label = who.replace("_", " ") if place == 0 else None
                middle, low, high, kind = _shown(found)
                axis.plot([low, high], [place] * 2, color=colour)
                fill = colour if kind == "mean" else "white"
                look = {"color": colour, "mfc": fill, "ms": 4, "label": label}
                axis.plot(middle, place, "o", **look)
                seen = causality(column(table, who))
                rows.append((name, key, who, seen, kind, middle, low, high, found["n"]))
        axis.grid(alpha=0.25)
    axes[0].set_yticks(range(len(names)), names[::-1], fontsize=7)
    axes[0].set(xlabel="IoU, 95 % interval", xlim=(0, 1))
    axes[1].set(xlabel="vertical error [mm at isocentre], 95 % interval")
    axes[1].set_xscale("log")
    axes[0].legend(fontsize=7, loc="upper left")
    head = ("part", "measure", "tracker", "causal_lookahead")
    head += ("statistic", "middle", "low", "high", "n")
    # `zip(*[])` has no columns to name.
    columns: dict[str, Any] = (
        dict(zip(head, zip(*rows, strict=True), strict=True)) if rows else {}
    )
    write_columns(path.with_suffix(".csv"), columns)
    fig.savefig(path, dpi=DPI)
    return path


def _comparable(record: Mapping[str, Any]) -> list[str]:
    """Trackers of a part; of clips of one frame none that is shown frame 0 itself."""
    columns = {one["key"]: one for one in record["table"]["columns"]}
    one_frame = record["config"]["study"]["num_frames"] == 1
    given = lambda who: columns[who]["given"] == given_to(frame0=True)
    return [w for w in TRACKERS if w in columns and not (one_frame and given(w))]


def _shown(found: Mapping[str, Any]) -> tuple[float, float, float, str]:
    """Mean and interval; of few cases median and range, or in old records the mean."""
    if found["n"] >= FEW:
        return found["mean"], found["low"], found["high"], "mean"
    if found.get("median") is None:
        return found["mean"], found["mean"], found["mean"], "mean without interval"
    return found["median"], found["least"], found["most"], "median and range"


def _without_ablations(records: Records) -> Records:
    return {n: r for n, r in records.items() if r["section"] != "ablation"}
