"""Planning phases of a box of smooth tissue, deformed by two known smooth fields."""

from __future__ import annotations

import functools

import jax
import numpy as np
from scipy import ndimage

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Grid, project_point, px_to_iso_mm, square_panel
from fluoro_jax.tracking.baselines.motion_model import deformed
from fluoro_jax.tracking.baselines.phases import PatientPhases, centroid_mm

SHAPE, SIDE_MM = (22, 18, 20), 8.0
GRID = Grid(
    tuple(-0.5 * (n - 1) * SIDE_MM for n in SHAPE[::-1]), (SIDE_MM, SIDE_MM, SIDE_MM)
)
VIEW = square_panel(48, detector_mm=260.0)
PHASE = 2.0 * np.pi * np.arange(6) / 6
# Of the two fields in every phase: 0 in the reference phase.
AMOUNTS = np.stack([1.0 - np.cos(PHASE), np.sin(PHASE)], axis=1)


def two_fields():
    """Returns an up-down and a sideways field, `[2, 3, Z, Y, X]` mm."""
    z = np.linspace(-1.0, 1.0, SHAPE[0]).reshape(-1, 1, 1) + np.zeros(SHAPE)
    fields = np.zeros((2, 3, *SHAPE))
    fields[0, 2] = 6.0 * (1.0 - 0.5 * z**2)
    fields[1, 0] = 3.0 * (1.0 - 0.3 * z)
    return fields.astype(np.float32)


@functools.cache
def small_phases():
    """Returns six phases; phase p is the reference deformed by its own field."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.5)
    mu = (0.01 + 0.06 * noise).astype(np.float32)
    index = np.indices(SHAPE) - np.array([11, 9, 8]).reshape(3, 1, 1, 1)
    share = np.clip(3.5 - np.sqrt(np.square(index).sum(axis=0)), 0.0, 1.0)
    mu += 0.02 * share.astype(np.float32)
    fields = np.tensordot(AMOUNTS, two_fields(), axes=1).astype(np.float32)
    move = jax.jit(functools.partial(deformed, grid=GRID))
    moved = lambda v: np.stack([np.asarray(move(v, field)) for field in fields])
    return PatientPhases(moved(mu), moved(share), GRID, fields, 0, VIEW)


def centres_mm(phases):
    """Returns the tumour's centroid in every phase, `[P, 3]` mm."""
    return np.stack([centroid_mm(share, phases.grid) for share in phases.share])


def phase_clip(phases, order=(0, 2, 3, 5)):
    """Returns a clip of the phases named, with the truth."""
    films = phases.films()
    return Clip(
        frames=np.stack([films[p][0] for p in order]),
        time_s=0.5 * np.arange(len(order)),
        geometry=VIEW,
        mask=np.stack([films[p][1] for p in order]),
        centroid_px=np.asarray(project_point(VIEW, centres_mm(phases)[list(order)])),
    )


def away_mm(tracks, clip):
    """Returns the distance of every answer from the truth, `[T]` mm."""
    found = np.stack([t.centroid_px for t in tracks]) - clip.centroid_px
    return np.linalg.norm(np.asarray(px_to_iso_mm(VIEW, found)), axis=1)
