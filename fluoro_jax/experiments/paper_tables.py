"""Figure 5, table 1 and table 2 of the paper, its numbers beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import bootstrap_mean
from fluoro_jax.evaluation.strata import easy_and_hard
from fluoro_jax.evaluation.summary import causality, column, format_value
from fluoro_jax.evaluation.tables import as_record
from fluoro_jax.experiments import published
from fluoro_jax.experiments.departures import row_name
from fluoro_jax.experiments.roles import select

Record = Mapping[str, Any]
Records = Mapping[str, Record]
HEAD = (
    *("paper (not causal; 9): IoU, Dice, [v, h] mm", "ours", "causal; lookahead"),
    *("cases", "IoU, Dice, [v, h] mm"),
)
FIRST_PATIENT_CASE = 41  # of the paper's table 2
# Ours, as in `evaluation.strata`.
SHOWN = 0.1  # share of the shadow from which a structure overlaps a tumour


def scored(record: Record) -> list[Record]:
    """Returns the test cases of a part that have a tumour in some frame."""
    return [case for case in record["table"]["cases"] if case["iou"] is not None]


def figure_5(records: Records) -> str:
    """Returns the paper's three shown cases, and ours chosen by their truth alone."""
    ribs_alone = lambda c: c["rib_overlap"] > SHOWN and c["heart_overlap"] <= SHOWN
    chosen: dict[str, Callable[[Record], float]] = {
        "heart overlap": lambda c: c["heart_overlap"],
        # Any case over ribs alone beats all others; among those the smallest wins.
        "small, over ribs": lambda c: ribs_alone(c) * 1e3 - c["diameter_mm"],
        "large": lambda c: c["diameter_mm"],
    }
    lines = []
    for name, record in _by_recipe(select(records, section="group")).items():
        for label, score in chosen.items():
            case = max(scored(record), key=score)
            cells = [label, _published(published.FIGURE_5[label])]
            cells += [f"{name}, case {case['id']}", causality(column(record["table"]))]
            lines.append([*cells, "1", _numbers(case)])
    words = (
        "One case each, the mean over its frames. Heart overlap: the case with the "
        "most; small: the smallest over ribs and not the heart; large: the largest."
    )
    return _section("Figure 5: three cases of the group study", words, "case", lines)


def table_1(records: Records) -> str:
    """Returns the easy and the hard set: from scratch and fine-tuned."""
    # The paper tables two of its own runs; ours stand beside the one of the same kind.
    kinds = {"subgroup": "scratch", "finetuned": "finetuned"}  # by the paper's study
    lines = []
    for name, record in _by_recipe(_larger_amplitudes(records)).items():
        cases = scored(record)
        for which, number in easy_and_hard(cases).items():
            beside = published.TABLE_1.get((kinds.get(record["paper"], ""), which))
            own = [case for case in cases if case["set"] == number]
            cells = [f"{which} set", _published(beside) if beside else "-"]
            cells += [f"{name}, set {number}", causality(column(record["table"]))]
            lines.append([*cells, str(len(own)), _numbers(_mean_case(own))])
    words = (
        "Means over the cases of one set (one patient), one seed. Easy and hard are "
        "the sets with the least and the most heart, rib and spine over the tumour, "
        "heart and spine counting twice: chosen by the truth alone."
    )
    title = "Table 1: sub-group, larger amplitudes than trained"
    return _section(title, words, "set", lines)


def fine_tuning(records: Records) -> str:
    """Returns our sub-group runs against training from scratch, set by set."""
    runs = select(_larger_amplitudes(records), recipe="ours")
    scratch = next(iter(select(runs, role="scratch").values()), None)
    if scratch is None:
        return ""
    lines = [
        "## Fine-tuning against training from scratch",
        "",
        "On the larger amplitudes, one seed each: means over the sets (patients) of "
        "each set's cases, 95 % BCa interval over sets. Differences are taken set by "
        "set: above 0 in IoU, below 0 in mm, is better than from scratch. The "
        "fine-tuned networks' parents had been trained before, the first from fresh "
        "networks, so they have seen more steps than the one from scratch, and at "
        "another learning rate.",
        "",
        "| part | causal; lookahead | sets | steps: parents + own | learning rate "
        "| IoU | difference | vertical [mm] | difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in runs.values():
        config = record["config"]
        cells = [row_name(record["title"], record["recipe"], config)]
        cells += [causality(column(record["table"]))]
        cells += [str(len(by_set(scored(record), "iou")))]
        cells += [_steps(record, records)]
        cells += [f"{config['gen_opt']['learning_rate']:g}"]
        for key, decimals in (("iou", 3), ("vertical_iso_mm", 2)):
            # Set by set: both runs have the same patients, whose difficulty drops out.
            ours, theirs = (by_set(scored(r), key) for r in (record, scratch))
            difference = _interval(ours - theirs, decimals)
            # Against itself the difference is 0 by definition.
            same = record is scratch
            cells += [_interval(ours, decimals), "-" if same else difference]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _steps(record: Record, records: Records) -> str:
    """The steps of all that a run started from, the first run first, and its own."""
    steps = []
    while record:
        steps.append(str(record["config"]["train"]["num_steps"]))
        record = records.get(record["config"]["init"]["parent"], {})
    return " + ".join(reversed(steps))


def _larger_amplitudes(records: Records) -> Records:
    """The sub-group's runs on the paper's own split, from scratch and fine-tuned."""
    rows = select(records, section="subgroup")
    kept = {n for role in ("scratch", "finetuned") for n in select(rows, role=role)}
    return {name: record for name, record in rows.items() if name in kept}


def _by_recipe(records: Records) -> Records:
    """The paper's own recipe first, then ours."""
    first = select(records, recipe="published")
    # A dict keeps the first place of a name, so the paper's recipe leads.
    return {**first, **records}


def by_set(cases: Sequence[Record], key: str) -> np.ndarray:
    """Returns the mean of each set's cases, in the order of the sets."""
    numbers = sorted({case["set"] for case in cases})
    mean = lambda n: np.mean([case[key] for case in cases if case["set"] == n])
    return np.array([mean(number) for number in numbers])


def table_2(records: Records) -> str:
    """Returns the patient's test cases, a row each."""
    runs = _by_recipe(select(records, section="patient", paper="patient", of=""))
    if not runs:
        return ""
    columns = [record["table"]["cases"] for record in runs.values()]
    titles = [
        f"{name} ({causality(column(record['table']))})"
        for name, record in runs.items()
    ]
    lines = [
        "## Table 2: patient, cases 41 to 60",
        "",
        "A case a row, the mean over its frames, one seed. Centroid differences "
        "[vertical, horizontal], mm in the isocentre plane. In brackets after a name: "
        "causal; lookahead in frames. The paper's column heads say pixels where its "
        "text says cm; its rows are read as cm. Its rows 41 and 42 cannot be: Dice is "
        "never below IoU.",
        "",
        "| case | factor | paper (no; 9): IoU | Dice | [v, h] mm | "
        + " | ".join(f"{n}: IoU | Dice | [v, h] mm | [v, h] px" for n in titles)
        + " |",
        "|" + "---|" * (5 + 4 * len(runs)),
    ]
    # Runs of one study have the same test cases, so row n is one case in all of them.
    for number, row in enumerate(zip(*columns, strict=True)):
        iou, dice, vertical, horizontal = published.TABLE_2[number]
        cells = [f"{iou:.2f} | {dice:.2f} | [{vertical:g}, {horizontal:g}]"]
        cells += [_patient_cells(case) for case in row]
        first = f"| {FIRST_PATIENT_CASE + number} | {row[0]['factor']:.1f} | "
        lines.append(first + " | ".join(cells) + " |")
    return "\n".join(lines)


def _patient_cells(case: Record) -> str:
    if case["iou"] is None:  # no tumour in any frame
        return "- | - | - | -"
    shift = lambda unit: (
        f"[{case[f'vertical_{unit}']:.2f}, {case[f'horizontal_{unit}']:.2f}]"
    )
    return f"{case['iou']:.3f} | {case['dice']:.3f} | {shift('iso_mm')} | {shift('px')}"


def _section(title: str, words: str, first: str, lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return ""
    rows = [(first, *HEAD), ("---",) * (1 + len(HEAD)), *lines]
    text = ["## " + title, "", *([words, ""] if words else [])]
    return "\n".join([*text, *("| " + " | ".join(row) + " |" for row in rows)])


def _published(row: Mapping[str, float]) -> str:
    shift = f"[{row['vertical']:g}, {row['horizontal']:g}]"
    return f"{row['iou']:.2f}, {row['dice']:.2f}, {shift}"


def _numbers(case: Record) -> str:
    shift = f"[{case['vertical_iso_mm']:.1f}, {case['horizontal_iso_mm']:.1f}]"
    return f"{case['iou']:.2f}, {case['dice']:.2f}, {shift}"


def _mean_case(cases: Sequence[Record]) -> dict[str, float]:
    keys = ("iou", "dice", "vertical_iso_mm", "horizontal_iso_mm")
    return {key: float(np.mean([case[key] for case in cases])) for key in keys}


def _interval(values: np.ndarray, decimals: int) -> str:
    # Fixed, so that the printed table does not change from call to call.
    found = bootstrap_mean(values, resamples=10_000, seed=0)
    return format_value(as_record(found), decimals)
