"""Where our networks of many patients fall short, case by case; how all learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import MISSED_MM
from fluoro_jax.experiments.paper_tables import SHOWN, scored
from fluoro_jax.experiments.roles import select

Record = Mapping[str, Any]
Records = Mapping[str, Record]
WANTED_IOU = 0.9  # ours: cases under it fall short
FAR_MM = 3.0  # ours
LISTED = 12  # the worst of a run
# Ribs lie over nearly every tumour and are no reason.
OVER = {"heart": "the heart", "spine": "the spine", "diaphragm": "the diaphragm"}
HEAD = (
    *("case", "kind", "diameter [mm]", "heart, spine, diaphragm, ribs over it [%]"),
    *("IoU", "IoU half a pixel off", "distance [mm]", "[v, h] mm", "reason"),
)


def learning_curves(records: Records) -> str:
    """Returns the IoU of the validation cases by step, a line a run."""
    lines = []
    for name, record in records.items():
        if record["section"] == "ablation" or not record["curve"]:
            continue
        points = [f"{p['step']}: {p['eval/iou']:.3f}" for p in record["curve"]]
        start = record["config"]["init"]["parent"]
        origin = f" (from `{start}`)" if start else ""
        lines.append(f"- `{name}`{_stale(record)}{origin}: {', '.join(points)}")
    head = ["## Learning curves", "", "IoU of the validation cases, by step.", ""]
    return "\n".join([*head, *lines]) if lines else ""


def shortfalls(records: Records) -> str:
    """Returns the cases of an IoU under `WANTED_IOU` of networks of many patients."""
    ours = dict(recipe="ours", of="")
    runs = select(records, section="group", **ours)
    tables = []
    for name, record in {**runs, **select(records, section="riding", **ours)}.items():
        cases = scored(record)
        short = sorted(
            (case for case in cases if case["iou"] < WANTED_IOU),
            key=lambda case: case["iou"],
        )
        pixel_mm = record["table"]["scale"]["pixel_iso_mm"]
        rows = [
            HEAD,
            ("---",) * len(HEAD),
            *(_cells(c, pixel_mm) for c in short[:LISTED]),
        ]
        others = [case["iou"] for case in cases if case["iou"] >= WANTED_IOU]
        mean = f", mean IoU {np.mean(others):.3f}" if others else ""
        tables += [
            f"`{name}`{_stale(record)}: {len(short)} of {len(cases)} cases; the other "
            f"{len(others)}{mean}. {by_kind(cases)}",
            "\n".join("| " + " | ".join(row) + " |" for row in rows),
        ]
    if not tables:
        return ""
    words = (
        f"Cases with an IoU under {WANTED_IOU}, the worst {LISTED} of a run. Half a "
        "pixel off: the IoU of a disc of this diameter whose outline lies half a pixel "
        "too far in all around; a case at or above it needs no other reason. Else the "
        "reason is the one of heart, spine and what lies under the diaphragm that "
        "covers most of its shadow, at least 10 %. Ribs, which cover nearly every "
        "tumour, are no reason."
    )
    return "\n\n".join(["## Where cases fall short", words, *tables])


def by_kind(cases: list[Record]) -> str:
    """Returns each kind with its cases, their mean IoU, and how many are far off."""
    if not cases:
        return ""
    found = []
    for kind in dict.fromkeys(case["kind"] for case in cases):
        own = [case for case in cases if case["kind"] == kind]
        far = sum(case["distance_mm"] > FAR_MM for case in own)
        iou = np.mean([case["iou"] for case in own])
        found.append(f"{kind} {len(own)}, {iou:.3f}, {far}")
    words = f"Kind: cases, mean IoU, cases over {FAR_MM:g} mm"
    return f"{words}: {'; '.join(found)}."


def reason(case: Record, pixel_mm: float) -> str:
    """Returns why a case has the IoU that it has, as far as its truth tells.

    Args:
        case: of a record's table.
        pixel_mm: side of a pixel at the isocentre, mm.
    """
    fault = _fault(case)
    if not fault and case["iou"] >= half_pixel_iou(case["diameter_mm"], pixel_mm):
        return "its size: within half a pixel"
    shares = {words: case[f"{name}_overlap"] for name, words in OVER.items()}
    over = max(shares, key=lambda words: shares[words])
    cause = f"over {over}" if shares[over] >= SHOWN else "over none of these"
    return f"{fault}; {cause}" if fault else cause


def half_pixel_iou(diameter_mm: float, pixel_mm: float) -> float:
    """Returns the IoU of a disc and the one half a pixel smaller all around."""
    return max(1.0 - pixel_mm / diameter_mm, 0.0) ** 2


def _stale(record: Record) -> str:
    return " (STALE)" if record.get("stale") else ""


def _fault(case: Record) -> str:
    """What is wrong beyond the outline."""
    empty = round(case["empty_predictions"])
    faults = ["missed"] if case["distance_mm"] > MISSED_MM else []
    faults += [f"empty in {empty} frame{'s' * (empty > 1)}"] if empty else []
    return ", ".join(faults)


def _cells(case: Record, pixel_mm: float) -> tuple[str, ...]:
    over = ", ".join(f"{100 * case[f'{name}_overlap']:.0f}" for name in (*OVER, "rib"))
    shift = f"[{case['vertical_iso_mm']:.1f}, {case['horizontal_iso_mm']:.1f}]"
    return (
        *(str(case["id"]), case["kind"], f"{case['diameter_mm']:.1f}", over),
        *(f"{case['iou']:.2f}", f"{half_pixel_iou(case['diameter_mm'], pixel_mm):.2f}"),
        *(f"{case['distance_mm']:.1f}", shift, reason(case, pixel_mm)),
    )
