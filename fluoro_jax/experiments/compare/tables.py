"""The tables of the comparison as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import FEW, MISSED_MM
from fluoro_jax.experiments.compare.cases import DAY_DOME_MM, DAY_SCALE, DAY_TUMOR_MM
from fluoro_jax.experiments.compare.latency import Forecasts
from fluoro_jax.experiments.compare.scenarios import SCENARIOS, SEEDS
from fluoro_jax.experiments.compare.summary import MEASURES, Spread
from fluoro_jax.tracking.baselines.centroids import AHEAD_S, LABELLED_S
from fluoro_jax.tracking.forecast import FORECASTERS

HEADS = {
    "median_mm": "median [mm]",
    "p95_mm": "P95 [mm]",
    "within_1mm": "within 1 mm [%]",
    "within_2mm": "2 mm [%]",
    "within_3mm": "3 mm [%]",
    "missed": "missed [%]",
}
FACTS = ("causal", "lookahead_frames", "knowledge", "trials", "latency_p99_ms")
UNSCORED = "not scored"  # answered, but in no frame that is scored
Row = Mapping[str, Any]


def markdown(rows: Sequence[Row], forecasts: Forecasts, settings: Any) -> str:
    """Returns the whole of results.md.

    Args:
        rows: of `summary.summarise_record`.
        forecasts: of `latency.forecast_errors_of`.
        settings: the config.
    """
    parts = [f"# Trackers compared ({settings.name})", _caption(settings)]
    parts += ["## Median and P95 by scenario", _matrix(rows)]
    scenarios = dict.fromkeys(row["scenario"] for row in rows)
    for name in scenarios:
        parts += [f"## {name}: {SCENARIOS[name].title}", _scenario(rows, name)]
    if forecasts.pooled:
        parts += ["## Error after latency", *_forecasts(forecasts, settings)]
    return "\n\n".join(parts) + "\n"


def _caption(settings: Any) -> str:
    clips = settings.clips
    return (
        f"{clips.cases} simulated patients a scenario, clips of {clips.seconds:g} s, "
        f"{clips.rows} x {clips.rows} pixels, seeds {clips.seeds!r} "
        f"({SEEDS[clips.seeds]}). Errors are distances in the isocentre plane; an "
        "empty prediction counts half the frame's diagonal; missed: over "
        f"{MISSED_MM:g} mm or empty. Median and P95 are of each patient's frames after "
        "the first, then the median over patients; shares are means over patients. All "
        "are over the cases that the tracker answered, counted beside; it refused the "
        "others or failed on them, and why stands below the table. "
        f"In brackets {_shown(clips.cases, 'patients')}. "
        "Latency: 99th percentile of the computation of a frame on the machine of the "
        "run; the wait for look-ahead frames comes on top. "
        "Knowledge is what a tracker is given of the patient beside the frames so far; "
        f"past truth: the true places until {1e3 * AHEAD_S:g} ms before the frame, of "
        f"`centroids_first_6s` in the first {LABELLED_S:g} s only, and these are not "
        "scored. "
        "Tuning trials: settings tried on other clips to choose its own; n/a: not "
        "counted (of the package's networks docs/experiments.md says what was chosen, "
        "and on which cases). "
        f"Planning phases are of another day: scales up to {100 * DAY_SCALE:g} %, "
        f"diaphragm up to {DAY_DOME_MM:g} mm, tumour up to {DAY_TUMOR_MM:g} mm along "
        "each axis."
    )


def _shown(n: int, over: str) -> str:
    """What stands in brackets beside a number over n patients or cases."""
    if n >= FEW:
        return f"the 95 % bootstrap interval over {over}"
    return f"the range over {over} (fewer than {FEW}, so no interval)"


def _matrix(rows: Sequence[Row]) -> str:
    """Median and P95 of every tracker (columns) on every scenario."""
    trackers = list(dict.fromkeys(row["tracker"] for row in rows))
    cell = {(row["scenario"], row["tracker"]): row for row in rows}
    lines = ["| scenario | " + " | ".join(trackers) + " |", _rule(1 + len(trackers))]
    for name in dict.fromkeys(row["scenario"] for row in rows):
        words = [_brief(cell[name, tracker]) for tracker in trackers]
        lines.append(f"| {name} | " + " | ".join(words) + " |")
    return "\n".join(lines)


def _brief(row: Row) -> str:
    if not row["answered"]:
        return "refused" if row["refused"] else "failed"
    if not row["median_mm"].n:
        return UNSCORED
    words = f"{row['median_mm'].value:.1f} / {row['p95_mm'].value:.1f}"
    whole = row["answered"] == row["cases"]
    return words if whole else f"{words} ({_answered(row)})"


def _answered(row: Row) -> str:
    return f"{row['answered']} of {row['cases']}"


def _scenario(rows: Sequence[Row], name: str) -> str:
    heads = [
        "tracker",
        "cases answered",
        *HEADS.values(),
        "p99 [ms]",
        "causal; look-ahead [frames]",
    ]
    heads += ["knowledge", "tuning trials"]
    lines = ["| " + " | ".join(heads) + " |", _rule(len(heads))]
    notes = []
    for row in rows:
        if row["scenario"] != name:
            continue
        for verb, preposition in (("refused", ""), ("failed", " on")):
            if row[verb]:
                clips = f"clips of {row['cases']}: {row[verb]}"
                notes.append(f"{row['tracker']} {verb}{preposition} {clips}.")
        words = [_answered(row)]
        if not row["answered"]:
            words += [""] * (len(heads) - 2)
        else:
            words += [_spread(row[key], key) for key in HEADS]
            ahead = f"{_yes(row['causal'])}; {row['lookahead_frames']}"
            words += [f"{row['latency_p99_ms']:.1f}", ahead, row["knowledge"]]
            words.append(_trials(row["trials"]))
        lines.append("| " + " | ".join([row["tracker"], *words]) + " |")
    return "\n".join(lines + [f"\n{note}" for note in notes])


def _spread(spread: Spread, key: str) -> str:
    if not spread.n:
        return UNSCORED
    digits = 2 if key.endswith("_mm") else 0
    low, high = f"{spread.low:.{digits}f}", f"{spread.high:.{digits}f}"
    return f"{spread.value:.{digits}f} [{low}, {high}]"


def _yes(causal: bool) -> str:
    return "yes" if causal else "no"


def _trials(trials: int | None) -> str:
    return "n/a" if trials is None else str(trials)


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def _forecasts(forecasts: Forecasts, settings: Any) -> list[str]:
    horizons = [float(h) for h in settings.forecast.horizons_s]
    caption = (
        f"Traces of {forecasts.tracker}, chosen before any error was seen "
        "(`forecast.of`; by default the table's first causal network), forecast; the "
        f"first {settings.forecast.unscored_s:g} s of a clip are not scored for any "
        "forecaster, nor frames before a case's first answer, nor a case without any. "
        "Mean distance [mm] from the true place at that time, its ratio to "
        "the tracker's own mean on the same frames; P95 [mm]; nRMSE. Means over the "
        "scenarios of a case, then over cases, as scenarios share their patients. In "
        f"brackets {_shown(settings.clips.cases, 'cases')}. Each forecaster's settings "
        "are the best of its trials on traces of the tuning seeds."
    )
    heads = ["forecaster", "tuning trials"]
    heads += [f"{1e3 * h:g} ms: mean; ratio; P95; nRMSE" for h in horizons]
    lines = ["| " + " | ".join(heads) + " |", _rule(len(heads))]
    found = {(row["forecaster"], row["horizon_s"]): row for row in forecasts.pooled}
    for name in FORECASTERS:
        tried = settings.forecast.to_dict().get(name, {"trials": 1})["trials"]
        rows = [found.get((name, h)) for h in horizons]
        words = ["" if row is None else _pooled(row) for row in rows]
        lines.append("| " + " | ".join([name, str(tried), *words]) + " |")
    middle = horizons[len(horizons) // 2]
    return [
        caption,
        "\n".join(lines),
        f"Ratio of the mean error at {1e3 * middle:g} ms, by scenario.",
        _ratios(forecasts.by_scenario, middle),
    ]


def _pooled(row: Row) -> str:
    mean, ratio = (_ends(row, key) for key in ("mean_mm", "ratio"))
    return f"{mean}; {ratio}; {row['p95_mm']:.2f}; {row['nrmse']:.2f}"


def _ends(row: Row, key: str) -> str:
    return f"{row[key]:.2f} [{row[f'{key}_low']:.2f}, {row[f'{key}_high']:.2f}]"


def _ratios(forecasts: Sequence[Row], horizon_s: float) -> str:
    heads = ["scenario", "cases", "mean at 0 ms [mm]", *FORECASTERS]
    lines = ["| " + " | ".join(heads) + " |", _rule(len(heads))]
    for name in dict.fromkeys(row["scenario"] for row in forecasts):
        some = {
            row["forecaster"]: row
            for row in forecasts
            if row["scenario"] == name and row["horizon_s"] == horizon_s
        }
        if some:
            first = next(iter(some.values()))
            words = [str(first["n"]), f"{first['at_0_mm']:.2f}"]
            words += [_ends(some[f], "ratio") for f in FORECASTERS]
            lines.append("| " + " | ".join([name, *words]) + " |")
    return "\n".join(lines)


def flat(row: Row) -> dict[str, Any]:
    """Returns a row with plain values: `median_mm`, `median_mm_low`, ... and n."""
    keys = ("scenario", "tracker", *FACTS, "cases", "answered", "refused", "failed")
    plain = {key: row[key] for key in keys} | {"n": row["median_mm"].n}
    for name in MEASURES:
        spread = row[name]
        plain |= {name: spread.value, f"{name}_low": spread.low}
        plain[f"{name}_high"] = spread.high
    # JSON has no NaN, and an empty cell is a CSV's.
    finite = lambda v: None if isinstance(v, float) and not np.isfinite(v) else v
    return {key: finite(value) for key, value in plain.items()}


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows with equal keys as CSV; "" for none."""
    if not rows:
        return ""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
