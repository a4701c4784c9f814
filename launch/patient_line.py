"""What `patient_phantom` and `patient_ct` share: fit, track, judge as a user does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from fluoro_jax.cli.main import main as fluoro
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import expand_path, write_text

TRUTH = "truth.csv"


def run_line(
    name: str,
    argv: Sequence[str],
    define: Callable[[flags.FlagValues], Any],
    work: Callable[[Path, flags.FlagValues], int],
) -> int:
    """Reads the flags, calls `work` with the workdir and them; returns the exit code.

    Args:
        name: of the module in `launch`.
        argv: the command line without the program's name.
        define: defines the module's own flags, all but --workdir and --minutes.
        work: does it; its `UserError` is printed.
    """
    known = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "takes every file", flag_values=known)
    flags.DEFINE_float("minutes", 20.0, "of fluoro fit", flag_values=known)
    define(known)
    try:
        rest = known([name, *argv])[1:]
        found = f"unread argument {rest[0]!r}" if rest else ""
    except flags.Error as error:
        found = str(error).splitlines()[0]
    own = [flag for flag in known if flag not in ("workdir", "minutes", "hard")]
    missing = [flag for flag in ("workdir", *own) if found or not known[flag].value]
    try:
        if missing:
            raise UserError(
                found or f"no --{missing[0]}",
                needed=" ".join(f"--{flag}=..." for flag in ("workdir", *own)),
                why="patient, clip, tracker and track are written to the workdir",
                fix=f"python -m launch.{name} "
                + " ".join(f"--{flag}=..." for flag in ("workdir", *own)),
            )
        return work(expand_path(known.workdir), known)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


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
