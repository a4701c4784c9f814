"""`fluoro report`: the page of a tracked clip, from its files."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fluoro_jax.cli import run_record, stated
from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.files import expand_path, readable

TIME_S = 1e-3
SAME = 1e-4  # of a length or an angle: rounding, not another view
DOES = "write the page of a tracked clip: player, traces, errors"
EPILOG = """DIR is a folder of `fluoro track`; CLIP what it tracked; another clip is
refused, and numbers stated to `fluoro track` are taken from run.json. The page, one
file without any outside address, and results.json are written into DIR. TRUTH is a CSV
with the columns time_s, x_iso_mm and y_iso_mm; without it, the targets of a TrackRAD
folder are taken if there are any. Research software. Not a medical device. Not for
clinical use."""


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
    from fluoro_jax.io.read_clip import read_clip_with_sources
    from fluoro_jax.io.tracks import read_track
    from fluoro_jax.report.clip import Tracked, write_clip_report

    if not args.clip:
        refuse(
            "no --clip",
            "fluoro report DIR --clip=CLIP",
            "the page shows the frames, which DIR does not hold",
            "add --clip=CLIP, as it was given to fluoro track",
        )
    folder = expand_path(args.folder)
    masks, numbers, run = _files(folder)
    table = read_track(folder)
    with _whole(folder):
        said = stated.from_words([str(word) for word in run.get("command", [])])
    read = read_clip_with_sources(args.clip, said)
    with _whole(folder):
        found = _differences(read, table, masks, numbers, run)
    if found:
        refuse(
            f"{args.clip}: {found[0]}",
            "the clip that was tracked",
            "outlines are drawn on its frames",
            "give the --clip that run.json names, or track this one",
        )
    truth = read_track(args.truth) if args.truth else None
    path = write_clip_report(
        folder,
        Tracked(read.clip, table, masks, numbers[:, 0], numbers[:, 1], run, truth),
        window_mm=args.window_mm,
    )
    print(
        f"{readable(str(path))} ({path.stat().st_size / 1e6:.1f} MB) and results.json"
    )


def _differences(
    read: Any, table: Any, masks: Any, numbers: Any, run: dict[str, Any]
) -> list[str]:
    """Returns how a clip differs from the one that was tracked, the plainest first."""
    import numpy as np

    clip, found = read.clip, []
    shape = clip.frames.shape
    counts = {len(table.time_s), len(numbers), len(masks)}
    if masks.shape != shape or counts != {shape[0]}:
        rows = f"{len(table.time_s)} rows in track.csv"
        return [f"frames {[*shape]}, masks {[*masks.shape]} and {rows}"]
    # track.csv has six digits; run.json, of fluoro track itself, has all of them.
    told = run.get("time_s", {}).get("value", table.time_s)
    times = np.asarray(clip.time_s, float)
    off = np.abs(times - np.asarray(told, float)).max()
    if off > TIME_S or not np.allclose(times, table.time_s, 1e-5, TIME_S):
        found.append(f"frame times up to {off:.4g} s from those that were tracked")
    for name, value in run_record.grid(clip.geometry).items():
        was = run.get("geometry", {}).get(name, {}).get("value", value)
        if not np.allclose(value, was, rtol=SAME, atol=SAME, equal_nan=True):
            found.append(f"{name} = {value}, and {was} of what was tracked")
    digest = run_record.frames_digest(read)
    if digest and run.get("input", {}).get("frames_sha256") not in (None, digest):
        found.append("other frames than those that were tracked (sha256)")
    return found


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Refuses a record in which something is missing or of another type."""
    wrong = (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError)
    try:
        yield
    except UserError:  # a ValueError too
        raise
    except (*wrong, argparse.ArgumentError) as error:
        refuse(
            f"{folder}: {error.__class__.__name__} in run.json or track.csv",
            "the three files of `fluoro track`, as they were written",
            "model, geometry and confidence are read from them",
            "track the clip again with --overwrite",
        )


def _files(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Returns masks `[T, H, W]`, (confidence, latency) `[T, 2]` and run.json."""
    import csv
    import json

    import numpy as np

    from fluoro_jax.io.mha import read_mha

    with _whole(folder):
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        with (folder / "track.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        numbers = [(float(r["confidence"]), float(r["latency_ms"])) for r in rows]
        assert {"model", "causal", "lookahead_frames", "warnings"} <= set(run)
    return read_mha(folder / "masks.mha").array, np.array(numbers), run
