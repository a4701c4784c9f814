"""The error after the delay of a treatment system: forecasts of tracked traces.

The traces of one tracker are forecast, chosen before any error is seen (`forecast_of`).
Errors are against the true place at the time forecast for.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.experiments.compare.summary import (
    over_patients,
    ratio_over_patients,
)
from fluoro_jax.tracking.baselines.registry import RIVALS
from fluoro_jax.tracking.forecast import (
    FORECASTERS,
    ForecastSettings,
    forecast_errors,
    forecast_trace,
)

MEASURED = ("mean_mm", "p95_mm", "nrmse", "at_0_mm")  # of one clip, see `over_cases`


def forecast_settings(name: str, forecast: Any) -> ForecastSettings:
    """Returns the settings of a forecaster; those that it does not read are unset.

    Args:
        name: one of `FORECASTERS`.
        forecast: the config's section.
    """
    own = forecast.to_dict().get(name, {})  # repeat_last has none
    return ForecastSettings(**{k: v for k, v in own.items() if k != "trials"})


@dataclass(frozen=True)
class Forecasts:
    """Errors of every forecaster at every horizon.

    Attributes:
        tracker: whose traces were forecast; "" for none.
        by_scenario: dicts of scenario, tracker, forecaster, horizon_s, and what
            `over_cases` returns.
        pooled: dicts of forecaster, horizon_s and the same: the mean over the scenarios
            of a case first, then over cases, since scenarios share their patients.
    """

    tracker: str
    by_scenario: Sequence[dict[str, Any]]
    pooled: Sequence[dict[str, Any]]


def forecast_of(rows: Sequence[Mapping[str, Any]], named: str) -> str:
    """Returns the tracker whose traces are forecast; it looks at no error.

    Args:
        rows: of `summarise_record`, in the order of the table.
        named: `forecast.of` of the config; "" for the first causal network of the
            table, or if it has none the first causal tracker that is told no truth.

    Returns:
        Its name, "" if the table has none.
    """
    if named:
        return named
    some = (row for row in rows if row["causal"] and row["knowledge"] != "past truth")
    causal = list(dict.fromkeys(row["tracker"] for row in some))
    networks = [n for n in causal if n not in RIVALS and ":" not in n]
    return next(iter([*networks, *causal]), "")


def forecast_errors_of(
    records: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    settings: Any,
) -> Forecasts:
    """Returns the error of every forecaster at every horizon.

    Args:
        records: of the comparison.
        rows: their `summarise_record`.
        settings: the config: its sections forecast and evaluation.

    Returns:
        Of the tracker of `forecast_of`, where `is_forecast` says so.
    """
    forecast, tracker = settings.forecast, forecast_of(rows, settings.forecast.of)
    found: dict[tuple[str, str, float], list[dict[str, float]]] = {}
    for record in records:
        if not is_forecast(record, tracker):
            continue
        scenario = record["scenario"]
        for name, (number, case) in itertools.product(
            FORECASTERS, enumerate(record["cases"])
        ):
            errors = case_errors(name, case, forecast)
            for horizon_s, one in zip(forecast.horizons_s, errors, strict=True):
                if one:
                    one = {"case": case.get("case", number), **one}
                    found.setdefault((scenario, name, float(horizon_s)), []).append(one)
    by_scenario = [
        {"scenario": scenario, "tracker": tracker, "forecaster": name, "horizon_s": h}
        | over_cases(cases, settings.evaluation)
        for (scenario, name, h), cases in found.items()
    ]
    pooled = []
    for name, h in itertools.product(FORECASTERS, map(float, forecast.horizons_s)):
        groups = [cases for key, cases in found.items() if key[1:] == (name, h)]
        if groups:
            each = _each_case(list(itertools.chain(*groups)))
            over = over_cases(each, settings.evaluation)
            pooled.append({"forecaster": name, "horizon_s": h} | over)
    return Forecasts(tracker, by_scenario, pooled)


def is_forecast(record: Mapping[str, Any], tracker: str) -> bool:
    """Returns whether a record's traces are forecast.

    Not those of a scenario from a CT, whose truth is known at its frames alone, nor of
    one of another setup, whose clips are those of the scenario that it shares.

    Args:
        record: of the comparison.
        tracker: of `forecast_of`.
    """
    entry = SCENARIOS[record["scenario"]]
    return record["tracker"] == tracker and not (entry.from_ct or any(entry.setup_mm))


def _each_case(errors: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Returns the means of the errors with the same number of case."""
    numbers = dict.fromkeys(one["case"] for one in errors)
    groups = [[one for one in errors if one["case"] == n] for n in numbers]
    return [
        {key: float(np.mean([one[key] for one in group])) for key in group[0]}
        for group in groups
    ]


def over_cases(
    cases: Sequence[Mapping[str, float]], evaluation: Any
) -> dict[str, float]:
    """Returns means over cases and the ratio of the means, with intervals.

    Args:
        cases: of `case_errors`, one horizon.
        evaluation: the config's section.

    Returns:
        dict of mean_mm, p95_mm, nrmse (root mean square error over that of the true
        place about its mean), at_0_mm (the tracker's mean error on frames scored alike,
        without latency), ratio (mean_mm over at_0_mm) and n; and the ends `_low` and
        `_high` of mean_mm and ratio: a 95 % bootstrap interval over cases, or with
        fewer than `FEW` their range.
    """
    every = {key: [case[key] for case in cases] for key in MEASURED}
    found = {key: float(np.mean(values)) for key, values in every.items()}
    spreads = {
        "mean_mm": over_patients(every["mean_mm"], np.mean, evaluation),
        "ratio": ratio_over_patients(every["mean_mm"], every["at_0_mm"], evaluation),
    }
    for key, spread in spreads.items():
        found[key] = spread.value
        found |= {f"{key}_low": spread.low, f"{key}_high": spread.high}
    return {**found, "n": len(cases)}


def case_errors(
    name: str, case: Mapping[str, Any], forecast: Any
) -> list[dict[str, float]]:
    """Returns a forecaster's errors on one tracked clip, a dict for each horizon.

    A dict is empty where no frame can be scored.

    Args:
        name: one of `FORECASTERS`.
        case: of a record.
        forecast: the config's section.
    """
    settings = forecast_settings(name, forecast)
    time_s = np.array(case["time_s"])
    tracked = np.array(case["tracked_mm"], float)
    truth = np.array(case["truth_time_s"]), np.array(case["truth_mm"])
    made = FORECASTERS[name](forecast.horizons_s, settings)
    predicted = forecast_trace(made, time_s, tracked)
    # The tracker's own places, its last answer held over empty predictions.
    last = FORECASTERS["repeat_last"]((0.0,), settings)
    held = forecast_trace(last, time_s, tracked)[:, 0]
    answers = []
    for i, horizon_s in enumerate(forecast.horizons_s):
        # Frames whose future is unknown are left out of both means alike.
        until = (truth[0][-1] - horizon_s) + 1e-6
        chosen = time_s <= until
        now, _ = forecast_errors(
            *(held[chosen], time_s[chosen], 0.0, truth),
            unscored_s=forecast.unscored_s,
        )
        place = predicted[:, min(i, predicted.shape[1] - 1)]
        miss, there = forecast_errors(
            *(place, time_s, float(horizon_s), truth), unscored_s=forecast.unscored_s
        )
        answers.append(_measures(miss, there, now))
    return answers


def _measures(miss: np.ndarray, there: np.ndarray, now: np.ndarray) -> dict[str, float]:
    if not len(miss):
        return {}
    about_mm2 = np.square(there - there.mean(axis=0)).sum(axis=1).mean()
    return {
        "mean_mm": float(miss.mean()),
        "p95_mm": float(np.percentile(miss, 95)),
        # A tumour that rests for the whole clip has no scale to divide by.
        "nrmse": float(np.sqrt(np.square(miss).mean() / max(about_mm2, 1e-6))),
        "at_0_mm": float(now.mean()),
    }
