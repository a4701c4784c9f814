"""`fluoro simulate`: draws, renders and writes case by case, each whole or not at all.

Every case carries the hash of what made it (`recipe` in its truth.json). The same
command again keeps the finished cases of that recipe and makes the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from fluoro_jax import __version__
from fluoro_jax.cli.simulate.cases import (
    Drawn,
    coverage_of,
    draw_case,
    machine_of,
    plain_json,
    simulate_case,
    study_spec,
    truth_of,
)
from fluoro_jax.cli.simulate.options import Options
from fluoro_jax.cli.simulate.pictures import sheet_row, write_sheet
from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.io.animation import write_animation
from fluoro_jax.io.mha import MetaImage, write_mha
from fluoro_jax.io.read_clip import read_clip
from fluoro_jax.io.sidecar import NAME, write_sidecar
from fluoro_jax.io.trackrad import TrackRadCase, write_trackrad
from fluoro_jax.sim.xray.exposure import Exposure
from fluoro_jax.studies import StudySpec

SHEET = "contact_sheet.png"
SHEET_CASES = 24  # rows of the sheet; larger sheets are impractical


def simulate(options: Options) -> None:
    """Writes `options.cases` case folders and a sheet of them into `options.out`.

    Cases that are there already and were made by the same command are kept.

    Raises:
        UserError: before anything is written, for values that cannot be or a folder
            that holds other cases already.
    """
    spec, sources = study_spec(options)
    exposure = machine_of(options, spec.geometry())
    names = [f"case_{number:04d}" for number in range(options.cases)]
    recipe = recipe_of(spec, options, exposure)
    finished = _check_folder(options, names, recipe)
    if len(finished) == len(names) and (options.out / SHEET).exists():
        _tell(options, f"all {options.cases} cases are in {options.out} already")
        return
    if finished:
        _tell(options, f"going on: {len(finished)} of {options.cases} cases are there")
    existed = options.out.is_dir()
    options.out.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(options.out)
    # Named by the process: another one that simulates into the same folder is not
    # disturbed.
    staging = options.out / f".unfinished-{os.getpid()}"
    rows: list[Image.Image] = []
    # Rows of the sheet in the order of the cases, those of finished cases among them.
    try:
        for number in _progress(options):
            if names[number] in finished:
                if number < SHEET_CASES:
                    rows.append(_row_of(options.out / names[number]))
                continue
            drawn = draw_case(spec, options, number)
            clip, seen = simulate_case(drawn, spec, exposure)
            truth = truth_of(
                drawn, clip, seen, spec=spec, sources=sources, exposure=exposure
            )
            truth["recipe"] = recipe
            row = _write_case(staging, drawn, clip, truth=truth, suffix=options.picture)
            _put(staging, options.out, names[number])
            if number < SHEET_CASES:
                rows.append(row)
        write_sheet(options.out / SHEET, rows)
    finally:
        # What was moved to its place is out of the staging by now.
        shutil.rmtree(staging, ignore_errors=True)
        # A folder that this call made and left empty goes again.
        if not existed and not any(options.out.iterdir()):
            options.out.rmdir()
    _tell(options, f"{options.cases} cases in {options.out}, all in {SHEET}")


def recipe_of(spec: StudySpec, options: Options, exposure: Exposure | None) -> str:
    """Returns the hash of everything that decides what a case of a number holds."""
    kept = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    # Where to, how many and how loudly do not decide what a case holds; config and
    # overrides are in `spec` already.
    for name in ("out", "cases", "config", "overrides", "overwrite", "quiet"):
        del kept[name]
    made = {"fluoro_jax": __version__, "spec": dataclasses.asdict(spec), **kept}
    if exposure is not None:  # recipes without one stay as they were
        made["exposure"] = plain_json(exposure)
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()


def _tell(options: Options, words: str) -> None:
    if not options.quiet:
        print(words, file=sys.stderr)


def _write_case(
    staging: Path, drawn: Drawn, clip: Clip, *, truth: dict[str, Any], suffix: str
) -> Image.Image:
    """Writes one case's folder inside `staging`; returns its row of the sheet."""
    view, folder = clip.geometry, staging / drawn.name
    shrink = view.sad_mm / view.sdd_mm
    spacing = (1.0, view.pixel_mm[0] * shrink, view.pixel_mm[1] * shrink)
    write_trackrad(
        folder,
        TrackRadCase(
            frames=np.asarray(clip.frames, np.float32),
            rate_hz=truth["frames"]["rate_hz"],
            pixel_mm=spacing[1:],
            labels=np.asarray(clip.mask).astype(np.uint8),
        ),
    )
    soft = MetaImage(np.transpose(coverage_of(clip, drawn.case.tumor)), spacing)
    write_mha(folder / "targets" / f"{drawn.name}_coverage.mha", soft)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    write_sidecar(folder / NAME, clip)
    write_animation(folder / f"clip.{suffix}", clip)
    return sheet_row(clip, _words(truth))


def _row_of(folder: Path) -> Image.Image:
    """Returns the sheet's row of a case that is written already."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return sheet_row(read_clip(folder), _words(truth))


def _words(truth: dict[str, Any]) -> str:
    labels, moves = truth["labels"], truth["range_mm"]
    return (
        f"{truth['case']}   {labels['shape']} {labels['diameter_mm']:.0f} mm, "
        f"{labels['side']} {labels['lobe']}, SI {moves['SI']:.0f} mm, "
        f"AP {moves['AP']:.0f} mm, {labels['breathing']}"
    )


def _put(staging: Path, out: Path, name: str) -> None:
    """Moves a finished case to its place; what stood there goes with the staging."""
    # Into the staging, so that the old case goes only when the new one has its place.
    if (out / name).exists():
        (out / name).replace(staging / f"old-{name}")
    (staging / name).replace(out / name)


def _check_folder(options: Options, names: list[str], recipe: str) -> set[str]:
    """Returns the names of finished cases to keep; refuses a folder with others."""
    out = options.out
    # Checked before anything is drawn: a refused command costs nothing.
    if out.exists() and not out.is_dir():
        raise UserError(
            f"{out} is a file",
            needed="a folder, or a name that is still free",
            why="every case is a folder of files",
            fix="give another --out",
        )
    if options.overwrite:
        return set()
    # Only folders of this command's numbers; others in the folder are none of its
    # business.
    there = [name for name in names if (out / name).exists()]
    finished = {name for name in there if _recipe_in(out / name) == recipe}
    others = [name for name in there if name not in finished]
    # A sheet without cases of ours belongs to another command.
    if (out / SHEET).exists() and not finished:
        others.append(SHEET)
    if others:
        raise UserError(
            f"{len(others)} results of another command are in {out}, first {others[0]}",
            needed="--overwrite, or another folder",
            why="finished cases are not replaced unasked",
            fix=f"add --overwrite, or --out {out}-2",
        )
    return finished


def _recipe_in(folder: Path) -> str | None:
    try:
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        return truth.get("recipe")
    except (OSError, ValueError, AttributeError):
        return None


def _remove_abandoned(out: Path) -> None:
    """Removes what a killed process left half-written."""
    for path in out.glob(".unfinished-*"):
        try:
            # Signal 0 is sent to nobody: it only tells whether the process lives.
            os.kill(int(path.name.split("-")[1]), 0)
        except (ValueError, ProcessLookupError):
            shutil.rmtree(path, ignore_errors=True)
        except PermissionError:  # alive, and another user's
            continue


def _progress(options: Options) -> Iterator[int]:
    """Yields case numbers; shows a bar, or lines on a non-interactive stderr."""
    numbers = range(options.cases)
    if options.quiet:
        yield from numbers
        return
    print("first case: compiling, once, 20-60 s on two cores", file=sys.stderr)
    if sys.stderr.isatty():
        yield from tqdm(numbers, unit="case", desc="simulate")
        return
    start = time.monotonic()
    for number in numbers:
        yield number
        took = time.monotonic() - start
        left = took / (number + 1) * (options.cases - number - 1)
        print(
            f"case {number + 1} of {options.cases}: {took:.0f} s, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
