"""The tables of a plan in the paper's own layout: its number, ours, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.evaluation import paper
from fluoro_jax.evaluation.statistics import bootstrap_mean
from fluoro_jax.evaluation.tables import as_record, format_value

MEASURES = (  # key, decimals, larger is better
    ("iou", 3, True),
    ("dice", 3, True),
    ("vertical_iso_mm", 2, False),
    ("horizontal_iso_mm", 2, False),
)
NAMES = ("IoU", "Dice", "vertical [mm]", "horizontal [mm]")
FURTHER = (
    *("median distance [mm]", "within 3 mm [%]", "lost frames"),
    *("best blind baseline: IoU, vertical [mm]", "cases", "training [min]"),
)
HOW = (
    "Mean over test cases and, in brackets, the 95 % BCa bootstrap interval over "
    "cases; millimetres in the isocentre plane, centroid of mask against centroid of "
    "mask; a lost frame counts half the frame's diagonal. The median distance is over "
    "cases, of each case's mean over frames, both directions together. One seed a row. "
    "The paper's numbers are of another phantom and without intervals."
)
BLIND = ("static", "phase_prior")
ABLATION = "ablation_"
SCRATCH = "best_subgroup"
FIRST_PATIENT_CASE = 41  # of the paper's table 2
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
        summary(cfg, parts, records),
        verdicts(cfg, parts, records),
        figure_5(records),
        table_1(records),
        fine_tuning(records),
        table_2(records),
        confidence(records),
        ablation(records),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def summary(cfg: Any, parts: Mapping[str, Any], records: Records) -> str:
    """A line a part: ours, the best blind baseline, size and cost."""
    lines = [
        "## All parts",
        "",
        "| part | " + " | ".join([*NAMES, *FURTHER]) + " |",
        "|" + "---|" * 11,
    ]
    for name, part in parts.items():
        if name.startswith(ABLATION):
            continue  # they have a table of their own
        title = f"{part.title} (`{name}`)"
        if name not in records:
            lines.append(
                f"| {title} | not run at this scale (about {part.minutes:.0f} min, "
                f"`--only={name}`) |" + " |" * 9
            )
            continue
        table = records[name]["table"]
        cells = [_cell(table, key, decimals) for key, decimals, _ in MEASURES]
        found = [case for case in table["cases"] if case["iou"] is not None]
        cells.append(f"{np.median([case['distance_mm'] for case in found]):.2f}")
        cells += [_cell(table, "within_3mm", 1), str(_column(table)["lost_frames"])]
        cells.append(_blind(table))
        seconds = records[name]["train_s"]
        cost = f"{seconds / 60:.1f}" if not part.of else "-"
        lines.append(
            f"| {title} | " + " | ".join([*cells, str(table["n_cases"]), cost]) + " |"
        )
    return "\n".join(lines)


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
        means = paper.MEANS.get(part.paper)
        if name not in records or means is None:
            continue
        for (key, decimals, up), label in zip(MEASURES, NAMES, strict=True):
            ours = _value(records[name]["table"], key)
            limit = cfg.tolerance[key]
            word = paper.verdict(ours, means[key], limit, up=up)
            lines.append(
                f"| {part.title} | {label} | {means[key]:g} | "
                f"{format_value(ours, decimals)} | {limit:g} | {word} |"
            )
    return "\n".join(lines)


def figure_5(records: Records) -> str:
    """The paper's three shown cases, and ours chosen by their truth alone."""
    chosen: dict[str, Callable[[Record], float]] = {
        "heart overlap": lambda c: c["heart_overlap"],
        "small, over ribs": lambda c: c["rib_overlap"] - c["diameter_mm"],
        "large": lambda c: c["diameter_mm"],
    }
    lines = []
    for name in ("paper_group", "best_group"):
        if name not in records:
            continue
        for label, score in chosen.items():
            case = max(records[name]["table"]["cases"], key=score)
            lines.append(
                f"| {label} | {_published(paper.FIGURE_5[label])} | {name}, case "
                f"{case['id']} | {_numbers(case)} |"
            )
    head = ["## Figure 5: three cases of the group study", "", *_head("case", "")]
    return "\n".join([*head, *lines]) if lines else ""


def table_1(records: Records) -> str:
    """The easy and the hard set: from scratch and fine-tuned."""
    rows = (
        ("paper_subgroup", "scratch"),
        ("best_subgroup", "scratch"),
        ("subgroup_frozen", "finetuned"),
        ("subgroup_finetuned", "finetuned"),
    )
    lines = []
    for name, kind in rows:
        if name not in records:
            continue
        cases = records[name]["table"]["cases"]
        for which, number in zip(("easy", "hard"), easy_and_hard(cases), strict=True):
            mean = _mean_case([case for case in cases if case["set"] == number])
            lines.append(
                f"| {which} set | {_published(paper.TABLE_1[kind, which])} | {name}, "
                f"set {number} | {_numbers(mean)} |"
            )
    words = (
        "Easy and hard are the sets with the least and the most heart, rib and spine "
        "over the tumour, heart and spine counting twice: chosen by the truth alone."
    )
    head = ["## Table 1: sub-group, larger amplitudes than trained", "", words, ""]
    return "\n".join([*head, *_head("set", ""), *lines]) if lines else ""


def fine_tuning(records: Records) -> str:
    """Every sub-group run against training from scratch, set by set."""
    if SCRATCH not in records:
        return ""
    lines = [
        "## Fine-tuning against training from scratch",
        "",
        "On the larger amplitudes; means over the 15 sets of each set's cases, 95 % "
        "interval over sets. Differences are taken set by set: above 0 in IoU, below 0 "
        "in mm, is better than scratch.",
        "",
        "| part | IoU | less scratch | vertical [mm] | less scratch |",
        "|---|---|---|---|---|",
    ]
    scratch = records[SCRATCH]["table"]["cases"]
    for name, record in records.items():
        if record["config"]["study"]["name"] != "subgroup" or name == "paper_subgroup":
            continue
        cells = []
        for key, decimals in (("iou", 3), ("vertical_iso_mm", 2)):
            ours = _by_set(record["table"]["cases"], key)
            gap = ours - _by_set(scratch, key)
            for values in (ours, gap):
                found = as_record(bootstrap_mean(values, resamples=10_000, seed=0))
                cells.append(format_value(found, decimals))
        if name == SCRATCH:
            cells[1] = cells[3] = "-"
        lines.append(f"| {record['title']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_set(cases: Sequence[Record], key: str) -> np.ndarray:
    """Mean of each set's cases, in the order of the sets."""
    numbers = sorted({case["set"] for case in cases})
    mean = lambda n: np.mean([case[key] for case in cases if case["set"] == n])
    return np.array([mean(number) for number in numbers])


def easy_and_hard(cases: Sequence[Record]) -> tuple[int, int]:
    """Numbers of the sets with the least and the most over their tumour."""
    covered: dict[int, list[float]] = {}
    for case in cases:
        over = 2.0 * (case["heart_overlap"] + case["spine_overlap"])
        covered.setdefault(case["set"], []).append(over + case["rib_overlap"])
    means = {number: float(np.mean(values)) for number, values in covered.items()}
    return min(means, key=means.__getitem__), max(means, key=means.__getitem__)


def table_2(records: Records) -> str:
    """The patient's test cases, a row each, by our best run."""
    names = [n for n in ("paper_patient", "best_patient") if n in records]
    if not names:
        return ""
    lines = [
        "## Table 2: patient, cases 41 to 60",
        "",
        "| case | factor | "
        + " | ".join(f"{n}: IoU | Dice | [v, h] mm | [v, h] px" for n in names)
        + " |",
        "|---|---|" + "---|---|---|---|" * len(names),
    ]
    columns = [records[name]["table"]["cases"] for name in names]
    for number, row in enumerate(zip(*columns, strict=True)):
        cells = [
            f"{c['iou']:.3f} | {c['dice']:.3f} | [{c['vertical_iso_mm']:.2f}, "
            f"{c['horizontal_iso_mm']:.2f}] | [{c['vertical_px']:.2f}, "
            f"{c['horizontal_px']:.2f}]"
            for c in row
        ]
        first = f"| {FIRST_PATIENT_CASE + number} | {row[0]['factor']:.1f} | "
        lines.append(first + " | ".join(cells) + " |")
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
        cases = [c for c in record["table"]["cases"] if c["iou"] is not None]
        iou = np.array([case["iou"] for case in cases])
        sure = np.array([case["confidence"] for case in cases])
        ranks = [np.argsort(np.argsort(v)) for v in (iou, sure)]
        varied = len(cases) > 2 and iou.std() > 0 and sure.std() > 0
        rank = f"{np.corrcoef(ranks)[0, 1]:.2f}" if varied else "-"
        lines.append(f"| {name} | {iou.mean():.3f} | {sure.mean():.3f} | {rank} |")
    return "\n".join(lines) if records else ""


def ablation(records: Records) -> str:
    """One thing changed at a time, seeds side by side."""
    rows: dict[str, list[Record]] = {}
    for name, record in records.items():
        if name.startswith(ABLATION):
            row = name.removeprefix(ABLATION).rpartition("_")[0]
            rows.setdefault(row, []).append(record["table"])
    if "base" not in rows:
        return ""
    lines = [
        "## Ablations",
        "",
        "Each row changes one thing in the base and trains for as many steps; IoU and "
        "vertical error are means over test cases, a number a seed.",
        "",
        "| row | seeds | IoU | vertical [mm] | lost frames | IoU less the base's |",
        "|---|---|---|---|---|---|",
    ]
    mean = lambda tables, key: [_value(t, key)["mean"] for t in tables]
    base = mean(rows["base"], "iou")
    for row, tables in rows.items():
        iou = mean(tables, "iou")
        gaps = [a - b for a, b in zip(iou, base, strict=False)]
        cells = [
            row.replace("_", " "),
            str(len(tables)),
            ", ".join(f"{value:.3f}" for value in iou),
            ", ".join(f"{value:.1f}" for value in mean(tables, "vertical_iso_mm")),
            ", ".join(str(_column(table)["lost_frames"]) for table in tables),
            ", ".join(f"{gap:+.3f}" for gap in gaps),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _head(first: str, second: str) -> list[str]:
    return [
        f"| {first} | paper: IoU, Dice, [v, h] mm | ours{second} | IoU, Dice, [v, h] "
        "mm |",
        "|---|---|---|---|",
    ]


def _published(row: Mapping[str, float]) -> str:
    return (
        f"{row['iou']:.2f}, {row['dice']:.2f}, [{row['vertical']:g}, "
        f"{row['horizontal']:g}]"
    )


def _numbers(case: Record) -> str:
    return (
        f"{case['iou']:.2f}, {case['dice']:.2f}, [{case['vertical_iso_mm']:.1f}, "
        f"{case['horizontal_iso_mm']:.1f}]"
    )


def _mean_case(cases: Sequence[Record]) -> dict[str, float]:
    keys = [key for key, *_ in MEASURES]
    return {key: float(np.mean([case[key] for case in cases])) for key in keys}


def _column(table: Record, key: str = "ours") -> Record:
    return next(c for c in table["columns"] if c["key"] == key)


def _value(table: Record, key: str, who: str = "ours") -> dict[str, Any]:
    row = next(row for row in table["rows"] if row["key"] == key)
    return row["values"][who]


def _cell(table: Record, key: str, decimals: int) -> str:
    return format_value(_value(table, key), decimals)


def _blind(table: Record) -> str:
    iou = max((_value(table, "iou", who) for who in BLIND), key=lambda v: v["mean"])
    far = min(
        (_value(table, "vertical_iso_mm", who) for who in BLIND),
        key=lambda v: v["mean"],
    )
    return f"{format_value(iou, 3)}, {format_value(far, 1)}"
