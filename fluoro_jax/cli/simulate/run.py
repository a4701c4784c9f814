"""`fluoro simulate`: draws, films and writes case by case, each whole or not at all."""

from __future__ import annotations

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

from fluoro_jax.cli.simulate.cases import (
    Drawn,
    coverage_of,
    draw_case,
    film_case,
    machine_of,
    range_mm,
    study_spec,
    truth_of,
)
from fluoro_jax.cli.simulate.options import Options
from fluoro_jax.cli.simulate.pictures import sheet_row, write_film, write_sheet
from fluoro_jax.clip import Clip
from fluoro_jax.errors import UserError
from fluoro_jax.io.mha import MetaImage, write_mha
from fluoro_jax.io.trackrad import TrackRadCase, write_trackrad

SHEET = "contact_sheet.png"
SHEET_CASES = 24  # rows of the sheet; more would be a picture nobody opens


def simulate(options: Options) -> None:
    """Writes `options.cases` case folders and a sheet of them into `options.out`.

    Raises:
        UserError: before anything is written, for values that cannot be or a folder
            that holds such cases already.
    """
    spec, sources = study_spec(options)
    exposure = machine_of(options)
    names = [f"case_{number:04d}" for number in range(options.cases)]
    _check_folder(options, names)
    existed = options.out.is_dir()
    options.out.mkdir(parents=True, exist_ok=True)
    staging = options.out / f".unfinished-{os.getpid()}"
    rows: list[Image.Image] = []
    try:
        for number in _progress(options):
            drawn = draw_case(spec, options, number)
            clip, seen = film_case(drawn, spec, exposure)
            truth = truth_of(
                drawn, clip, seen, spec=spec, sources=sources, exposure=exposure
            )
            row = _write_case(staging, drawn, clip, truth=truth, suffix=options.picture)
            _put(staging, options.out, drawn.name)
            if number < SHEET_CASES:
                rows.append(row)
        write_sheet(options.out / SHEET, rows)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if not existed and not any(options.out.iterdir()):
            options.out.rmdir()
    if not options.quiet:
        print(
            f"{options.cases} cases in {options.out}, all in {SHEET}", file=sys.stderr
        )


def _write_case(
    staging: Path, drawn: Drawn, clip: Clip, *, truth: dict[str, Any], suffix: str
) -> Image.Image:
    """One case's folder inside `staging`; returns its row of the sheet."""
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
    write_film(folder / f"film.{suffix}", clip)
    labels, moves = drawn.labels, range_mm(clip)
    words = (
        f"{drawn.name}   {labels['shape']} {labels['diameter_mm']:.0f} mm, "
        f"{labels['side']} {labels['lobe']}, SI {moves['SI']:.0f} mm, "
        f"AP {moves['AP']:.0f} mm, {labels['breathing']}"
    )
    return sheet_row(clip, words)


def _put(staging: Path, out: Path, name: str) -> None:
    """Moves a finished case to its place; what stood there goes with the staging."""
    if (out / name).exists():
        (out / name).replace(staging / f"old-{name}")
    (staging / name).replace(out / name)


def _check_folder(options: Options, names: list[str]) -> None:
    out = options.out
    if out.exists() and not out.is_dir():
        raise UserError(
            f"{out} is a file",
            needed="a folder, or a name that is still free",
            why="every case is a folder of files",
            fix="give another --out",
        )
    there = [name for name in (*names, SHEET) if (out / name).exists()]
    if there and not options.overwrite:
        raise UserError(
            f"{len(there)} of the results are in {out} already, first {there[0]}",
            needed="--overwrite, or another folder",
            why="finished cases are not replaced unasked",
            fix=f"add --overwrite, or --out {out}-2",
        )


def _progress(options: Options) -> Iterator[int]:
    """Case numbers; a bar with the time left, or plain lines where nobody looks."""
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
