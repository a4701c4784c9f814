"""Chooses the forecasters' settings on tracked traces of the tuning seeds.

Command: python -m fluoro_jax.experiments.compare.tune WORKDIR

WORKDIR holds the records of `launch.compare ... --config.clips.seeds=tuning`. Traces
are those of the tracker that the table forecasts (`latency.forecast_of`); the score of
a setting is the mean error over scenarios, patients and horizons. Every setting of
`GRIDS` is tried.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fluoro_jax.experiments.compare.latency import case_errors, is_forecast

# The first grids had their best at an edge: these go on beyond it. Not the window: its
# 20 s are the whole past of a clip of 24 s.
TAPS: Mapping[str, Sequence[float]] = {"tap_s": (0.25, 0.5, 1.0), "taps": (4, 8, 12)}
WINDOWS: Mapping[str, Sequence[float]] = {"window_s": (8.0, 20.0), **TAPS}
GRIDS: Mapping[str, Mapping[str, Sequence[float]]] = MappingProxyType(
    {
        "linear": {"line_s": (0.1, 0.25, 0.5, 1.0)},
        "ridge": {**WINDOWS, "ridge": (0.0001, 0.01, 0.3)},
        # Forgetting nothing (1) is the end of what there is.
        "rls": {**TAPS, "forgetting": (0.98, 1.0), "ridge": (0.01, 1.0, 100.0)},
        "nlms": {**TAPS, "taps": (4, 8, 12, 16), "step": (0.05, 0.2, 0.5)},
        "kernel_density": {**WINDOWS, "kernel_mm": (0.15, 0.5, 1.5)},
    }
)


def trials(name: str) -> Iterator[dict[str, Any]]:
    """Yields every setting of a forecaster's grid."""
    grid = GRIDS[name]
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def at_edge(name: str, setting: Mapping[str, Any]) -> list[str]:
    """Returns the keys of a setting that are the least or largest of the grid."""
    return [
        k for k, v in setting.items() if v in (min(GRIDS[name][k]), max(GRIDS[name][k]))
    ]


def traces(workdir: Path) -> tuple[list[Mapping[str, Any]], Any]:
    """Returns tracked clips of the tracker that is forecast, and their config.

    Args:
        workdir: of a comparison that ended.

    Raises:
        FileNotFoundError: there is no results.json in it.
    """
    table = json.loads((workdir / "results.json").read_text(encoding="utf-8"))
    config: Any = ConfigDict(table["config"])
    # Records of other scenarios may be of an earlier call, and of other seeds.
    scenarios = {row["scenario"] for row in table["rows"]}
    paths = [p for s in scenarios for p in (workdir / "records" / s).glob("*.json")]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)]
    chosen = [one for one in records if is_forecast(one, table["forecast_of"])]
    return [case for record in chosen for case in record["cases"]], config


def score(name: str, setting: Mapping[str, Any], cases: Any, forecast: Any) -> float:
    """Returns the mean error of a forecaster over clips and horizons, mm.

    Args:
        name: one of `FORECASTERS`.
        setting: its settings, in place of the config's.
        cases: of records.
        forecast: the config's section.
    """
    used = ConfigDict({**forecast.to_dict(), name: dict(setting)})
    found = [case_errors(name, case, used) for case in cases]
    means = [one["mean_mm"] for case in found for one in case if one]
    return float(np.mean(means))


def main(argv: Sequence[str]) -> int:
    """Prints the best setting of each forecaster and how many were tried."""
    if len(argv) != 1 or not (Path(argv[0]) / "results.json").is_file():
        print(__doc__, file=sys.stderr)
        return 2
    cases, config = traces(Path(argv[0]))
    if config.clips.seeds != "tuning":
        print(f"{argv[0]} is of the seeds {config.clips.seeds!r}", file=sys.stderr)
        return 2
    plain = score("repeat_last", {}, cases, config.forecast)
    print(f"{len(cases)} traces; repeat_last: {plain:.3f} mm")
    for name in GRIDS:
        tried = [(score(name, s, cases, config.forecast), s) for s in trials(name)]
        least_mm, setting = min(tried, key=lambda pair: pair[0])
        words = f"{least_mm:.3f} mm with {setting}, of {len(tried)} tried"
        edges = ", ".join(at_edge(name, setting))
        print(f"{name}: {words}; at an edge: {edges or 'none'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
