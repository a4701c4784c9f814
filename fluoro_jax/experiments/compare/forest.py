"""The comparison's figure: error of every tracker, one panel a scenario."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.report.drawing import canvas, styled
from fluoro_jax.report.figures import Figure, save

# Of Okabe and Ito's, as in `report.figures`; markers tell them apart in grey as well.
STYLES = {
    "nothing": ("#D55E00", "o"),
    "frame 0": ("#0072B2", "s"),
    "phases": ("#009E73", "^"),
    "past truth": ("#CC79A7", "D"),
}
COLUMNS = 4
PANEL_IN = 2.6  # width of a panel
ROW_IN = 0.17  # height of a tracker's row
TITLE_WIDTH = 42  # letters that a panel holds


@styled
def forest(rows: Sequence[Mapping[str, Any]], path: Path, caption: str) -> Figure:
    """Draws medians with their intervals, and P95, by scenario.

    Args:
        rows: of `summary.summarise_record`.
        path: of the PNG.
        caption: what the numbers are over.
    """
    names = list(dict.fromkeys(row["scenario"] for row in rows))
    trackers = list(dict.fromkeys(row["tracker"] for row in rows))
    columns = min(COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    size = (PANEL_IN * columns + 1.2, (ROW_IN * len(trackers) + 1.0) * lines)
    fig = canvas(size)
    axes = fig.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        some = {row["tracker"]: row for row in rows if row["scenario"] == name}
        _panel(axis, some, trackers)
        axis.set_title(textwrap.fill(SCENARIOS[name].title, TITLE_WIDTH), fontsize=7)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("error [mm at isocentre]", fontsize=7)
    _legend(fig)
    return save(fig, path, "Trackers by scenario", caption)


def _panel(
    axis: Any, rows: Mapping[str, Mapping[str, Any]], trackers: Sequence[str]
) -> None:
    for place, tracker in enumerate(trackers):
        row = rows[tracker]
        spread = row["median_mm"]
        if not spread.n:
            why = next((w for w in ("failed", "refused") if row[w]), "not scored")
            axis.text(
                *(0.5, place, why),
                transform=axis.get_yaxis_transform(),
                fontsize=5,
                color="#999999",
                ha="center",
                va="center",
            )
            continue
        colour, marker = STYLES[row["knowledge"]]
        axis.plot([spread.low, spread.high], [place] * 2, "-", color=colour, lw=1.0)
        axis.plot(spread.value, place, marker, color=colour, ms=4)
        # Hollow: the tail, at which a treatment margin is judged.
        tail = row["p95_mm"].value
        axis.plot(tail, place, marker, color=colour, ms=3, mfc="none", mew=0.7)
    axis.set_yticks(range(len(trackers)), trackers, fontsize=6)
    axis.set_ylim(len(trackers) - 0.5, -0.5)
    # Errors span from a tenth of a millimetre to half a frame.
    axis.set_xscale("log")
    axis.grid(alpha=0.25, axis="x")
    axis.tick_params(axis="x", labelsize=6)


def _legend(fig: Any) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=colour, marker=marker, label=f"given {knowledge}")
        for knowledge, (colour, marker) in STYLES.items()
    ]
    hollow = Line2D([], [], color="k", marker="o", mfc="none", ls="", label="P95")
    fig.legend(
        handles=[*marks, hollow],
        loc="outside lower center",
        ncols=len(STYLES) + 1,
        fontsize=6,
    )
