"""The error after the delay of a treatment system: forecasts of tracked traces.

In each scenario the trace of the causal tracker with the lowest median is forecast.
Errors are against the true place at the time forecast for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.experiments.compare.summary import best_causal
from fluoro_jax.tracking.forecast import (
    FORECASTERS,
    ForecastSettings,
    forecast_errors,
    forecast_trace,
)


def forecast_settings(name: str, forecast: Any) -> ForecastSettings:
    """Returns the settings of a forecaster; those that it does not read are unset.

    Args:
        name: one of `FORECASTERS`.
        forecast: the config's section.
    """
    own = forecast.to_dict().get(name, {})  # repeat_last has none
    return ForecastSettings(**{k: v for k, v in own.items() if k != "trials"})


def forecast_rows(
    records: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    forecast: Any,
) -> list[dict[str, Any]]:
    """Returns the error of every forecaster at every horizon, by scenario.

    Args:
        records: of the comparison.
        rows: their `summarise_record`.
        forecast: the config's section.

    Returns:
        dicts of scenario, tracker, forecaster, horizon_s, mean_mm, p95_mm, nrmse (root
        mean square error over that of the true place about its mean), at_0_mm (the
        tracker's mean error on frames scored alike, without latency), ratio
        (mean_mm over at_0_mm) and n; each the mean over patients. A scenario from a CT
        is left out: its truth is known at its frames alone.
    """
    best, found = best_causal(rows), []
    for record in records:
        scenario = record["scenario"]
        if SCENARIOS[scenario].from_ct or best.get(scenario) != record["tracker"]:
            continue
        for name in FORECASTERS:
            per_case = [case_errors(name, case, forecast) for case in record["cases"]]
            for i, horizon_s in enumerate(forecast.horizons_s):
                cases = [case[i] for case in per_case if case[i]]
                if cases:
                    row = {"scenario": scenario, "tracker": record["tracker"]}
                    row |= {"forecaster": name, "horizon_s": float(horizon_s)}
                    found.append(row | over_cases(cases))
    return found


def over_cases(cases: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the means over patients, the ratio of the means, and n."""
    mean = {key: float(np.mean([case[key] for case in cases])) for key in cases[0]}
    ratio = mean["mean_mm"] / max(mean["at_0_mm"], 1e-9)
    return {**mean, "ratio": ratio, "n": len(cases)}


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
