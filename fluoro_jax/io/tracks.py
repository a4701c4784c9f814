"""A clip's track as files: `track.csv`, `masks.mha` and `run.json`."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip, Track
from fluoro_jax.errors import UserError, refuse
from fluoro_jax.geometry import iso_pixel_mm
from fluoro_jax.io.files import beside, check_writable, expand_path
from fluoro_jax.io.mha import MetaImage, write_mha

FILES = ("track.csv", "masks.mha", "run.json")
PAGE, RESULTS = "report.html", "results.json"  # written after the three
# In every run.json: files are passed on without their page.
DISCLAIMER = "Research software. Not a medical device. Not for clinical use."
COLUMNS = {
    "frame": "index of the frame, from 0",
    "time_s": "acquisition time, s",
    "u_px": "column of the centroid; 0 is the centre of the left pixel",
    "v_px": "row of the centroid; 0 is the centre of the top pixel",
    "x_det_mm": "to the right of the central ray, at the detector",
    "y_det_mm": "superior of the central ray, at the detector",
    "x_iso_mm": "to the right of the isocentre, in the isocentre plane",
    "y_iso_mm": "superior of the isocentre, in the isocentre plane",
    "area_iso_mm2": "area of the mask in masks.mha, in the isocentre plane",
    "confidence": "how sure the answer is; of what, says run.json",
    "status": "ok, low_confidence, held (a place predicted for a moment) or missed",
    "latency_ms": "from acquisition to answer: wait for later frames and computation",
}


def check_out(folder: Path, *, overwrite: bool, pixels_only: bool = False) -> None:
    """Checks that results may be written into a folder.

    Args:
        folder: of the track.
        overwrite: results that are there may be replaced.
        pixels_only: the track has no page.

    Raises:
        UserError: if it is a file, cannot be made or written into, or holds results and
            `overwrite` is False.
    """
    # `os.path`: the methods of `Path` raise for a name that is too long.
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UserError(
            f"{folder} is a file",
            needed="a folder, or a name that is still free",
            why=f"{len(FILES)} files are written into it",
            fix="give another --out",
        )
    try:
        check_writable(folder / FILES[-1])
    except OSError as error:
        refuse(
            f"--out {folder}: {error.strerror or error}",
            "a folder that can be made and written into",
            "results are written there when all frames are tracked",
            "give another --out, or change the permissions",
        )
    names = FILES if pixels_only else (*FILES, PAGE, RESULTS)
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise UserError(
            f"{folder} holds {', '.join(there)} already",
            needed="--overwrite, or another folder",
            why="results are not replaced unasked",
            fix=f"add --overwrite, or --out {folder}-2",
        )
    for name in there:
        if (folder / name).is_dir():
            refuse(
                f"{folder / name} is a folder",
                "a folder whose entries of that name are files, or none",
                "--overwrite replaces files of a track, not folders",
                f"move {folder / name} away, or give another --out",
            )


def earlier_record(folder: Path) -> dict[str, Any]:
    """Returns the run.json of a track in a folder, {} where there is none."""
    try:
        record = json.loads((folder / FILES[-1]).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    # Other programs name their records run.json too.
    ours = isinstance(record, dict) and record.get("files") == list(FILES)
    return record if ours else {}


def write_tracks(
    folder: Path,
    clip: Clip,
    rows: Sequence[tuple[Track, float]],
    *,
    masks: np.ndarray,
    run: Mapping[str, Any],
    pixels_only: bool = False,
) -> None:
    """Writes the three files, all or none of them.

    The page of an earlier track in the folder is removed with its results.

    Args:
        folder: made if it is not there.
        clip: what was tracked.
        rows: (track, latency in ms) of every frame, in frame order.
        masks: `[T, H, W]` in {0, 1}, in the clip's own pixels.
        run: what `run.json` says besides columns, files and the statement.
        pixels_only: leave out what is in mm.
    """
    # Whether the folder is ours to remove if nothing can be written.
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    down_mm, right_mm = iso_pixel_mm(clip.geometry)
    gaps = np.diff(np.asarray(clip.time_s, float))
    # A `.mha` has one spacing along time: the median stands for uneven times.
    pixel_mm = (1.0, 1.0) if pixels_only else (right_mm, down_mm)
    spacing = (*pixel_mm, float(np.median(gaps)) if gaps.size else 1.0)
    columns = {k: v for k, v in COLUMNS.items() if not (pixels_only and "_mm" in k)}
    about = {"statement": DISCLAIMER, **run, "columns": columns, "files": list(FILES)}
    try:
        # All three are written beside their places first, so that a full disk leaves
        # the old ones.
        # A page that is not of an earlier track is another run's.
        pages = (PAGE, RESULTS) if earlier_record(folder) else ()
        places, old = ([folder / name for name in names] for names in (FILES, pages))
        with beside(*places, gone=old) as (table, image, record):
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(columns), extrasaction="ignore")
                writer.writeheader()
                for (track, latency_ms), mask in zip(rows, masks, strict=True):
                    writer.writerow(_row(track, latency_ms, clip, int(mask.sum())))
            write_mha(image, MetaImage(masks.astype(np.uint8), spacing))
            text = json.dumps(about, indent=1, allow_nan=False, ensure_ascii=False)
            record.write_text(text + "\n", encoding="utf-8")
    # BaseException: Ctrl-C must leave no half result either.
    except BaseException:
        if made and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _row(track: Track, latency_ms: float, clip: Clip, area_px: int) -> dict[str, Any]:
    view = clip.geometry
    row, column = np.asarray(track.centroid_px, float)
    # The track's millimetres count superior and right as positive, pixels down and
    # right.
    superior, right = np.asarray(track.centroid_iso_mm, float)
    magnified = float(view.sdd_mm) / float(view.sad_mm)
    down_mm, right_mm = iso_pixel_mm(view)
    values = {
        "time_s": float(clip.time_s[track.frame]),
        "u_px": column,
        "v_px": row,
        "x_det_mm": right * magnified,
        "y_det_mm": superior * magnified,
        "x_iso_mm": right,
        "y_iso_mm": superior,
        "area_iso_mm2": area_px * down_mm * right_mm,
        "confidence": float(track.confidence),
    }
    # Six digits: 0.001 mm in a metre. NaN is printed as "nan", which readers of CSV
    # know.
    numbers = {key: f"{value:.6g}" for key, value in values.items()}
    latency = {"status": track.status, "latency_ms": f"{latency_ms:.1f}"}
    return {"frame": track.frame, **numbers, **latency}


@dataclass(frozen=True)
class TrackTable:
    """Positions of a tumour at times, as a tracker or a truth states them.

    Attributes:
        time_s: `[T]` rising.
        place_mm: `[T, 2]` (superior, right of image) in the isocentre plane from the
            isocentre; NaN where nothing was found.
        status: `[T]` of each, "" where the file has none.
    """

    time_s: np.ndarray
    place_mm: np.ndarray
    status: tuple[str, ...]


def read_track(path: str | Path) -> TrackTable:
    """Reads a `track.csv`, or any CSV with its columns time_s, x_iso_mm and y_iso_mm.

    Args:
        path: the file, or the folder that holds a track.csv.

    Raises:
        UserError: no such file, columns that are missing, values that are no numbers,
            times that do not rise.
    """
    path = expand_path(str(path))
    path = path / FILES[0] if path.is_dir() else path
    needed = "a CSV with the columns time_s, x_iso_mm, y_iso_mm (mm at the isocentre)"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        names = ("time_s", "y_iso_mm", "x_iso_mm")
        values = np.array([[float(row[name]) for name in names] for row in rows])
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else str(error)
        refuse(
            f"{path}: {what}",
            needed,
            "positions are compared at times, in millimetres",
            "give the folder of `fluoro track` (without --pixels-only), or write such "
            "a CSV",
        )
    if not len(values) or not (np.diff(values[:, 0]) > 0.0).all():
        refuse(
            f"{path}: {len(values)} rows" + ", times that do not rise" * bool(rows),
            needed + "; rows in order of time",
            "positions are compared at times",
            "sort the rows by time_s and leave out repeats",
        )
    status = tuple(row.get("status") or "" for row in rows)
    return TrackTable(values[:, 0], values[:, 1:], status)
