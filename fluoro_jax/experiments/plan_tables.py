"""The tables of a plan in the paper's own layout: its number, ours, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from fluoro_jax.evaluation.summary import (
    FEW_WORDS,
    LEAD_WORDS,
    PHASE_PRIORS,
    baselines_ahead,
    causality,
    column,
    empty_predictions,
    format_value,
    lead_cells,
    lead_of,
    value,
)
from fluoro_jax.experiments import published
from fluoro_jax.experiments.ablation_table import ablation
from fluoro_jax.experiments.departures import departures, row_name
from fluoro_jax.experiments.paper_tables import (
    figure_5,
    fine_tuning,
    scored,
    table_1,
    table_2,
)
from fluoro_jax.experiments.plan_figures import captions
from fluoro_jax.experiments.roles import choices_caption
from fluoro_jax.experiments.shortfalls import learning_curves, shortfalls
from fluoro_jax.experiments.shown_frame0 import shown_frame0
from fluoro_jax.experiments.verdicts import RULES, verdict

MEASURES = (  # key, decimals, larger is better
    ("iou", 3, True),
    ("dice", 3, True),
    ("vertical_iso_mm", 2, False),
    ("horizontal_iso_mm", 2, False),
)
NAMES = ("IoU", "Dice", "vertical [mm]", "horizontal [mm]")
COLUMNS = (
    *("causal; lookahead [frames]", "median distance [mm]", "P90 [mm]"),
    *("missed, over 10 mm [%]", *NAMES, "within 3 mm [%]", "empty predictions"),
    *("phase prior: IoU, vertical [mm]", "phase prior shown frame 0", "cases"),
    *("seed", "frame, pixel at the isocentre", "training [min]"),
)
HOW = (
    LEAD_WORDS,
    "The other measures are means over test cases of each case's mean over frames and, "
    "in brackets, the 95 % BCa bootstrap interval: over cases; in the sub-group over "
    "its 15 patients, each patient's cases averaged first; in the patient study over "
    f"the cases of one patient (it says nothing about others); {FEW_WORDS}. "
    "Millimetres in the isocentre plane, centroid of mask against centroid of mask. "
    "Empty predictions are frames without any predicted pixel; each counts half the "
    "frame's diagonal, in mm at the isocentre, on each axis and for the distance.",
    "One seed a row, but in the ablations: intervals hold no spread over seeds. The "
    "network is shown no reference frame, but where that is said. The phase prior "
    "moves the mean training outline along the mean training path and uses no image, "
    "so it is causal with a lookahead of 0; blind, or given frame 0 with its true "
    "mask. The paper's numbers are of another phantom, without intervals, and of a "
    "network that sees the whole cycle.",
)
Record = Mapping[str, Any]
Records = Mapping[str, Record]


def to_markdown(cfg: Any, parts: Mapping[str, Any], records: Records) -> str:
    """Returns all tables of a plan.

    Args:
        cfg: the plan: name, tolerance.
        parts: every part by name, in order.
        records: of those that were run.
    """
    sections = [
        f"# {cfg.name}",
        *HOW,
        summary(parts, records),
        baselines_better(records),
        shown_frame0(records),
        differences(records),
        choices(records),
        verdicts(cfg, records),
        learning_curves(records),
        shortfalls(records),
        figure_5(records),
        table_1(records),
        fine_tuning(records),
        table_2(records),
        confidence(records),
        ablation(records),
        figures(records),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def name_of(record: Record) -> str:
    """Returns a record's row name: title, scale of the paper's form, stale or not."""
    name = row_name(record["title"], record["recipe"], record["config"])
    return name + (" (STALE)" if record["stale"] else "")


def summary(parts: Mapping[str, Any], records: Records) -> str:
    """Returns a row a part: ours, the phase prior, size and cost; no ablations."""
    lines = [
        "## All parts",
        "",
        "| part | " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * (1 + len(COLUMNS)),
    ]
    for name, part in parts.items():
        # Ablations have a table of their own, with differences from a base.
        if part.section == "ablation":
            continue
        if name in records:
            title, cells = name_of(records[name]), _summary_cells(records[name])
        else:
            title = row_name(part.title, part.recipe, None)
            cost = f"about {part.minutes:.0f} min, " if part.minutes else ""
            cells = [f"not run at this scale ({cost}`--only={name}`)"]
            cells += [""] * (len(COLUMNS) - 1)
        lines.append(f"| {title} (`{name}`) | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_published(records)])


def _published(records: Records) -> list[str]:
    """Which rows are of published weights, as lines; none for none."""
    found = [
        # By digest: a later run's weights may have the name by now.
        f"`{name}` (`{note['name']}`, {note['dtype']}, sha256 {note['sha256'][:8]})"
        for name, record in records.items()
        if (note := record.get("published"))
    ]
    words = (
        f"Scored from the weights that were published of the run: {', '.join(found)}."
    )
    return ["", words] if found else []


def _summary_cells(record: Record) -> list[str]:
    table, study = record["table"], record["config"]["study"]
    pixel_mm = study["detector_mm"] / study["rows"] / 1.5  # SDD / SAD of the studies
    panel = ", collimated" if study["collimate"] else ""
    seconds = record["train_s"]
    return [
        causality(column(table)),
        *lead_cells(lead_of(table)),
        *(_cell(table, key, decimals) for key, decimals, _ in MEASURES),
        _cell(table, "within_3mm", 1),
        str(empty_predictions(column(table))),
        *(_prior(table, who) for who in PHASE_PRIORS),
        str(table["n_cases"]),
        str(record["config"]["seed"]),
        f"{study['rows']} x {study['cols']}, {pixel_mm:.2f} mm{panel}",
        f"{seconds / 60:.1f}" if seconds else "-",
    ]


def _prior(table: Record, who: str) -> str:
    """The numbers of a phase prior: mean IoU and mean vertical error, mm."""
    iou, error = (value(table, key, who) for key in ("iou", "vertical_iso_mm"))
    return f"{format_value(iou, 3)}, {format_value(error, 1)}"


def baselines_better(records: Records) -> str:
    """Returns, part by part, which baseline has a better mean than the network."""
    lines = [
        f"- `{name}`: {' '.join(found)}"
        for name, record in records.items()
        if record["section"] != "ablation"
        and (found := baselines_ahead(record["table"]))
    ]
    head = ["## Where a baseline beats the network", ""]
    return "\n".join([*head, *lines]) if lines else ""


def differences(records: Records) -> str:
    """Returns what of each run that was trained is not as the paper has it."""
    lines = []
    for name, record in records.items():
        found = departures(record["config"])
        if found and record["section"] != "ablation" and not record["of"]:
            lines.append(f"- `{name}`: {'; '.join(found)}.")
    whose = "Rows of another run's network differ as that run does."
    source = f"From each record's config. {whose}"
    head = ["## What differs from the paper", "", source, ""]
    return "\n".join([*head, *lines]) if lines else ""


def choices(records: Records) -> str:
    """Returns on which cases the recipes were chosen, as the records say."""
    names: dict[str, list[str]] = {}
    for name, record in records.items():
        caption = choices_caption(record.get("choices", ""))
        names.setdefault(caption, []).append(f"`{name}`")
    lines = [f"- {', '.join(found)}: {words}" for words, found in names.items()]
    return "\n".join(["## Choices", "", *lines]) if lines else ""


def verdicts(cfg: Any, records: Records) -> str:
    """Returns the paper's mean beside ours, measure by measure, with a verdict."""
    lines = [
        "## Beside the paper",
        "",
        RULES,
        "",
        "| part | causal; lookahead | measure | paper | ours | tolerance | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in records.values():
        means = published.MEANS.get(record["paper"])
        if means is None:
            # Held-out and transfer studies have no number in the paper.
            continue
        table = record["table"]
        for (key, decimals, up), label in zip(MEASURES, NAMES, strict=True):
            limit = cfg.tolerance[key]
            word = verdict(record, key, means[key], limit, up=up)
            lines.append(
                f"| {name_of(record)} | {causality(column(table))} | {label} | "
                f"{means[key]:g} | {_cell(table, key, decimals)} | {limit:g} | {word} |"
            )
    return "\n".join(lines)


def confidence(records: Records) -> str:
    """Returns the rank correlation of the network's confidence with its IoU by part."""
    lines = [
        "## Confidence",
        "",
        "Mean probability inside the predicted mask (0 for an empty prediction), mean "
        "over all cases; its rank correlation (Spearman) with the case's IoU.",
        "",
        "| part | causal; lookahead | cases | IoU | confidence | rank correlation |",
        "|---|---|---|---|---|---|",
    ]
    for name, record in records.items():
        if record["section"] == "ablation":
            continue
        cases = scored(record)
        iou = np.array([case["iou"] for case in cases])
        confidence = np.array([case["confidence"] for case in cases])
        # A rank correlation needs three cases, and spread in both.
        varied = len(cases) > 2 and iou.std() > 0 and confidence.std() > 0
        found = stats.spearmanr(iou, confidence) if varied else None
        rank = "-" if found is None else f"{np.asarray(found)[0]:.2f}"
        cells = [name, causality(column(record["table"])), str(len(cases))]
        cells += [f"{iou.mean():.3f}", f"{confidence.mean():.3f}", rank]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) if records else ""


def figures(records: Records) -> str:
    """Returns the plan's figures with their captions."""
    lines: Sequence[str] = [
        f"![{name}](figures/{name}.png)\n\n{caption}"
        for name, caption in captions(records).items()
    ]
    return "\n\n".join(["## Figures", *lines]) if lines else ""


def _cell(table: Record, key: str, decimals: int) -> str:
    return format_value(value(table, key), decimals)
