"""Another day of a patient: the planning CT changed, breathing as somebody did.

Asks whether a tracker made from the planning CT holds when the anatomy is not quite the
planned one. The tumour is what the CT shows at its place, not a sphere.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import (
    Grid,
    position_iso_mm,
    project_point,
    square_panel,
)
from fluoro_jax.patient.demo import recorded_breath
from fluoro_jax.sim.ct import CtVolume, animate, ct_volume, find_landmarks, find_lung
from fluoro_jax.sim.ct_body import TAKEN_AT, resampled
from fluoro_jax.sim.ct_tumor import path_mm
from fluoro_jax.sim.fluoroscope import add_quantum_noise
from fluoro_jax.sim.xray.projector import project
from fluoro_jax.sim.xray.scatter import Scatter, scatter_signal
from fluoro_jax.stages import stage

STRETCH, LOWER_MM = 1.03, 3.0  # of the whole anatomy, about the tumour; then down
PIXELS, FRAME_S, SECONDS, VOXEL_MM = 512, 0.5, 60.0, 1.5
SPR, QUANTA = 0.5, 2e4  # scatter over primary; unattenuated quanta a pixel
AT_ONCE = 10  # frames that scatter together


def other_day_clip(
    hu: np.ndarray, grid: Grid, centre_mm: np.ndarray, *, seconds: float = SECONDS
) -> tuple[Clip, np.ndarray]:
    """Returns a clip of a CT that is stretched, lowered and breathes, and the truth.

    Args:
        hu: of the planning CT, `[Z, Y, X]` Hounsfield units.
        grid: where its voxels are, LPS mm.
        centre_mm: the tumour's centroid, `[3]` LPS mm of the grid; the isocentre.
        seconds: length of the clip.

    Returns:
        The clip, domain "log", 512 x 512 pixels of 0.625 mm at the isocentre, gantry 0;
        where the tumour is, `[T, 2]` (superior, right) mm in the isocentre plane.

    Raises:
        UserError: no lung in the CT, or a breath that its anatomy cannot take.
    """
    volume = _changed(hu, grid, np.asarray(centre_mm, float))
    lung, view = find_lung(volume), square_panel(PIXELS)
    marks = find_landmarks(lung, volume.grid, taken_at=TAKEN_AT)
    breath, times = recorded_breath(), FRAME_S * np.arange(round(seconds / FRAME_S))
    with stage(f"project {len(times)} breathing volumes"):
        moving = animate(volume, marks, breath, times, lung=lung)
        lines = [np.asarray(project(v.mu(), v.grid, view)) for v in moving]
    key, taken = jax.random.key(7), []
    for first in range(0, len(lines), AT_ONCE):
        primary = jnp.exp(-jnp.stack(lines[first : first + AT_ONCE]))
        signal = primary + scatter_signal(primary, primary, view, Scatter(spr=SPR))
        noise = jax.random.fold_in(key, first)
        taken.append(np.asarray(add_quantum_noise(-jnp.log(signal), noise, QUANTA)))
    start = jnp.array([0.0, 0.0, -LOWER_MM])
    path = path_mm(marks, breath, times.astype(np.float32), start)
    places = np.asarray(position_iso_mm(view, project_point(view, path)))
    return Clip(np.concatenate(taken), times, view, domain="log"), places


def _changed(hu: np.ndarray, grid: Grid, centre_mm: np.ndarray) -> CtVolume:
    """The CT's densities about its tumour, stretched and lower than planned."""
    first, apart = (np.asarray(each) for each in (grid.origin_mm, grid.spacing_mm))
    origin: Any = tuple((centre_mm + (first - centre_mm) * STRETCH).tolist())
    spacing: Any = tuple((apart * STRETCH).tolist())
    larger = Grid(origin, spacing)
    volume = ct_volume(
        *resampled(hu, larger, VOXEL_MM), isocentre_mm=centre_mm.tolist()
    )
    x, y, z = volume.grid.origin_mm
    lower = Grid((x, y, z - LOWER_MM), volume.grid.spacing_mm)
    return dataclasses.replace(volume, grid=lower)
