"""Reads a finished table: values as text, what leads it, what it cannot show.

Works on the dictionary of `tables.build_table` and on those stored by older versions,
which lack some keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fluoro_jax.evaluation.statistics import FEW, MISSED_MM, distance_summary

Table = Mapping[str, Any]
PHASE_PRIORS = ("phase_prior", "phase_prior_frame0")
# The baselines that see no image, or frame 0 alone, whatever frame they answer for.
BLIND = ("static", "static_frame0", *PHASE_PRIORS)
AXIS = {"vertical_iso_mm": 0, "horizontal_iso_mm": 1}  # in [vertical, horizontal]
# The rows of the short table and of the strata, and those compared with baselines.
COMPARED = ("iou", "vertical_iso_mm", "horizontal_iso_mm", "within_3mm")
LEAD_LABELS = (
    "median distance [mm at isocentre]",
    "P90 of distance [mm at isocentre]",
    f"missed: over {MISSED_MM:.0f} mm [% of cases]",
)
LEAD_WORDS = (
    "Median, P90 (90th percentile) and missed are over cases, of each case's distance: "
    "Euclidean, centroid of mask to centroid of mask, in the isocentre plane, averaged "
    f"over the case's frames. A case is missed if that is over {MISSED_MM:.0f} mm; one "
    "frame with an empty prediction is usually enough for it."
)
FEW_WORDS = f"with fewer than {FEW}, the cases' median and range stand instead"


def column(table: Table, who: str = "ours") -> dict[str, Any]:
    """Returns what the table says of a tracker itself.

    Raises:
        KeyError: no such tracker in this table.
    """
    for one in table["columns"]:
        if one["key"] == who:
            return one
    raise KeyError(f"no tracker {who!r} in the table {table.get('name', '')}")


def value(table: Table, key: str, who: str = "ours") -> dict[str, Any]:
    """Returns one measure of a tracker: mean, low, high, n and, if new, median."""
    # Every table has every row, so a missing key is a mistake in the code.
    row = next(row for row in table["rows"] if row["key"] == key)
    return row["values"][who]


def causality(one: Mapping[str, Any]) -> str:
    """Returns "yes; 0" or the like: causal, and frames of lookahead."""
    return f"{'yes' if one['causal'] else 'no'}; {one['lookahead_frames']}"


def given_to(frame0: bool) -> str:
    """Returns the reference that a tracker is given, as tables store it."""
    return "frame 0 and its mask" if frame0 else "none"


def reference_given(one: Mapping[str, Any]) -> str:
    """Returns a column's reference; older tables say "nothing" for "none"."""
    return "none" if one["given"] == "nothing" else one["given"]


def empty_predictions(one: Mapping[str, Any]) -> int:
    """Returns a column's number of frames with an empty prediction."""
    old = "lost_frames"  # its name in tables of version 0.1.0
    return one["empty_predictions" if "empty_predictions" in one else old]


def format_value(record: Mapping[str, Any], decimals: int) -> str:
    """Returns a measure as text, or a dash where there is nothing.

    "0.912 [0.897, 0.925]" is a mean and its 95 % interval; under `FEW` cases
    "median 0.91 [range 0.62 to 0.95]"; "0.91 (n = 8)" where an older table has few
    cases and no median.
    """
    # None where no case has the measure: JSON has no NaN.
    if record["mean"] is None:
        return "-"
    text = lambda *keys: [f"{record[key]:.{decimals}f}" for key in keys]
    if record.get("n", FEW) >= FEW:
        mean, low, high = text("mean", "low", "high")
        return f"{mean} [{low}, {high}]"
    if record["n"] == 1 or record.get("median") is None:
        return f"{text('mean')[0]} (n = {record['n']})"
    middle, least, most = text("median", "least", "most")
    return f"median {middle} [range {least} to {most}]"


def lead_of(table: Table, who: str = "ours") -> dict[str, Any] | None:
    """Returns a tracker's `statistics.distance_summary`, None if not recorded."""
    if "lead" in table:
        return table["lead"][who]
    if who != "ours" or "cases" not in table:
        return None
    distance_mm = [case["distance_mm"] for case in table["cases"]]
    # JSON's None back to the NaN that the summary leaves out.
    return distance_summary([np.nan if d is None else d for d in distance_mm])


def lead_cells(found: Mapping[str, Any] | None) -> list[str]:
    """Returns the text of `LEAD_LABELS`: median, P90, and missed with its counts."""
    if found is None or not found["n"]:
        return ["-"] * len(LEAD_LABELS)
    missed, n = found["missed"], found["n"]
    share = f"{100.0 * missed / n:.1f} ({missed} of {n})"
    return [f"{found['median_mm']:.2f}", f"{found['p90_mm']:.2f}", share]


def baselines_ahead(table: Table) -> list[str]:
    """Returns a sentence for each baseline with a better mean than the network's.

    Where a clip is one frame, none is named that is shown this frame with its mask.
    """
    one_frame = table["n_frames"] == table["n_cases"]
    sentences = []
    for one in table["columns"]:
        told = one_frame and reference_given(one) == given_to(frame0=True)
        if one["key"].startswith("ours") or told:
            continue
        better = []
        for row in table["rows"]:
            ours, theirs = (row["values"][w]["mean"] for w in ("ours", one["key"]))
            if row["key"] not in COMPARED or ours is None or theirs is None:
                continue
            # Any better mean is named, however small; both numbers are printed.
            if theirs > ours if row["higher_is_better"] else theirs < ours:
                places = row["decimals"]
                better.append(
                    f"{row['label']} ({theirs:.{places}f}; network {ours:.{places}f})"
                )
        if better:
            sentences.append(
                f"The baseline “{one['label']}” (reference given: "
                f"{reference_given(one)}) has a better mean than the network in "
                f"{', '.join(better)}."
            )
    return sentences


def no_motion(table: Table, key: str, tolerance_mm: float = 0.0) -> str:
    """Returns why an error along this measure's axis shows nothing, or "".

    Args:
        table: with `scale`, as `evaluate` stores it.
        key: of the measure; one that belongs to no axis always gives "".
        tolerance_mm: of a comparison, if there is one.

    An axis is without motion if the truth ranges over less than a pixel, or than the
    tolerance, in the frame (see `statistics.truth_span_mm`). Where a table does not
    tell, the tumour's stored SI amplitude stands for the vertical range.
    """
    if key not in AXIS:
        return ""
    scale = table.get("scale", {})
    spans, pixel = scale.get("truth_span_mm"), scale.get("pixel_iso_mm", 0.0)
    if spans is not None:
        span = spans[AXIS[key]]
    elif key == "vertical_iso_mm" and table.get("cases"):
        # The SI amplitude is vertical in every view (the panel turns about the SI
        # axis).
        span = float(np.median([case["si_mm"] for case in table["cases"]]))
    else:
        return "motion not recorded"
    if span >= max(pixel, tolerance_mm):
        return ""
    limit = f"a pixel is {pixel:.2f} mm"
    limit += f", the tolerance {tolerance_mm:g} mm" if tolerance_mm else ""
    return f"no motion on this axis: the truth spans {span:.2f} mm, {limit}"
