"""`fluoro evaluate-track`: a track against a truth, in tracking QA's measures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fluoro_jax.cli import json_option
from fluoro_jax.errors import refuse
from fluoro_jax.io.files import expand_path, write_text

MASKS = "masks.mha"  # of a folder of `fluoro track`
DOES = "judge a track against a truth: errors in mm, gating"
EPILOG = """TRACK is a folder of `fluoro track`, or a CSV with the columns time_s,
x_iso_mm (right of image) and y_iso_mm (superior), mm at the isocentre. TRUTH is another
such, or a TrackRAD case folder with targets and a geometry.json; if both have masks,
TrackRAD2025's measures are printed too, as the challenge computes them (in pixels,
without frames that have no prediction) and corrected. Vertical is
superior-inferior; a bias is positive where the track lies superior of the truth, or to
the right. Research software. Not a medical device. Not for clinical use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("track", metavar="TRACK", help="what is judged")
    parser.add_argument("--truth", metavar="TRUTH", help="what it is judged by")
    parser.add_argument(
        "--window-mm", type=float, default=3.0, help="gating window (default: 3)"
    )
    json_option.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def evaluate_track(args: argparse.Namespace) -> None:
    """Reads both, prints the measures, and writes them if asked.

    Raises:
        UserError: files that cannot be read or compared, a file of `--json` that
            cannot be written; before anything is printed.
    """
    from fluoro_jax.evaluation.track_errors import compare
    from fluoro_jax.io.tracks import read_track

    if not args.truth:
        refuse(
            "no --truth",
            "fluoro evaluate-track TRACK --truth=TRUTH",
            "errors are differences from it",
            "add --truth=truth.csv",
        )
    out = json_option.json_path(args)
    truth, clip = _truth(expand_path(args.truth))
    found = compare(read_track(args.track), truth, window_mm=args.window_mm)
    masks = expand_path(args.track) / MASKS
    lines = [table(found)]
    if clip is not None and masks.is_file():
        found["trackrad"] = _trackrad(masks, clip)
        lines.append(_trackrad_lines(found["trackrad"]))
    # Written before it is printed: whoever sees the table has the file too.
    if out:
        write_text(out, json.dumps(found, indent=1) + "\n")
    print("\n".join(lines))


def table(found: dict[str, Any]) -> str:
    """Returns the measures as lines of text."""
    number = lambda value: "-" if value is None else f"{value:.2f}"
    names = ("bias", "sd", "mae", "rmse", "p5", "p95", "max")
    lines = [
        f"{found['frames']} frames, {found['left_out']} without truth; "
        f"{found['missed_pct']:.1f} % missed (no answer, or over 10 mm)",
        "mm at the isocentre  " + "".join(f"{name:>8}" for name in names),
    ]
    for axis in ("vertical", "horizontal"):
        cells = "".join(f"{number(found[axis][name]):>8}" for name in names)
        lines.append(f"{axis:<21}{cells}")
    distance, gating = found["distance_mm"], found["gating"]
    told = ", ".join(f"{key} {number(value)}" for key, value in distance.items())
    within = ", ".join(
        f"{key.replace('_', ' ')} {value:.1f} %"
        for key, value in found["within_pct"].items()
    )
    return "\n".join(
        [
            *lines,
            f"distance: {told} mm",
            f"within: {within}",
            f"gating at {gating['window_mm']:g} mm: duty cycle "
            f"{number(gating['duty_cycle_pct'])} % (ideal "
            f"{number(gating['ideal_duty_cycle_pct'])} %), false beam-on "
            f"{number(gating['false_beam_on_pct'])} %, missed beam "
            f"{number(gating['missed_beam_pct'])} %, "
            f"{number(gating['switches_per_min'])} switches a minute",
        ]
    )


def _trackrad(path: Path, clip: Any) -> dict[str, Any]:
    """Returns the challenge's measures of the masks in a file, in both forms."""
    from fluoro_jax.evaluation.trackrad_metrics import trackrad_metrics
    from fluoro_jax.geometry import iso_pixel_mm
    from fluoro_jax.io.mha import read_mha

    masks, pixel_mm = read_mha(path).array, iso_pixel_mm(clip.geometry)
    judge = lambda compat: trackrad_metrics(masks, clip.mask, pixel_mm, compat=compat)
    return {"trackrad_compat": judge(True), "corrected": judge(False)}


def _trackrad_lines(found: dict[str, Any]) -> str:
    told = {"trackrad_compat": "as the challenge computes it", "corrected": "corrected"}
    number = lambda value: "-" if value is None else f"{value:.3f}"
    return "\n".join(
        f"TrackRAD, {words}: "
        + ", ".join(f"{name} {number(value)}" for name, value in found[key].items())
        for key, words in told.items()
    )


def _truth(path: Path) -> tuple[Any, Any]:
    """Positions of the truth, and its clip with masks or None."""
    from fluoro_jax.io.tracks import TrackTable, read_track

    if not (path / "images").is_dir():
        return read_track(path), None
    import numpy as np

    from fluoro_jax.geometry import position_iso_mm
    from fluoro_jax.io.read_clip import read_clip
    from fluoro_jax.metrics import centroid_px

    clip = read_clip(path)
    if clip.mask is None:
        refuse(
            f"{path}: no targets",
            "a case folder with targets/<case>_labels.mha",
            "the truth is the centroid of its masks",
            "give a CSV of positions instead",
        )
    mask = np.asarray(clip.mask)
    place = np.full((len(mask), 2), np.nan)
    seen = mask.any(axis=(1, 2))
    place[seen] = position_iso_mm(clip.geometry, centroid_px(mask[seen]))
    times = np.asarray(clip.time_s, float)
    return TrackTable(times, place, ("",) * len(times)), clip
