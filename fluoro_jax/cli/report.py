"""`fluoro report`: the page of a tracked clip, from its files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fluoro_jax.errors import refuse
from fluoro_jax.io.files import expand_path

DOES = "write the page of a tracked clip: player, traces, errors"
EPILOG = """DIR is a folder of `fluoro track`; CLIP what it tracked. The page, one file
without any outside address, and results.json are written into DIR. TRUTH is a CSV with
the columns time_s, x_iso_mm and y_iso_mm; without it, the targets of a TrackRAD folder
are taken if there are any. Research software. Not a medical device. Not for clinical
use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Gives the verb its options."""
    parser.add_argument("folder", metavar="DIR", help="results of fluoro track")
    parser.add_argument("--clip", metavar="CLIP", help="what was tracked")
    parser.add_argument("--truth", metavar="TRUTH", help="positions to judge by")
    parser.add_argument(
        "--window-mm", type=float, default=3.0, help="gating window (default: 3)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback")


def report(args: argparse.Namespace) -> None:
    """Reads clip and track, and writes the page.

    Raises:
        UserError: files that are missing or do not belong together.
    """
    from fluoro_jax.io.read_clip import read_clip
    from fluoro_jax.io.tracks import read_track
    from fluoro_jax.report.clip import Tracked, write_clip_report

    if not args.clip:
        refuse(
            "no --clip",
            "fluoro report DIR --clip=CLIP",
            "the page shows the frames, which DIR does not hold",
            "add --clip=CLIP, as it was given to fluoro track",
        )
    folder, clip = expand_path(args.folder), read_clip(args.clip)
    table = read_track(folder)
    masks, numbers, run = _files(folder)
    if not len(table.time_s) == len(masks) == len(clip.frames) == len(numbers):
        refuse(
            f"{len(clip.frames)} frames in {args.clip}, {len(table.time_s)} rows and "
            f"{len(masks)} masks in {folder}",
            "the clip that was tracked",
            "outlines are drawn on its frames",
            "give the --clip that run.json names",
        )
    truth = read_track(args.truth) if args.truth else None
    path = write_clip_report(
        folder,
        Tracked(clip, table, masks, numbers[:, 0], numbers[:, 1], run, truth),
        window_mm=args.window_mm,
    )
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB) and results.json")


def _files(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Returns masks `[T, H, W]`, (confidence, latency) `[T, 2]` and run.json."""
    import csv
    import json

    import numpy as np

    from fluoro_jax.io.mha import read_mha

    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        with (folder / "track.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        numbers = [(float(r["confidence"]), float(r["latency_ms"])) for r in rows]
        assert {"model", "causal", "lookahead_frames", "warnings"} <= set(run)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        refuse(
            f"{folder}: {error.__class__.__name__} in run.json or track.csv",
            "the three files of `fluoro track`, as they were written",
            "model, geometry and confidence are read from them",
            "track the clip again with --overwrite",
        )
    return read_mha(folder / "masks.mha").array, np.array(numbers), run
