"""Sizes at which no patient can be rendered."""

from __future__ import annotations

import dataclasses

import numpy as np
from bad import Bad

from fluoro_jax.geometry import square_panel
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.fluoroscope import Case, simulate
from fluoro_jax.sim.tumor.tumor import Tumor


def _simulate(*, voxel_mm=8.0, photons=0.0, panel=None, times=(0.0,), **view):
    def call(folder):
        tumor = Tumor(np.zeros(3, np.float32), 20.0, 10.0, 5.0)
        case = Case(Anatomy(), Breathing(), tumor, np.array(times, np.float32))
        geometry = dataclasses.replace(panel or square_panel(32), **view)
        simulate(case, geometry, voxel_mm=voxel_mm, photons=photons)

    return call


ROWS = [
    Bad("voxels of a kilometre", _simulate(voxel_mm=1e6), ("voxel_mm", "0.5 to 32")),
    Bad("voxels of no size", _simulate(voxel_mm=0.0), ("voxel_mm",)),
    Bad("voxels that fill memory", _simulate(voxel_mm=1e-4), ("voxel_mm",)),
    Bad("a voxel that is no number", _simulate(voxel_mm=float("nan")), ("voxel_mm",)),
    Bad("a panel of an atom", _simulate(pixel_mm=(3e-11, 3e-11)), ("pixel_mm",)),
    Bad("a pixel of no width", _simulate(pixel_mm=(5.0, float("nan"))), ("column",)),
    Bad("a panel that fills memory", _simulate(rows=10**9), ("rows", "8192")),
    Bad("a panel without pixels", _simulate(cols=0), ("cols",)),
    Bad("a panel before the patient", _simulate(sdd_mm=900.0), ("sdd_mm", "sad_mm")),
    Bad("a billionth of a photon", _simulate(photons=1e-9), ("photons",)),
    Bad("less than no photons", _simulate(photons=-1.0), ("photons",)),
    Bad("a clip without frames", _simulate(times=()), ("time_s", "frame")),
]
