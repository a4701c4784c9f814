"""A clip of the example patient: a real chest CT that breathes as somebody did."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.data.patient_bodies import PATIENT, read_patient
from fluoro_jax.geometry import square_panel
from fluoro_jax.metrics import centroid_px
from fluoro_jax.sim.body.breathing import Breathing, load_trace
from fluoro_jax.sim.ct_body import breathing_frames, ct_body
from fluoro_jax.sim.ct_gtv import gtv_clip
from fluoro_jax.sim.ct_tumor import path_mm
from fluoro_jax.sim.fluoroscope import add_quantum_noise

EXAMPLE = Path(__file__).parent / "example"
FRAMES, FRAME_S, PIXELS = 60, 0.5, 256
TRACE = "irregular"
RANGE = (5.0, 95.0)  # percentiles of the recording that count as exhale and inhale
SI_MM, AP_MM = 14.0, 5.0  # of the diaphragm and the chest wall between those
QUANTA = 2e4  # unattenuated, a pixel
VOXEL_MM = 3.0


def example_clip(*, frames: int = FRAMES) -> Clip:
    """Returns a clip of the example patient with its truth.

    The breath is a recording that no training has seen; the CT moves by
    `sim.ct.animate`, and the tumour with the lung around it.

    Args:
        frames: of 0.5 s each.
    """
    patient, view = read_patient(EXAMPLE / PATIENT), square_panel(PIXELS)
    isocentre = [float(x) for x in patient.isocentre_mm]
    body = ct_body(
        patient.hu[0], patient.grid, view, voxel_mm=VOXEL_MM, isocentre_mm=isocentre
    )
    times = FRAME_S * np.arange(frames)
    breath = recorded_breath()
    lines = breathing_frames(body, breath, times, view)
    centre = patient.centre_mm[0] - patient.isocentre_mm
    path = path_mm(body.landmarks, breath, times, centre.astype(np.float32))
    gtv: Any = jax.tree.map(jnp.asarray, patient.gtv)
    added, mask = gtv_clip(gtv, path, view)
    noisy = add_quantum_noise(lines + added, jax.random.key(0), QUANTA)
    clip = Clip(np.asarray(noisy), times, view, np.asarray(mask))
    return dataclasses.replace(clip, centroid_px=centroid_px(np.asarray(mask)))


def recorded_breath() -> Breathing:
    """Returns a recording's breath with amplitudes of a patient's, mm."""
    trace, rate_hz = load_trace(TRACE)
    low, high = np.percentile(trace, RANGE)
    share = ((trace - low) / (high - low)).astype(np.float32)
    return Breathing(si_mm=SI_MM, ap_mm=AP_MM, trace=share, trace_rate_hz=rate_hz)
