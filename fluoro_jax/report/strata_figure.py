"""Errors of the test cases against size, overlap and amplitude."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.report.drawing import canvas, styled
from fluoro_jax.report.figures import Figure, save, write_columns

AGAINST = (  # key of a case, axis, factor
    ("diameter_mm", "tumour diameter [mm]", 1.0),
    ("heart_overlap", "heart over the tumour [%]", 100.0),
    ("rib_overlap", "ribs over the tumour [%]", 100.0),
    ("si_mm", "tumour's SI motion [mm]", 1.0),
)
# Of Okabe and Ito's, as in `report.figures`.
EMPTY_COLOUR, FOUND_COLOUR = "#D55E00", "#0072B2"


@styled
def errors_by(cases: Sequence[Mapping[str, Any]], path: Path) -> Figure:
    """Draws IoU and distance of every test case against what makes it hard.

    Args:
        cases: as from `strata.case_rows`; those without a tumour are left out.
        path: of the PNG; a CSV of the same numbers stands beside it.
    """
    # None: no frame of the case has a tumour.
    cases = [case for case in cases if case["iou"] is not None]
    column = lambda key: np.array([case[key] for case in cases], float)
    measures = (("iou", "IoU"), ("distance_mm", "distance [mm at isocentre]"))
    empty = column("empty_predictions") > 0
    fig = canvas((2.6 * len(AGAINST), 4.4))
    axes = fig.subplots(len(measures), len(AGAINST), sharex="col", sharey="row")
    for row, (measure, label) in zip(axes, measures, strict=True):
        for axis, (key, _, factor) in zip(row, AGAINST, strict=True):
            # Found cases first, so that the few with an empty prediction are drawn over
            # them.
            for chosen, colour in ((~empty, FOUND_COLOUR), (empty, EMPTY_COLOUR)):
                x, y = factor * column(key)[chosen], column(measure)[chosen]
                axis.plot(x, y, "o", ms=3, alpha=0.6, color=colour)
            axis.grid(alpha=0.25)
            axis.tick_params(labelsize=7)
        row[0].set_ylabel(label, fontsize=8)
    for axis, (_, label, _) in zip(axes[-1], AGAINST, strict=True):
        axis.set_xlabel(label, fontsize=8)
    axes[0, 0].set_ylim(0, 1)
    # Distances span two decades: an empty prediction counts half the frame's diagonal.
    axes[1, 0].set_yscale("log")
    keys = ["id", *(key for key, *_ in AGAINST), *(key for key, _ in measures)]
    keys.append("empty_predictions")
    write_columns(path.with_suffix(".csv"), {key: column(key) for key in keys})
    return save(
        fig,
        path,
        "What makes a case hard",
        f"All {len(cases)} test cases with a tumour, one seed: the network's IoU and "
        "centroid distance, each averaged over the case's frames, against the tumour's "
        "size, the structures over it, and its motion. Orange: cases with an empty "
        "prediction in some frame.",
    )
