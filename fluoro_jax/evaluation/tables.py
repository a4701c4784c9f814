"""The table of a study: published results, the network, the baselines.

One dictionary (`build_table`) holds every number; Markdown, CSV, JSON and the report
are renderings of it, by the functions of `evaluation.summary`.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import (
    FEW,
    Interval,
    bootstrap_mean,
    by_patient,
    distance_summary,
)
from fluoro_jax.evaluation.summary import (
    COMPARED,
    FEW_WORDS,
    LEAD_LABELS,
    LEAD_WORDS,
    baselines_ahead,
    empty_predictions,
    format_value,
    given_to,
    lead_cells,
    lead_of,
    reference_given,
)
from fluoro_jax.geometry import axis_names
from fluoro_jax.io.files import write_text

# Ours, as a rule of thumb.
SMALL_N = 30  # under it, a bootstrap interval is too narrow more often than it says


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        key: in `case_means`.
        label: measure and unit.
        decimals: printed.
        higher_is_better: direction.
        detail: True for rows that the report folds away.
    """

    key: str
    label: str
    decimals: int
    higher_is_better: bool = False
    detail: bool = False


@dataclass(frozen=True)
class Published:
    """Published results of others, printed as a column beside ours.

    Attributes:
        key: which of their studies; "" for none.
        values: text by row key.
        given: reference that the tracker was given; likewise causal, lookahead, cases.
        source: a note for under the table.
    """

    key: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    given: str = ""
    causal: str = ""
    lookahead: str = ""
    cases: str = ""
    source: str = ""


NOTHING_PUBLISHED = Published()

# Millimetres are in the isocentre plane unless a row says otherwise: the tumour is near
# it, and views with other magnifications compare.
ROWS = (
    Row("iou", "IoU", 3, True),
    Row("dice", "Dice", 3, True),
    Row("area_pct", "area difference [%]", 1),
    Row("vertical_iso_mm", "vertical error [mm at isocentre]", 2),
    Row("horizontal_iso_mm", "horizontal error [mm at isocentre]", 2),
    Row("vertical_detector_mm", "vertical error [mm at detector]", 2, detail=True),
    Row("horizontal_detector_mm", "horizontal error [mm at detector]", 2, detail=True),
    Row("vertical_px", "vertical error [px]", 2, detail=True),
    Row("horizontal_px", "horizontal error [px]", 2, detail=True),
    Row(
        "vertical_exact_mm",
        "vertical error to closed form [mm at isocentre]",
        2,
        detail=True,
    ),
    Row(
        "horizontal_exact_mm",
        "horizontal error to closed form [mm at isocentre]",
        2,
        detail=True,
    ),
    Row("hd95_mm", "HD95 [mm at isocentre]", 2),
    Row("asd_mm", "ASD, prediction to truth [mm at isocentre]", 2),
    Row("assd_mm", "ASD, symmetric [mm at isocentre]", 2, detail=True),
    Row("within_1mm", "frames within 1 mm [%]", 1, True),
    Row("within_2mm", "frames within 2 mm [%]", 1, True),
    Row("within_3mm", "frames within 3 mm [%]", 1, True),
    Row("over_10mm", "frames over 10 mm [%]", 1),
    Row("distance_mm", "mean distance [mm at isocentre]", 2, detail=True),
    Row("iou_found", "IoU, empty predictions left out", 3, True, detail=True),
    Row(
        "vertical_iso_mm_found",
        "vertical error, empty predictions left out [mm]",
        2,
        detail=True,
    ),
    Row(
        "horizontal_iso_mm_found",
        "horizontal error, empty predictions left out [mm]",
        2,
        detail=True,
    ),
)
# Paired on the same cases: what makes a case hard for every tracker drops out of these.
PAIRED_ROWS = ("iou", "vertical_iso_mm")


def build_table(
    runs: Mapping[str, Any], cfg: Any, published: Published = NOTHING_PUBLISHED
) -> dict[str, Any]:
    """Returns every number of the study's table, ready for JSON.

    Args:
        runs: `evaluate.Run` by key; the first is the network.
        cfg: the run's config.
        published: the paper's results, if the study has any.

    Returns:
        name, study, counts, columns (what each was given), lead (median, P90 and
        missed by column), rows (values by column), paired (network minus the others,
        on the same cases), notes.
    """
    first = next(iter(runs.values()))
    columns = [_column(key, run) for key, run in runs.items()]
    rows = [
        {
            "key": row.key,
            "label": row.label,
            "decimals": row.decimals,
            "higher_is_better": row.higher_is_better,
            "detail": row.detail,
            "paper": published.values.get(row.key, ""),
            "values": {k: as_record(run.summary[row.key]) for k, run in runs.items()},
        }
        for row in ROWS
    ]
    table = {
        "name": cfg.name,
        "study": cfg.study.name,
        "beside": published.key,
        "published": _given(published),
        "frame_px": [cfg.study.rows, cfg.study.cols],
        "axes": list(axis_names(float(cfg.study.gantry_deg))),
        "threshold": cfg.evaluation.threshold,
        "bootstrap": cfg.evaluation.bootstrap,
        "n_cases": len(first.cases),
        "n_frames": int(sum(case["frames"] for case in first.cases)),
        "columns": columns,
        "lead": {
            # Over cases even where intervals are over patients: it counts missed cases.
            key: distance_summary([case["distance_mm"] for case in run.cases])
            for key, run in runs.items()
        },
        "rows": rows,
        "paired": _paired(runs, resamples=cfg.evaluation.bootstrap, seed=cfg.seed),
        "interval_over": _interval_over(first),
    }
    return table | {"notes": _notes(table, first, published, seed=int(cfg.seed))}


def as_record(interval: Interval) -> dict[str, float | int | None]:
    """Returns an interval for JSON, which has no NaN."""
    record = asdict(interval)
    return {
        k: None if isinstance(v, float) and math.isnan(v) else v
        for k, v in record.items()
    }


def to_markdown(table: Mapping[str, Any], *, short: bool = False) -> str:
    """Returns the table as Markdown, with its notes.

    Args:
        table: of `build_table`.
        short: the eight rows that matter most, for the screen, instead of all.
    """
    columns = table["columns"]
    published = table["published"]
    lines = [
        f"# {table['name']}: {table['n_cases']} {table.get('split', 'test')} cases, "
        f"{table['n_frames']} frames of {' x '.join(map(str, table['frame_px']))}",
        "",
        "| | paper | " + " | ".join(c["label"] for c in columns) + " |",
        "|---|---|" + "---|" * len(columns),
        _line(
            "reference given",
            reference_given(published),
            [reference_given(c) for c in columns],
        ),
        _line(
            "causal",
            published["causal"],
            ["yes" if c["causal"] else "no" for c in columns],
        ),
        _line(
            "lookahead [frames]",
            published["lookahead"],
            [str(c["lookahead_frames"]) for c in columns],
        ),
    ]
    leads = [lead_cells(lead_of(table, c["key"])) for c in columns]
    for label, cells in zip(LEAD_LABELS, zip(*leads, strict=True), strict=True):
        lines.append(_line(label, "", list(cells)))
    for row in table["rows"]:
        if short and row["key"] not in COMPARED:
            continue
        cells = [
            format_value(row["values"][c["key"]], row["decimals"]) for c in columns
        ]
        lines.append(_line(row["label"], row["paper"], cells))
    counts = [str(empty_predictions(c)) for c in columns]
    lines.append(_line("empty predictions [frames]", "", counts))
    if not short:
        counts = [str(c["n_cases"]) for c in columns]
        lines.append(_line("cases", published["cases"], counts))
    lines += ["", *[f"- {note}" for note in table["notes"]], ""]
    return "\n".join(lines)


def write_tables(table: Mapping[str, Any], folder: Path) -> None:
    """Writes results.md, results.csv and results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "results.md", to_markdown(table))
    # allow_nan=False: a NaN that `as_record` did not see is an error here and not in a
    # reader.
    text = json.dumps(table, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(folder / "results.json", text + "\n")
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(_csv_rows(table))


def _csv_rows(table: Mapping[str, Any]) -> Iterator[list[Any]]:
    """A row a measure and tracker; no interval under `FEW` cases."""
    who = ["tracker", "reference_given", "causal", "lookahead_frames"]
    number = ["mean", "low95", "high95", "sd_of_cases", "n", "median", "min", "max"]
    yield ["measure", *who, *number, "paper"]
    for c in table["columns"]:
        who = [c["key"], reference_given(c), c["causal"], c["lookahead_frames"]]
        found = lead_of(table, c["key"])
        if found is None or not found["n"]:
            # No case, no row: a share of nothing would divide by zero.
            continue
        share = 100.0 * found["missed"] / found["n"]
        number = {"distance_median_mm": found["median_mm"]}
        number |= {"distance_p90_mm": found["p90_mm"], "missed_pct_of_cases": share}
        for name, value in number.items():
            yield [name, *who, value, None, None, None, found["n"], *[None] * 4]
    for row in table["rows"]:
        for c in table["columns"]:
            value = row["values"][c["key"]]
            ends = ("low", "high") if value["n"] >= FEW else ("", "")
            keys = ("mean", *ends, "sd", "n", "median", "least", "most")
            who = [c["key"], reference_given(c), c["causal"], c["lookahead_frames"]]
            number = [value.get(key) for key in keys]
            yield [row["key"], *who, *number, row["paper"]]


def read_table(folder: Path) -> dict[str, Any]:
    """Returns the dictionary that `write_tables` stored."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def _given(published: Published) -> dict[str, str]:
    names = ("given", "causal", "lookahead", "cases")
    return {name: getattr(published, name) for name in names}


def _column(key: str, run: Any) -> dict[str, Any]:
    tracker, total = (
        run.method.tracker,
        lambda name: int(sum(case[name] for case in run.cases)),
    )
    return {
        "key": key,
        "label": run.method.label,
        "given": given_to(run.method.frame0),
        "causal": bool(tracker.causal),
        "lookahead_frames": int(tracker.lookahead_frames),
        "n_cases": len(run.cases),
        "empty_predictions": total("empty_predictions"),
        "empty_truth_frames": total("empty_truth"),
        "false_px_on_empty": total("false_px_on_empty"),
    }


def _paired(
    runs: Mapping[str, Any], *, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Network minus each other column, taken case by case."""
    keys = list(runs)
    answer = []
    for other in keys[1:]:
        values = {}
        for name in PAIRED_ROWS:
            column = lambda key, name=name: np.array(
                # By patient, as the columns are: over cases the difference would have
                # too narrow an interval.
                [case[name] for case in by_patient(runs[key].cases, runs[key].patients)]
            )
            ours, theirs = column(keys[0]), column(other)
            values[name] = as_record(
                # One seed for all: the resamples of every pair draw the same cases.
                bootstrap_mean(ours - theirs, resamples=resamples, seed=seed)
            )
        answer.append({"key": other, "values": values})
    return answer


def _interval_over(run: Any) -> str:
    """Returns, in words, the units over which the interval is computed."""
    if run.patients is None:
        return "cases"
    count = len(np.unique(run.patients))
    if count == 1:
        return "the cases of one patient (it says nothing about other patients)"
    return f"the {count} patients, each patient's cases averaged first"


def _notes(
    table: Mapping[str, Any], first: Any, published: Published, *, seed: int
) -> list[str]:
    total = lambda name: int(sum(case[name] for case in first.cases))
    n, notes = table["n_cases"], []
    if n < SMALL_N:
        effect = "the intervals are likely too narrow"
        if n < FEW:
            effect = "medians and ranges, no intervals"
        notes.append(f"CAUTION: only {n} cases (fewer than {SMALL_N}): {effect}.")
    notes += [
        LEAD_WORDS,
        "Other rows: mean over cases of each case's mean over frames; in brackets the "
        f"BCa bootstrap 95 % interval over {table['interval_over']}; {FEW_WORDS}. "
        "Errors are absolute, centroid of mask against centroid of mask; frames within "
        "and over n mm count the same distance.",
        "An empty prediction has IoU and Dice 0 and, as its error, half the frame's "
        "diagonal in mm at the isocentre, on each axis and for the distance.",
        f"One training run (seed {seed}): the intervals hold no spread over seeds.",
        "A tracker that is shown frame 0 with its mask is scored on frame 0 too.",
        *baselines_ahead(table),
        *([published.source] if published.source else []),
    ]
    if empty := total("empty_truth"):
        notes.append(
            f"{empty} frames have no tumour in them and are in no mean; the network "
            f"marked {total('false_px_on_empty')} pixels on them."
        )
    return notes


def _line(label: str, paper: str, cells: list[str]) -> str:
    return f"| {label} | {paper} | " + " | ".join(cells) + " |"
