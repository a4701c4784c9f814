"""Writes and prints what a comparison found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fluoro_jax.experiments.compare.forest import forest
from fluoro_jax.experiments.compare.latency import forecast_errors_of
from fluoro_jax.experiments.compare.summary import summarise_record
from fluoro_jax.experiments.compare.tables import csv_text, flat, markdown
from fluoro_jax.io.files import write_text

CAPTION = (
    "Filled: median error of each tracker (over frames, then over patients) with its "
    "interval or range over patients; hollow: P95. Colour and marker: what the tracker "
    "is given of the patient."
)


def write_results(
    records: Sequence[dict[str, Any]], settings: Any, workdir: Path
) -> dict[str, Any]:
    """Prints results.md; writes it, results.csv and .json, forecast.csv, forest.png.

    Args:
        records: of the comparison.
        settings: the config.
        workdir: where to.

    Returns:
        What results.json holds: name, config, rows and forecasts.
    """
    rows = [summarise_record(record, settings.evaluation) for record in records]
    forecasts = forecast_errors_of(records, rows, settings)
    table = {
        "name": settings.name,
        "config": settings.to_dict(),
        "rows": [flat(row) for row in rows],
        "forecast_of": forecasts.tracker,
        "forecasts": forecasts.by_scenario,
        "forecasts_pooled": forecasts.pooled,
    }
    workdir.mkdir(parents=True, exist_ok=True)
    words = markdown(rows, forecasts, settings)
    write_text(workdir / "results.md", words)
    write_text(workdir / "results.csv", csv_text(table["rows"]))
    write_text(workdir / "forecast.csv", csv_text(forecasts.by_scenario))
    text = json.dumps(table, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(workdir / "results.json", text + "\n")
    figure = forest(rows, workdir / "forest.png", CAPTION)
    print(words)
    print(f"tables: {workdir}\nfigure: {figure.path}", flush=True)
    return table
