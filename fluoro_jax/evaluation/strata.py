"""Test cases one by one, and in strata of size and of overlapping structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.evaluation import tables
from fluoro_jax.evaluation.statistics import summarise
from fluoro_jax.evaluation.summary import COMPARED
from fluoro_jax.studies.spec import OVERLAPS

CASE_SCORES = (
    *("iou", "dice", "area_pct", "distance_mm", "empty_predictions"),
    *("vertical_iso_mm", "horizontal_iso_mm", "vertical_px", "horizontal_px"),
)


def strata(
    run: Any, test: Mapping[str, Any], train: Mapping[str, Any], cfg: Any
) -> list[dict[str, Any]]:
    """Returns the network's numbers by tumour size and by overlapping structure.

    Args:
        run: `evaluate.Run` of the network on N test cases.
        test: arrays of `load_split`: diameter_mm `[N]` mm, rib_overlap and
            heart_overlap `[N, T]` (share of the mask), kind (N words).
        train: likewise of the training cases; diameter_mm `[M]` is read.
        cfg: reads data, evaluation.bootstrap and seed.

    Returns:
        label, n (cases) and values (`tables.as_record` by row key) of each group that
        has a case.
    """
    size, known = np.asarray(test["diameter_mm"]), np.asarray(train["diameter_mm"])
    # Outward to whole mm, so that the printed limits hold every training case.
    least, most = np.floor(known.min()), np.ceil(known.max())
    smaller, larger = trained_beyond(cfg.data, least, most)
    rib = np.asarray(test["rib_overlap"]).mean(axis=1)
    heart = np.asarray(test["heart_overlap"]).mean(axis=1)
    # 0.1 is ours. The heart goes first, so that no case is in two of these three
    # groups.
    over_heart, over_rib = heart > 0.1, (heart <= 0.1) & (rib > 0.1)
    groups = {
        f"diameter under {least:.0f} mm ({smaller})": size < least,
        f"diameter {least:.0f}-{most:.0f} mm": (size >= least) & (size <= most),
        f"diameter over {most:.0f} mm ({larger})": size > most,
        "over the heart (> 10 % of the mask)": over_heart,
        "over ribs, not the heart": over_rib,
        "over neither": ~over_heart & ~over_rib,
        "harder places than trained (near the midline)": np.array(
            [kind == "hard" for kind in test["kind"]]
        ),
    }
    rows = []
    # Groups overlap (size, place), so their cases do not add up to the test set.
    for label, chosen in groups.items():
        cases = [case for case, wanted in zip(run.cases, chosen, strict=True) if wanted]
        if not cases:
            continue
        patients = None if run.patients is None else run.patients[chosen]
        draws: dict[str, Any] = dict(resamples=cfg.evaluation.bootstrap, seed=cfg.seed)
        summary = summarise(cases, **draws, patients=patients)
        row = {k: tables.as_record(summary[k]) for k in COMPARED}
        rows.append({"label": label, "n": len(cases), "values": row})
    return rows


def trained_beyond(data: Any, least: float, most: float) -> tuple[str, str]:
    """Returns what was trained below and above the stored training sizes, in words.

    Simulated training may draw tumours that the stored training cases do not have.

    Args:
        data: the config's `data`: source, smallest_mm, largest_mm.
        least: smallest stored training diameter, mm.
        most: largest stored training diameter, mm.
    """
    words = ["none trained", "none trained"]
    if data.source == "simulator" and data.smallest_mm < least:
        words[0] = f"simulated down to {data.smallest_mm:g} mm"
    if data.source == "simulator" and data.largest_mm > most:
        words[1] = f"simulated up to {data.largest_mm:g} mm"
    return words[0], words[1]


def case_rows(run: Any, test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the network's numbers and the description of each case.

    Args:
        run: `evaluate.Run` of the network on N test cases.
        test: arrays of `load_split`; lengths in mm, overlaps `[N, T]` as shares of the
            mask.

    Returns:
        One dictionary a case, ready for JSON; None for a score that it does not have.
    """
    rows = []
    for n, case in enumerate(run.cases):
        row: dict[str, Any] = {k: int(test[k][n]) for k in ("id", "set")}
        row |= {k: float(test[k][n]) for k in ("diameter_mm", "si_mm", "factor")}
        row |= {k: test[k][n] for k in ("side", "lobe", "kind")}
        for name in OVERLAPS:
            row[f"{name}_overlap"] = float(np.mean(test[f"{name}_overlap"][n]))
        scores = {k: case[k] for k in CASE_SCORES}
        scores["confidence"] = float(run.confidence[n].mean())
        rows.append(row | {k: None if np.isnan(v) else v for k, v in scores.items()})
    return rows


def easy_and_hard(cases: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Returns the numbers of the sets with the least and the most overlap.

    Args:
        cases: as from `case_rows`; heart and spine count twice, ribs once.

    Returns:
        Set number under "easy" and "hard"; empty without cases.
    """
    # Twice is ours.
    covered: dict[int, list[float]] = {}
    for case in cases:
        over = 2.0 * (case["heart_overlap"] + case["spine_overlap"])
        covered.setdefault(case["set"], []).append(over + case["rib_overlap"])
    if not covered:
        return {}
    means = {number: float(np.mean(values)) for number, values in covered.items()}
    cover = lambda number: means[number]
    return {"easy": min(means, key=cover), "hard": max(means, key=cover)}
