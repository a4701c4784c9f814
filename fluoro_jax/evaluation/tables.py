"""The table of a study: the paper, the network, the baselines, with intervals.

One dictionary (`build_table`) holds every number; Markdown, CSV, JSON and the report
are renderings of it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import Interval, bootstrap_mean, by_person
from fluoro_jax.geometry import axis_names

SMALL_N = 30  # under it, a bootstrap interval is too narrow more often than it says


@dataclass(frozen=True)
class Row:
    """A line of the table: key in `case_means`, name, decimals, better direction.

    `detail` rows are folded away in the report.
    """

    key: str
    label: str
    decimals: int
    higher_is_better: bool = False
    detail: bool = False


@dataclass(frozen=True)
class Published:
    """Somebody else's results, printed as a column beside ours.

    Attributes:
        key: which study of theirs; "" for none.
        values: text by row key.
        given: what the tracker was given; likewise causal, lookahead, cases.
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
    Row("iou_found", "IoU, lost frames left out", 3, True, detail=True),
    Row(
        "vertical_iso_mm_found",
        "vertical error, lost frames left out [mm]",
        2,
        detail=True,
    ),
    Row(
        "horizontal_iso_mm_found",
        "horizontal error, lost frames left out [mm]",
        2,
        detail=True,
    ),
)
STRATUM_ROWS = ("iou", "vertical_iso_mm", "horizontal_iso_mm", "within_3mm")
PAIRED_ROWS = ("iou", "vertical_iso_mm")


def build_table(
    runs: Mapping[str, Any], cfg: Any, published: Published = NOTHING_PUBLISHED
) -> dict[str, Any]:
    """Every number of the study's table, ready for JSON.

    Args:
        runs: `evaluate.Run` by key; the first is the network.
        cfg: the run's config.
        published: the paper's results, if the study has any.

    Returns:
        name, study, counts, columns (what each was given), rows (values by column),
        paired (network minus the others, on the same cases), notes.
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
    n = len(first.cases)
    return {
        "name": cfg.name,
        "study": cfg.study.name,
        "beside": published.key,
        "published": _given(published),
        "frame_px": [cfg.study.rows, cfg.study.cols],
        "axes": list(axis_names(float(cfg.study.gantry_deg))),
        "threshold": cfg.evaluation.threshold,
        "bootstrap": cfg.evaluation.bootstrap,
        "n_cases": n,
        "n_frames": int(sum(case["frames"] for case in first.cases)),
        "columns": columns,
        "rows": rows,
        "paired": _paired(runs, cfg),
        "interval_over": _interval_over(first),
        "notes": _notes(n, first, published),
    }


def as_record(interval: Interval) -> dict[str, float | int | None]:
    """An interval for JSON, which has no NaN."""
    record = asdict(interval)
    return {
        k: None if isinstance(v, float) and math.isnan(v) else v
        for k, v in record.items()
    }


def format_value(record: Mapping[str, Any], decimals: int) -> str:
    """As in "0.912 [0.897, 0.925]", or a dash where there is nothing."""
    if record["mean"] is None:
        return "-"
    mean, low, high = (f"{record[k]:.{decimals}f}" for k in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def to_markdown(table: Mapping[str, Any]) -> str:
    """The table for people: means, and 95 % intervals over `interval_over`."""
    columns = table["columns"]
    published = table["published"]
    lines = [
        f"# {table['name']}: {table['n_cases']} test cases, "
        f"{table['n_frames']} frames of {' x '.join(map(str, table['frame_px']))}",
        "",
        "| | paper | " + " | ".join(c["label"] for c in columns) + " |",
        "|---|---|" + "---|" * len(columns),
        _line("given", published["given"], [c["given"] for c in columns]),
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
    for row in table["rows"]:
        cells = [
            format_value(row["values"][c["key"]], row["decimals"]) for c in columns
        ]
        lines.append(_line(row["label"], row["paper"], cells))
    lines.append(_line("lost frames", "", [str(c["lost_frames"]) for c in columns]))
    lines.append(
        _line("cases", published["cases"], [str(c["n_cases"]) for c in columns])
    )
    lines += ["", *[f"- {note}" for note in table["notes"]], ""]
    return "\n".join(lines)


def write_tables(table: Mapping[str, Any], folder: Path) -> None:
    """results.md, results.csv and results.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(to_markdown(table), encoding="utf-8")
    text = json.dumps(table, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        who = ["tracker", "given", "causal", "lookahead_frames"]
        number = ["mean", "low95", "high95", "sd_of_cases", "n_cases"]
        writer.writerow(["measure", *who, *number, "paper"])
        for row in table["rows"]:
            for c in table["columns"]:
                value = row["values"][c["key"]]
                who = [c["key"], c["given"], c["causal"], c["lookahead_frames"]]
                number = [value[k] for k in ("mean", "low", "high", "sd", "n")]
                writer.writerow([row["key"], *who, *number, row["paper"]])


def read_table(folder: Path) -> dict[str, Any]:
    """The dictionary that `write_tables` stored."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def _given(published: Published) -> dict[str, str]:
    names = ("given", "causal", "lookahead", "cases")
    return {name: getattr(published, name) for name in names}


def _column(key: str, run: Any) -> dict[str, Any]:
    tracker, total = (
        run.contender.tracker,
        lambda name: int(sum(case[name] for case in run.cases)),
    )
    return {
        "key": key,
        "label": run.contender.label,
        "given": "frame 0 and its mask" if run.contender.frame0 else "nothing",
        "causal": bool(tracker.causal),
        "lookahead_frames": int(tracker.lookahead_frames),
        "n_cases": len(run.cases),
        "lost_frames": total("lost"),
        "empty_truth_frames": total("empty_truth"),
        "false_px_on_empty": total("false_px_on_empty"),
    }


def _paired(runs: Mapping[str, Any], cfg: Any) -> list[dict[str, Any]]:
    """Network minus each other column, case by case: the fair comparison."""
    keys = list(runs)
    answer = []
    for other in keys[1:]:
        values = {}
        for name in PAIRED_ROWS:
            column = lambda key, name=name: np.array(
                [case[name] for case in by_person(runs[key].cases, runs[key].people)]
            )
            ours, theirs = column(keys[0]), column(other)
            values[name] = as_record(
                bootstrap_mean(
                    ours - theirs, resamples=cfg.evaluation.bootstrap, seed=cfg.seed
                )
            )
        answer.append({"key": other, "values": values})
    return answer


def _interval_over(run: Any) -> str:
    """What the interval's spread is of, in words."""
    if run.people is None:
        return "cases"
    count = len(np.unique(run.people))
    if count == 1:
        return "the cases of one person (it says nothing of others)"
    return f"the {count} people, each one's cases meaned first"


def _notes(n: int, first: Any, published: Published) -> list[str]:
    total = lambda name: int(sum(case[name] for case in first.cases))
    notes = [
        "Mean over cases of each case's mean over frames; in brackets the BCa "
        f"bootstrap 95 % interval over {_interval_over(first)}. Errors are absolute, "
        "centroid of mask against centroid of mask; frames within n mm count the "
        "Euclidean distance in the isocentre plane.",
        "A lost frame (nothing found) has IoU and Dice 0 and half the frame's diagonal "
        "for every distance.",
        *([published.source] if published.source else []),
    ]
    if n < SMALL_N:
        notes.insert(
            0,
            f"CAUTION: only {n} cases (fewer than {SMALL_N}); the intervals are "
            "likely too narrow.",
        )
    if empty := total("empty_truth"):
        notes.append(
            f"{empty} frames have no tumour in them and are in no mean; the network "
            f"marked {total('false_px_on_empty')} pixels on them."
        )
    return notes


def _line(label: str, paper: str, cells: list[str]) -> str:
    return f"| {label} | {paper} | " + " | ".join(cells) + " |"
