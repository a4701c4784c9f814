"""Pictures of a plan: all learning curves, and all parts side by side."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fluoro_jax.report.drawing import canvas, styled
from fluoro_jax.report.figures import DPI, OURS

Records = Mapping[str, Mapping[str, Any]]
CLOCKS = {"phase_prior": "#009E73", "phase_prior_frame0": "#CC79A7"}


def draw(parts: Mapping[str, Any], records: Records, workdir: Path) -> list[Path]:
    """Writes `figures/curves.png` and `figures/parts.png`, each with its CSV."""
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [parts_side_by_side(parts, records, folder / "parts.png")]
    if any(record["curve"] for record in records.values()):
        drawn.append(curves(records, folder / "curves.png"))
    return drawn


@styled
def curves(records: Records, path: Path) -> Path:
    """Validation IoU and vertical error against the step, a line a run."""
    fig = canvas((9.0, 3.6))
    axes = fig.subplots(1, 2)
    rows = []
    for name, record in records.items():
        points = record["curve"]
        steps = [point["step"] for point in points]
        for axis, key in zip(axes, ("eval/iou", "eval/vertical_mm"), strict=True):
            values = [point[key] for point in points]
            if points:
                axis.plot(steps, values, marker="o", ms=2.5, lw=1.2, label=name)
            rows += [(name, key, s, v) for s, v in zip(steps, values, strict=True)]
    axes[0].set(xlabel="step", ylabel="validation IoU", ylim=(0, 1))
    axes[1].set(xlabel="step", ylabel="validation error, vertical [mm at isocentre]")
    axes[1].set_yscale("log")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False)
    with path.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows([("part", "name", "step", "value"), *rows])
    fig.savefig(path, dpi=DPI)
    return path


@styled
def parts_side_by_side(parts: Mapping[str, Any], records: Records, path: Path) -> Path:
    """IoU and vertical error with 95 % intervals, the phase priors beside."""
    names = [n for n, p in parts.items() if n in records and p.section != "ablation"]
    fig = canvas((9.5, 0.34 * len(names) + 1.3))
    axes = fig.subplots(1, 2, sharey=True)
    rows = []
    for axis, key in zip(axes, ("iou", "vertical_iso_mm"), strict=True):
        for place, name in enumerate(reversed(names)):
            row = next(r for r in records[name]["table"]["rows"] if r["key"] == key)
            for who, colour in {**CLOCKS, "ours": OURS}.items():
                value = row["values"][who]
                if value["mean"] is None:
                    continue
                axis.plot([value["low"], value["high"]], [place] * 2, color=colour)
                label = who.replace("_", " ") if place == 0 else None
                axis.plot(value["mean"], place, "o", color=colour, ms=4, label=label)
                numbers = [value[k] for k in ("mean", "low", "high", "n")]
                rows.append((name, key, who, *numbers))
        axis.grid(alpha=0.25)
    axes[0].set_yticks(range(len(names)), names[::-1], fontsize=7)
    axes[0].set(xlabel="IoU, 95 % interval", xlim=(0, 1))
    axes[1].set(xlabel="vertical error [mm at isocentre], 95 % interval")
    axes[1].set_xscale("log")
    axes[0].legend(fontsize=7, loc="upper left")
    with path.with_suffix(".csv").open("w", newline="") as file:
        head = ("part", "measure", "tracker", "mean", "low95", "high95", "n")
        csv.writer(file).writerows([head, *rows])
    fig.savefig(path, dpi=DPI)
    return path
