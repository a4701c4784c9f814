"""Compares each ablation with the base, case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import FEW, bootstrap_mean
from fluoro_jax.evaluation.summary import (
    causality,
    column,
    empty_predictions,
    format_value,
    lead_cells,
    lead_of,
)
from fluoro_jax.evaluation.tables import as_record
from fluoro_jax.experiments.departures import scale_departures
from fluoro_jax.experiments.roles import select

WORDS = (
    "Each row changes one thing in the base and trains for as many steps. Numbers of "
    "several seeds stand in the order of the seeds. Differences are row minus base, "
    "taken case by case on the same test cases at the same seed: their mean and 95 % "
    "BCa interval over cases. An effect is named only if no seed's interval holds 0, "
    "all seeds agree in sign, and the mean difference is larger than the base's own "
    "spread between its seeds (no such check with a single base seed); one seed alone "
    "says nothing about others. In all rows but `no warmup` the first half of the "
    "steps has cross-entropy and IoU alone as losses."
)
MEASURES = (("iou", "IoU", 3), ("vertical_iso_mm", "vertical [mm]", 1))
HEAD = (
    *("row", "causal; lookahead", "seeds", "cases", "median distance [mm]"),
    *("P90 [mm]", "missed [%]", "IoU", "vertical [mm]", "empty predictions"),
    *("IoU: difference from the base", "effect on IoU"),
    *("vertical [mm]: difference from the base", "effect on vertical error"),
)
Record = Mapping[str, Any]
Seeds = Mapping[int, Record]


def ablation(records: Mapping[str, Record]) -> str:
    """Returns the table of the ablations; "" without a base."""
    rows: dict[str, dict[int, Record]] = {}
    for record in select(records, section="ablation").values():
        # Ordered by the plan, so that a row's seeds stand in the same order in every
        # cell.
        rows.setdefault(record["role"], {})[record["config"]["seed"]] = record
    if "base" not in rows:
        return ""
    base = rows["base"]
    scale = "; ".join(scale_departures(next(iter(base.values()))["config"]))
    words = WORDS + (f" The base's scale: {scale}." if scale else "")
    lines = [
        *("## Ablations", "", words, ""),
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
    ]
    for role, seeds in rows.items():
        cells = _numbers(role, seeds)
        for key, _, decimals in MEASURES:
            cells += (
                ["-", "-"] if role == "base" else _effect(key, decimals, seeds, base)
            )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _numbers(role: str, seeds: Seeds) -> list[str]:
    tables = [record["table"] for record in seeds.values()]
    first = tables[0]
    stale = " (STALE)" if any(r["stale"] for r in seeds.values()) else ""
    leads = zip(*(lead_cells(lead_of(table)) for table in tables), strict=True)
    means = [
        ", ".join(f"{_mean(record, key):.{places}f}" for record in seeds.values())
        for key, _, places in MEASURES
    ]
    return [
        role.replace("_", " ") + stale,
        causality(column(first)),
        ", ".join(map(str, seeds)),
        str(first["n_cases"]),
        *(", ".join(cells) for cells in leads),
        *means,
        ", ".join(str(empty_predictions(column(table))) for table in tables),
    ]


def _effect(key: str, decimals: int, seeds: Seeds, base: Seeds) -> list[str]:
    """The differences of every seed shared with the base, and what they show."""
    # The same seed on both sides: batches are drawn by it, so their luck drops out.
    shared = [seed for seed in seeds if seed in base]
    paired = [paired_difference(seeds[s], base[s], key) for s in shared]
    if not paired:
        return ["-", "no base of this seed"]
    found = [as_record(bootstrap_mean(values)) for values in paired]
    text = ", ".join(format_value(record, decimals) for record in found)
    # Range of the base's means over seeds: a row within it may differ by its seed
    # alone.
    spread = np.ptp([_mean(record, key) for record in base.values()])
    return [text, effect(found, float(spread))]


def paired_difference(row: Record, base: Record, key: str) -> np.ndarray:
    """Returns row minus base of one measure, for the test cases that both have."""
    numbers = [
        # JSON's None: a case without a tumour has no number.
        {case["id"]: case[key] for case in r["table"]["cases"] if case[key] is not None}
        for r in (row, base)
    ]
    # By id, not by place: a row may have left out a case that the base has.
    ids = [number for number in numbers[0] if number in numbers[1]]
    return np.array([numbers[0][number] - numbers[1][number] for number in ids])


def effect(found: Sequence[Mapping[str, Any]], base_spread: float) -> str:
    """Returns "higher", "lower" or why no effect is resolved.

    Args:
        found: the paired difference of each seed: mean, low, high, n.
        base_spread: range of the base's means over its seeds.
    """
    # In this order each check rests on the one before: intervals, their side of 0, the
    # seeds' agreement, the size.
    if any(record["n"] < FEW for record in found):
        return f"no effect resolved: fewer than {FEW} cases"
    if any(record["low"] <= 0.0 <= record["high"] for record in found):
        return "no effect resolved: an interval holds 0"
    means = [record["mean"] for record in found]
    if min(means) < 0.0 < max(means):
        return "no effect resolved: seeds disagree"
    mean = float(np.mean(means))
    if abs(mean) <= base_spread:
        return "no effect resolved: the base's seeds differ by as much"
    word = "higher" if mean > 0.0 else "lower"
    return word if len(found) > 1 else f"{word} (one seed)"


def _mean(record: Record, key: str) -> float:
    rows = record["table"]["rows"]
    return next(row for row in rows if row["key"] == key)["values"]["ours"]["mean"]
