"""The networks beside the phase prior, both shown frame 0 with its outline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fluoro_jax.evaluation.statistics import FEW
from fluoro_jax.evaluation.summary import format_value, lead_of, value

Record = Mapping[str, Any]
Records = Mapping[str, Record]
OURS, PRIOR = "ours_frame0", "phase_prior_frame0"
# Measure, decimals, larger is better, and its name.
MEASURES = (
    ("iou", 3, True, "IoU"),
    ("vertical_iso_mm", 2, False, "vertical [mm]"),
    ("horizontal_iso_mm", 2, False, "horizontal [mm]"),
)
HEAD = (
    *("part", "tracker", "median, P90, P95 of distance [mm]", "missed, over 10 mm"),
    *(label for *_, label in MEASURES),
    "better than the phase prior, intervals apart",
)
WORDS = (
    "Both are shown frame 0 with its true mask, and move that outline: ours as the "
    "network's answer moves from its first frame on, the phase prior along the mean "
    "training path without any image. Frame 0 itself is scored too, without an error. "
    "Better: our mean is, and the two 95 % intervals do not meet."
)


def shown_frame0(records: Records) -> str:
    """Returns the table, two rows a part; "" if no part has the numbers."""
    lines = []
    for name, record in records.items():
        table = record["table"]
        keys = {one["key"] for one in table["columns"]}
        # One frame is frame 0, and records of before lack the column.
        one_frame = record["config"]["study"]["num_frames"] == 1
        if record["section"] == "ablation" or one_frame or OURS not in keys:
            continue
        stale = " (STALE)" if record["stale"] else ""
        better = [label for *rule, label in MEASURES if _apart(table, *rule)]
        ours = [f"`{name}`{stale}", "network", *_cells(table, OURS)]
        prior = ["", "phase prior", *_cells(table, PRIOR)]
        lines += [[*ours, ", ".join(better) or "in none"], [*prior, ""]]
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
        *(far, missed),
        *(format_value(value(table, key, who), places) for key, places, *_ in MEASURES),
    ]


def _apart(table: Record, key: str, decimals: int, up: bool) -> bool:
    """Returns True if ours is better and the two intervals do not meet."""
    del decimals
    if table["n_cases"] < FEW:  # too few for an interval
        return False
    ours, prior = (value(table, key, who) for who in (OURS, PRIOR))
    return ours["low"] > prior["high"] if up else ours["high"] < prior["low"]
