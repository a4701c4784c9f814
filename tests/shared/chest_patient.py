"""A patient file of a chest from closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from chest import PITCH_MM, chest_hu

from fluoro_jax.data.patient_bodies import PATIENT, PatientFile, write_patient
from fluoro_jax.geometry import Grid
from fluoro_jax.sim.ct_gtv import cut_gtv

MOMENTS = 4


def write_chest_patient(folder: Path) -> Path:
    """Writes a tumour of 30 mm in a lung, at four moments; returns the folder."""
    hu = chest_hu(spine=True)
    grid = Grid((0.0, 0.0, 0.0), (PITCH_MM,) * 3)
    lung = np.argwhere(hu < -500.0)
    z, y, x = lung[
        np.abs(lung - np.median(lung[lung[:, 2] < hu.shape[2] / 2], axis=0))
        .sum(axis=1)
        .argmin()
    ]
    axes = [PITCH_MM * np.arange(n) for n in hu.shape]
    away = np.sqrt(
        (axes[0].reshape(-1, 1, 1) - axes[0][z]) ** 2
        + (axes[1].reshape(1, -1, 1) - axes[1][y]) ** 2
        + (axes[2].reshape(1, 1, -1) - axes[2][x]) ** 2
    )
    share = np.clip(0.5 - (away - 15.0) / PITCH_MM, 0.0, 1.0)
    hu = hu + share * (40.0 - hu)
    without, gtv, centre = cut_gtv(hu, grid, share)
    whole = PatientFile(
        hu=np.stack([without] * MOMENTS),
        grid=grid,
        taken_at=np.linspace(0.2, 0.8, MOMENTS),
        centre_mm=np.stack([centre] * MOMENTS),
        isocentre_mm=centre,
        gtv=gtv,
    )
    write_patient(folder / PATIENT, whole)
    return folder
