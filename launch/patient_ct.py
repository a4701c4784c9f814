"""Fits a tracker to a patient's CT and contour, and tracks another day of that CT.

python -m launch.patient_ct --ct=DIR --rtstruct=FILE --roi=GTV --workdir=DIR

The clip is the same CT, all of it 3 % larger and 3 mm lower than planned, breathing as
somebody did, at 512 x 512 pixels with scatter and noise (`patient/other_day.py`), as a
DICOM RT Image. `fluoro fit` reads the CT and the contour as they are. Errors are
printed against the path of the tumour in the animation. Works with any chest CT.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from fluoro_jax.interrupts import exit_with
from fluoro_jax.io.contours import centroid_mm
from fluoro_jax.io.dicom.rtstruct import read_rtstruct
from fluoro_jax.io.dicom.series import read_series_ct
from fluoro_jax.io.dicom.write import write_rt_image
from fluoro_jax.io.files import expand_path
from fluoro_jax.patient.other_day import other_day_clip
from launch.patient_line import (
    TRUTH,
    check_same,
    fit_and_judge,
    note,
    run_line,
    write_truth,
)


def main(argv: Sequence[str]) -> int:
    """Renders, fits, tracks and prints; returns the exit code."""
    return run_line("patient_ct", argv, _define, _run)


def _define(known: flags.FlagValues) -> Sequence[str]:
    meanings = {
        "ct": "folder with one CT series",
        "rtstruct": "file with the contours, or a folder with one such file",
        "roi": "name of the tumour's contour",
    }
    for name, meaning in meanings.items():
        flags.DEFINE_string(name, None, meaning, flag_values=known)
    return tuple(meanings)


def _run(work: Path, known: flags.FlagValues) -> int:
    folder, contours = expand_path(known.ct), expand_path(known.rtstruct)
    asked = {"ct": str(folder), "rtstruct": str(contours), "roi": known.roi}
    clip = work / "clip"
    check_same(work, asked)
    if not (clip / TRUTH).exists():
        ct = read_series_ct(folder)
        roi = read_rtstruct(contours, ct=ct).roi(known.roi)
        note(work, asked)
        taken, places = other_day_clip(ct.hu, ct.grid, centroid_mm(roi))
        clip.mkdir(parents=True, exist_ok=True)
        write_rt_image(clip / "clip.dcm", taken)
        write_truth(clip, taken.time_s, places)
    fit = [f"--ct={folder}", f"--rtstruct={contours}", f"--roi={known.roi}"]
    return fit_and_judge(work, fit, clip / "clip.dcm", minutes=known.minutes)


if __name__ == "__main__":
    exit_with(main(sys.argv[1:]))
