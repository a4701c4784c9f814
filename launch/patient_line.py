"""What `patient_phantom` and `patient_ct` share: fit, track, judge as a user does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from fluoro_jax.cli.main import main as fluoro
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import expand_path, write_text

TRUTH, ASKED = "truth.csv", "asked.json"


def run_line(
    name: str,
    argv: Sequence[str],
    define: Callable[[flags.FlagValues], Sequence[str]],
    work: Callable[[Path, flags.FlagValues], int],
) -> int:
    """Reads the flags, calls `work` with the workdir and them; returns the exit code.

    Args:
        name: of the module in `launch`.
        argv: the command line without the program's name.
        define: defines the module's own flags, all but --workdir and --minutes; returns
            the names of those that must be given.
        work: does it; its `UserError` is printed.
    """
    known = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "takes every file", flag_values=known)
    flags.DEFINE_float("minutes", 20.0, "of fluoro fit", flag_values=known)
    must = ("workdir", *define(known))
    try:
        rest = known([name, *argv])[1:]
        found = f"unread argument {rest[0]!r}" if rest else ""
    except flags.Error as error:
        found = str(error).splitlines()[0]
    missing = [] if found else [flag for flag in must if not known[flag].value]
    try:
        if found or missing:
            usual = " ".join(f"--{flag}=..." for flag in must)
            raise UserError(
                found or f"no --{missing[0]}",
                needed=f"{usual}, and if wanted --minutes=20",
                why="patient, clip, tracker and track are written to the workdir",
                fix=f"python -m launch.{name} {usual}",
            )
        return work(expand_path(known.workdir), known)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def check_same(work: Path, asked: Mapping[str, str]) -> None:
    """Refuses a workdir that `note` marked as made for anything else.

    Raises:
        UserError: naming the value that differs.
    """
    path = work / ASKED
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else asked
    for name, value in asked.items():
        if before.get(name) != value:
            raise UserError(
                f"{work} holds the run of --{name}={before.get(name)}",
                needed=f"--{name}={value} in a workdir of its own",
                why="clip and tracker in it would be taken for this patient's",
                fix="choose another --workdir",
            )


def note(work: Path, asked: Mapping[str, str]) -> None:
    """Marks a workdir as made for these values, for `check_same`."""
    work.mkdir(parents=True, exist_ok=True)
    write_text(work / ASKED, json.dumps(dict(asked), indent=1) + "\n")


def fit_and_judge(work: Path, fit: Sequence[str], clip: Path, *, minutes: float) -> int:
    """Fits a tracker unless there is one, tracks a clip, prints the errors.

    Args:
        work: takes `model` and the track, `tracked_<name>`.
        fit: arguments of `fluoro fit` that name the patient.
        clip: the file; its folder, whose name the track has, holds `TRUTH`.
        minutes: of the fit.

    Returns:
        The exit code.
    """
    model, out = work / "model", work / f"tracked_{clip.parent.name}"
    if not list(model.glob("*.safetensors")):
        asked = ["fit", *fit, f"--minutes={minutes:g}", f"--out={model}"]
        if code := fluoro(asked):
            return code
    tracked = ["track", str(clip), f"--model={model}", f"--out={out}", "--overwrite"]
    truth = f"--truth={clip.parent / TRUTH}"
    return fluoro(tracked) or fluoro(["evaluate-track", str(out), truth])


def write_truth(folder: Path, time_s: Any, places_mm: np.ndarray) -> None:
    """Writes `TRUTH`: where the tumour is, `[T, 2]` of `geometry.position_iso_mm`."""
    rows = [
        f"{time:.4f},{right:.4f},{up:.4f}"
        for time, (up, right) in zip(time_s, places_mm, strict=True)
    ]
    text = "\n".join(["time_s,x_iso_mm,y_iso_mm", *rows]) + "\n"
    write_text(folder / TRUTH, text)
