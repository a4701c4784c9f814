"""Fits a tracker to a simulated patient and tracks a clip of it: the whole line.

python -m launch.patient_phantom --workdir=DIR --minutes=20

The patient is written as a ten-phase 4DCT of 1 x 1 x 2.5 mm in whole HU with contours
of every phase, as a scanner and a planning system would; `fluoro fit` reads only that.
The clip is rendered from the solids themselves: 60 s of irregular breathing that is
never seen in training, a beating heart, quantum noise, and a gain of 1.12. Errors are
printed against the closed-form position.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from fluoro_jax.geometry import position_iso_mm, square_panel
from fluoro_jax.interrupts import exit_with
from fluoro_jax.io.dicom.header import import_pydicom
from fluoro_jax.io.mha import MetaImage, write_mha
from fluoro_jax.io.sidecar import write_sidecar
from fluoro_jax.patient.phantom_dicom import write_phantom
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.sim.fluoroscope import Case, simulate
from fluoro_jax.sim.xray.exposure import Exposure, Tube
from fluoro_jax.sim.xray.scatter import Scatter
from fluoro_jax.stages import stage
from fluoro_jax.studies import StudySpec, study_case
from launch.patient_line import TRUTH, fit_and_judge, run_line, write_truth

PATIENT = 18  # training case of the clinic study: 28.8 mm in the right lung
SECONDS, FRAME_S, PIXELS, VOXEL_MM = 60.0, 0.5, 256, 2.0
DEEPER = 0.9  # of the planning breath's amplitude, on average over breaths
GAIN, QUANTA = 1.12, 2e4
HARD = {"spr": 1.0, "mas": 0.3}  # scatter over primary; charge of a frame


def main(argv: Sequence[str]) -> int:
    """Writes, fits, tracks and prints; returns the exit code."""
    return run_line("patient_phantom", argv, _define, _run)


def _define(known: flags.FlagValues) -> Sequence[str]:
    meaning = "a clip of SPR 1 and 0.3 mAs instead"
    flags.DEFINE_bool("hard", False, meaning, flag_values=known)
    return ()


def _run(work: Path, known: flags.FlagValues) -> int:
    import_pydicom(work / "dicom")  # before half a minute of drawing
    spec = StudySpec(name="clinic", rows=PIXELS, cols=PIXELS)
    case = study_case(spec, "train", PATIENT).case
    if not (work / "dicom").exists():
        with stage("write the patient as DICOM"):
            write_phantom(work / "dicom", case)
    clip = work / ("hard" if known.hard else "clip")
    if not (clip / TRUTH).exists():
        with stage("render the clip"):
            _write_clip(clip, case, hard=known.hard)
    fit = [f"--ct4d={work / 'dicom' / 'ct'}", f"--rtstruct={work / 'dicom/rtstruct'}"]
    fit += ["--roi=GTV", "--isocentre-mm", "0", "0", "0"]
    return fit_and_judge(work, fit, clip / "clip.mha", minutes=known.minutes)


def _write_clip(folder: Path, case: Case, *, hard: bool) -> None:
    times = FRAME_S * np.arange(round(SECONDS / FRAME_S))
    breathing = sample_breathing(
        jax.random.key(20261126),
        SECONDS + 2.0,
        si_mm=DEEPER * float(case.breathing.si_mm),
        ap_mm=float(case.breathing.ap_mm),
    )
    day = dataclasses.replace(
        case,
        breathing=breathing,
        time_s=times.astype(np.float32),
        periodic=False,
        heartbeat=True,
    )
    view, key = square_panel(PIXELS), jax.random.key(3)
    how: dict[str, Any] = {"photons": QUANTA}
    if hard:
        scatter = Scatter(spr=HARD["spr"])
        how = {"exposure": Exposure(tube=Tube(), mas=HARD["mas"], scatter=scatter)}
    clip = simulate(day, view, key, voxel_mm=VOXEL_MM, **how)
    frames = np.asarray(clip.frames) * np.float32(1.0 if hard else GAIN)
    folder.mkdir(parents=True, exist_ok=True)
    write_mha(folder / "clip.mha", MetaImage(frames, (*view.pixel_mm[::-1], 1.0)))
    write_sidecar(folder / "geometry.json", dataclasses.replace(clip, frames=frames))
    places = position_iso_mm(clip.geometry, np.asarray(clip.centroid_px))
    write_truth(folder, clip.time_s, np.asarray(places))


if __name__ == "__main__":
    exit_with(main(sys.argv[1:]))
