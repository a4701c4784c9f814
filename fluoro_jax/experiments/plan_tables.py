"""The tables of a plan in the paper's own layout: its number, ours, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from fluoro_jax.evaluation.tables import format_value
from fluoro_jax.experiments import published
from fluoro_jax.experiments.paper_tables import (
    figure_5,
    fine_tuning,
    scored,
    table_1,
    table_2,
)

MEASURES = (  # key, decimals, larger is better
    ("iou", 3, True),
    ("dice", 3, True),
    ("vertical_iso_mm", 2, False),
    ("horizontal_iso_mm", 2, False),
)
NAMES = ("IoU", "Dice", "vertical [mm]", "horizontal [mm]")
FURTHER = (
    *("median distance [mm]", "within 3 mm [%]", "lost frames"),
    *("phase prior: IoU, vertical [mm]", "phase prior shown frame 0"),
    *("cases", "frame, pixel at the isocentre", "training [min]"),
)
HOW = (
    "Mean over test cases and, in brackets, the 95 % BCa bootstrap interval: over "
    "cases; in the sub-group over its 15 people; in the patient study over the cases "
    "of one person (it says nothing of others). Millimetres in the isocentre plane, "
    "centroid of mask against centroid of mask; a lost frame counts half the frame's "
    "diagonal. The median distance is over cases, of each case's mean over frames, "
    "both directions together. One seed a row, but in the ablations. The phase prior "
    "moves the mean training outline along the mean training path and never looks at a "
    "frame; blind, or given frame 0 with its true mask, which the network is not. The "
    "paper's numbers are of another phantom and without intervals."
)
ABLATION_WORDS = (
    "Each row changes one thing in the base and trains for as many steps; a number a "
    "seed, the mean over test cases. In all rows but `no warmup` the first half of the "
    "steps has cross-entropy and IoU alone as losses, whatever comes after."
)
ABLATION = "ablation_"
Record = Mapping[str, Any]
Records = Mapping[str, Record]


def to_markdown(cfg: Any, parts: Mapping[str, Any], records: Records) -> str:
    """All tables of a plan.

    Args:
        cfg: the plan: name, tolerance.
        parts: every part by name, in order.
        records: of those that were run.
    """
    sections = [
        f"# {cfg.name}",
        HOW,
        summary(parts, records),
        verdicts(cfg, parts, records),
        figure_5(records),
        table_1(records),
        fine_tuning(records),
        table_2(records),
        confidence(records),
        ablation(records),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary(parts: Mapping[str, Any], records: Records) -> str:
    """A line a part: ours, the phase prior, size and cost; ablations left out."""
    columns = (*NAMES, *FURTHER)
    lines = [
        "## All parts",
        "",
        "| part | " + " | ".join(columns) + " |",
        "|" + "---|" * (1 + len(columns)),
    ]
    for name, part in parts.items():
        if name.startswith(ABLATION):
            continue
        if name in records:
            cells = _summary_cells(records[name])
        else:
            cost = f"about {part.minutes:.0f} min, " if part.minutes else ""
            cells = [f"not run at this scale ({cost}`--only={name}`)"]
            cells += [""] * (len(columns) - 1)
        lines.append(f"| {part.title} (`{name}`) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _summary_cells(record: Record) -> list[str]:
    table, study = record["table"], record["config"]["study"]
    far = [case["distance_mm"] for case in scored(record)]
    pixel_mm = study["detector_mm"] / study["rows"] / 1.5  # SDD / SAD of the studies
    panel = ", collimated" if study["collimate"] else ""
    seconds = record["train_s"]
    return [
        *(_cell(table, key, decimals) for key, decimals, _ in MEASURES),
        f"{np.median(far):.2f}",
        _cell(table, "within_3mm", 1),
        str(_column(table)["lost_frames"]),
        *(_prior(table, who) for who in ("phase_prior", "phase_prior_frame0")),
        str(table["n_cases"]),
        f"{study['rows']} x {study['cols']}, {pixel_mm:.2f} mm{panel}",
        f"{seconds / 60:.1f}" if seconds else "-",
    ]


def _prior(table: Record, who: str) -> str:
    """A baseline that counts time and never looks at a frame."""
    iou, far = (_value(table, key, who) for key in ("iou", "vertical_iso_mm"))
    return f"{format_value(iou, 3)}, {format_value(far, 1)}"


def verdicts(cfg: Any, parts: Mapping[str, Any], records: Records) -> str:
    """The paper's mean beside ours, measure by measure."""
    lines = [
        "## Beside the paper",
        "",
        "Better: our whole interval is beyond the paper's mean. Reproduced: our mean "
        "is no worse than it by more than the tolerance that the config states.",
        "",
        "| part | measure | paper | ours | tolerance | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in parts.items():
        means = published.MEANS.get(part.paper)
        if name not in records or means is None:
            continue
        for (key, decimals, up), label in zip(MEASURES, NAMES, strict=True):
            ours = _value(records[name]["table"], key)
            limit = cfg.tolerance[key]
            word = published.verdict(ours, means[key], limit, up=up)
            lines.append(
                f"| {part.title} | {label} | {means[key]:g} | "
                f"{format_value(ours, decimals)} | {limit:g} | {word} |"
            )
    return "\n".join(lines)


def confidence(records: Records) -> str:
    """What the network's own confidence says, on each study it was looked at."""
    lines = [
        "## Confidence",
        "",
        "Mean probability inside the predicted mask (0 for a lost frame), mean over "
        "cases; its rank correlation with the case's IoU.",
        "",
        "| part | IoU | confidence | rank correlation |",
        "|---|---|---|---|",
    ]
    for name, record in records.items():
        if name.startswith(ABLATION):
            continue
        cases = scored(record)
        iou = np.array([case["iou"] for case in cases])
        sure = np.array([case["confidence"] for case in cases])
        varied = len(cases) > 2 and iou.std() > 0 and sure.std() > 0
        rank = f"{stats.spearmanr(iou, sure).statistic:.2f}" if varied else "-"
        lines.append(f"| {name} | {iou.mean():.3f} | {sure.mean():.3f} | {rank} |")
    return "\n".join(lines) if records else ""


def ablation(records: Records) -> str:
    """One thing changed at a time, seeds side by side."""
    rows: dict[str, dict[str, Record]] = {}
    for name, record in records.items():
        if name.startswith(ABLATION):
            row, _, seed = name.removeprefix(ABLATION).rpartition("_")
            rows.setdefault(row, {})[seed] = record["table"]
    if "base" not in rows:
        return ""
    lines = [
        "## Ablations",
        "",
        ABLATION_WORDS,
        "",
        "| row | seeds | IoU | vertical [mm] | lost frames | IoU less the base's |",
        "|---|---|---|---|---|---|",
    ]
    for row, tables in rows.items():
        mean = lambda seed, key, row=row: _value(rows[row][seed], key)["mean"]
        base = {s: _value(table, "iou")["mean"] for s, table in rows["base"].items()}
        shared = [seed for seed in tables if seed in base]
        cells = [
            row.replace("_", " "),
            ", ".join(tables),
            ", ".join(f"{mean(s, 'iou'):.3f}" for s in tables),
            ", ".join(f"{mean(s, 'vertical_iso_mm'):.1f}" for s in tables),
            ", ".join(str(_column(table)["lost_frames"]) for table in tables.values()),
            ", ".join(f"{mean(s, 'iou') - base[s]:+.3f}" for s in shared) or "-",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _column(table: Record, key: str = "ours") -> Record:
    return next(c for c in table["columns"] if c["key"] == key)


def _value(table: Record, key: str, who: str = "ours") -> dict[str, Any]:
    row = next(row for row in table["rows"] if row["key"] == key)
    return row["values"][who]


def _cell(table: Record, key: str, decimals: int) -> str:
    return format_value(_value(table, key), decimals)
