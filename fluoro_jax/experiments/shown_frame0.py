"""Networks, templates and the phase prior, all shown frame 0 with its outline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fluoro_jax.evaluation.summary import (
    causality,
    column,
    format_value,
    lead_of,
    value,
)
from fluoro_jax.report.study import compare

Record = Mapping[str, Any]
Records = Mapping[str, Record]
OURS, PRIOR = "ours_frame0", "phase_prior_frame0"
# The rows of a part, those that it has: columns of its table, and what they are called.
ROWS = {
    OURS: "network",
    "ours_template_frame0": "network and template",
    "template_frame0": "template",
    PRIOR: "phase prior",
}
# Measure, decimals, larger is better, and its name.
MEASURES = (
    ("iou", 3, True, "IoU"),
    ("vertical_iso_mm", 2, False, "vertical [mm]"),
    ("horizontal_iso_mm", 2, False, "horizontal [mm]"),
)
HEAD = (
    *("part", "tracker", "causal; lookahead", "cases"),
    *("median, P90, P95 of distance [mm]", "missed, over 10 mm"),
    *(label for *_, label in MEASURES),
    "better than the phase prior",
)
WORDS = (
    "All are shown frame 0 with its true mask, and move that outline: the network to "
    "its centroid, corrected by a share of its offset in frame 0 "
    "(`evaluation.offset_share`, 1 where no other is given), the template to where the "
    "updated pattern of frame 0 is found, both together as `tracking/anchored.py` "
    "says, the phase prior along the mean training path without any image. Frame 0 "
    "itself is scored too, without an error. Means [95 % interval], as above; one seed "
    "a part. Better: the mean is better and the two intervals do not overlap. Records "
    "made before the template stood there have no row of it."
)


def shown_frame0(records: Records) -> str:
    """Returns the table, a row a tracker and part; "" if no part has the numbers."""
    lines = []
    for name, record in records.items():
        table = record["table"]
        keys = {one["key"] for one in table["columns"]}
        # One frame is frame 0, and records of before lack the column.
        one_frame = record["config"]["study"]["num_frames"] == 1
        if record["section"] == "ablation" or one_frame or OURS not in keys:
            continue
        stale = " (STALE)" if record["stale"] else ""
        for who, what in ROWS.items():
            if who not in keys:
                continue
            part = f"`{name}`{stale}" if who == OURS else ""
            better = "" if who == PRIOR else _better(table, who)
            lines.append([part, what, *_cells(table, who), better])
    if not lines:
        return ""
    rows = [HEAD, ("---",) * len(HEAD), *lines]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join(["## Shown frame 0 with its outline", WORDS, text])


def _cells(table: Record, who: str) -> list[str]:
    lead = lead_of(table, who)
    assert lead is not None
    far = ", ".join(f"{lead[f'{name}_mm']:.2f}" for name in ("median", "p90", "p95"))
    missed = f"{lead['missed']} of {lead['n']}"
    return [
        *(causality(column(table, who)), str(table["n_cases"]), far, missed),
        *(format_value(value(table, key, who), places) for key, places, *_ in MEASURES),
    ]


def _better(table: Record, who: str) -> str:
    """The measures in which a column is better than the phase prior."""
    better = []
    for key, _, up, label in MEASURES:
        ours, prior = (value(table, key, one) for one in (who, PRIOR))
        if compare(ours, prior, up=up) == "better":
            better.append(label)
    return ", ".join(better) or "in none"
