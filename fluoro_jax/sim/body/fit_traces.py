"""Fits the distributions of irregular breathing to recorded traces.

Command: python -m fluoro_jax.sim.body.fit_traces FOLDER

FOLDER holds the recordings by Krilavicius et al. (CC BY 4.0; traces/README.md says
where from): `Frame;Timestamp[ms];x;y;z`, mm, decimal commas. Each trace is resampled to
10 Hz, projected on its main direction with inhale positive, smoothed (1 Hz), and cut
into breaths at its minima. The three markers of one session are one patient: medians
over markers first, then mean and standard deviation over sessions. Sessions of fewer
than 10 breaths (one: three breaths of 20 s) are shown and left out. The last lines are
the numbers that `irregular_breathing.Irregularity` holds.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
from scipy.signal import butter, filtfilt, find_peaks

RATE_HZ = 10.0
SHORTEST_S = 1.5  # between two exhales
PROMINENCE = 0.25  # of the trace's range (5th to 95th percentile)
MAX_LAG_S = 1.5  # searched between two markers
FEWEST = 10  # breaths of a session that counts


Session = dict[str, tuple[np.ndarray, dict[str, float]]]  # by marker: trace, numbers


def read_trace(path: Path) -> np.ndarray:
    """Returns a recording as displacement at 10 Hz, mm `[N]`, inhale positive."""
    lines = path.read_text().replace(",", ".").splitlines()[1:]
    rows = np.array([[float(v) for v in line.split(";")] for line in lines if line])
    time_s = rows[:, 1] / 1000.0
    forward = np.concatenate([[True], time_s[1:] > np.maximum.accumulate(time_s)[:-1]])
    time_s, rows = time_s[forward], rows[forward]
    even = np.arange(time_s[0], time_s[-1], 1.0 / RATE_HZ)
    place = np.stack([np.interp(even, time_s, rows[:, i]) for i in (2, 3, 4)], axis=1)
    place = place - place.mean(axis=0)
    main = np.linalg.svd(place, full_matrices=False)[2][0]
    return place @ (main * np.sign(main[2]))


def breaths(mm: np.ndarray) -> dict[str, np.ndarray]:
    """Returns numbers of each breath of a trace `[N]` mm at 10 Hz.

    Keys: period_s, amplitude (mm), baseline (exhale, mm), inhale (share of the period).
    """
    low_pass = cast(tuple[np.ndarray, np.ndarray], butter(2, 1.0 / (0.5 * RATE_HZ)))
    smooth = filtfilt(*low_pass, mm)
    size = np.ptp(np.percentile(smooth, (5, 95)))
    ends, _ = find_peaks(
        -smooth, distance=SHORTEST_S * RATE_HZ, prominence=PROMINENCE * size
    )
    pairs = list(pairwise(ends))
    tops = np.array([a + np.argmax(smooth[a:b]) for a, b in pairs])
    low, high = smooth[ends[:-1]], smooth[ends[1:]]
    return {
        "period_s": np.diff(ends) / RATE_HZ,
        "amplitude": smooth[tops] - 0.5 * (low + high),
        "baseline": low,
        "inhale": (tops - ends[:-1]) / np.diff(ends),
    }


def statistics(mm: np.ndarray) -> dict[str, float]:
    """Returns statistics of one trace.

    Spreads of the logarithms of period and amplitude, of the baseline in mean
    amplitudes, and correlations of neighbouring breaths.
    """
    found = breaths(mm)
    period, amplitude = np.log(found["period_s"]), np.log(found["amplitude"])
    mean = found["amplitude"].mean()
    return {
        "breaths": float(len(period)),
        "period_s": float(found["period_s"].mean()),
        "period_sd": float(period.std(ddof=1)),
        "amplitude_mm": float(mean),
        "amplitude_sd": float(amplitude.std(ddof=1)),
        "baseline_sd": float(found["baseline"].std(ddof=1) / mean),
        "period_memory": _memory(period),
        "amplitude_memory": _memory(amplitude),
        "baseline_memory": _memory(found["baseline"]),
        "inhale": float(np.median(found["inhale"])),
    }


def _memory(x: np.ndarray) -> float:
    """Returns the correlation of neighbouring breaths."""
    x = x - x.mean()
    return float(np.sum(x[1:] * x[:-1]) / np.sum(x * x))


def lag_cycles(first: np.ndarray, second: np.ndarray, period_s: float) -> float:
    """Returns the delay of `second` against `first`, cycles, by cross-correlation."""
    count = min(len(first), len(second))
    a, b = (x[:count] - x[:count].mean() for x in (first, second))
    most = int(MAX_LAG_S * RATE_HZ)
    lags = np.arange(-most, most + 1)
    inner = slice(most, count - most)
    match = [np.corrcoef(a[inner], np.roll(b, -k)[inner])[0, 1] for k in lags]
    return float(lags[int(np.argmax(match))] / RATE_HZ / period_s)


def main(argv: Sequence[str]) -> int:
    """Prints one line a trace, then the fit over sessions."""
    if len(argv) != 1 or not sorted(Path(argv[0]).glob("*.csv")):
        print(__doc__, file=sys.stderr)
        return 2
    sessions: dict[str, Session] = defaultdict(dict)
    for path in sorted(Path(argv[0]).glob("*.csv")):
        session, marker = path.stem.split("-")[:2]
        trace = read_trace(path)
        numbers = statistics(trace)
        sessions[session][marker] = (trace, numbers)
        words = " ".join(f"{k}={v:.2f}" for k, v in numbers.items())
        print(f"{session} {marker} {words}")
    for name, (mean, spread) in fit(sessions).items():
        print(f"{name:18} {mean:.3f} {spread:.3f}")
    return 0


def fit(sessions: dict[str, Session]) -> dict[str, tuple[float, float]]:
    """Returns mean and standard deviation over sessions of every number."""
    table, lags = defaultdict(list), []
    for markers in sessions.values():
        numbers = [n for _, n in markers.values()]
        if min(n["breaths"] for n in numbers) < FEWEST:
            continue
        for name in numbers[0]:
            table[name].append(np.median([n[name] for n in numbers]))
        if "UCC" in markers:
            (belly, rows), (chest, _) = markers["LAC"], markers["UCC"]
            lags.append(lag_cycles(belly, chest, rows["period_s"]))
    if len(table["breaths"]) < 2:  # no spread to speak of
        return {}
    for name in ("period_s", "period_sd", "amplitude_sd", "baseline_sd"):
        table[f"log {name}"] = list(np.log(table[name]))
    table["chest lag, cycles"] = lags
    return {k: (float(np.mean(v)), float(np.std(v, ddof=1))) for k, v in table.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
