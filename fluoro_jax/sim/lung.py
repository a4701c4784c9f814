"""The lung over time: its motion, its density, and the tubes that cross it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from fluoro_jax.compiling import QuickToCompile
from fluoro_jax.geometry import AnyArray
from fluoro_jax.sim.body import organs, solids, vessels
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing, breathing_signal
from fluoro_jax.sim.body.motion import pose_at
from fluoro_jax.sim.body.tubes import Tubes

Array = jax.Array
Scalar = Any
VOLUME_VOXEL_MM = 10.0  # grid on which lung volumes are measured


@struct.dataclass
class LungState:
    """The lung of one patient at T times; every leaf begins with `[T]`.

    Attributes:
        si_mm: `[T]` diaphragm displacement from exhale, inferior, mm.
        ap_mm: `[T]` chest wall displacement from exhale, anterior, mm.
        density_g_cc: `[T]` density of the parenchyma, g/cc.
        vessel: lung vessels, leaves `[T, 252, ...]`, world mm.
        airway: trachea and bronchi, leaves `[T, N, ...]`, world mm.
    """

    si_mm: Array
    ap_mm: Array
    density_g_cc: Array
    vessel: Tubes
    airway: Tubes


def breathing_displacement_mm(
    breathing: Breathing, time_s: AnyArray
) -> tuple[Array, Array]:
    """Returns diaphragm (inferior) and chest wall (anterior) motion, each `[T]` mm."""
    si, ap = breathing_signal(breathing, time_s)
    return si * breathing.si_mm, ap * breathing.ap_mm


def lung_volume_mm3(anatomy: Anatomy, si_mm: Scalar, ap_mm: Scalar) -> Array:
    """Returns the volume of both lungs, mm^3, at one pair of displacements, mm."""
    grid, shape = solids.body_grid(VOLUME_VOXEL_MM)
    place = solids.to_reference(anatomy, solids.grid_axes(grid, shape))
    inside = solids.lung_distance(pose_at(anatomy, si_mm, ap_mm), place)
    return jnp.sum(solids.occupancy(inside, VOLUME_VOXEL_MM)) * VOLUME_VOXEL_MM**3


@jax.jit
def lung_density(anatomy: Anatomy, breathing: Breathing, time_s: AnyArray) -> Array:
    """Returns the density of lung parenchyma at each time, `[T]` g/cc.

    The density falls as the lung fills, so that the parenchyma keeps its mass:
    rho(t) = `anatomy.lung_density_g_cc` V(exhale) / V(t). Vessels and
    airways are not part of it.
    """
    return _density(anatomy, *breathing_displacement_mm(breathing, time_s))


def _density(anatomy: Anatomy, si_mm: Array, ap_mm: Array) -> Array:
    # exhale goes through the same loop: a second copy would compile as long again
    exhale = jnp.zeros((1,), jnp.float32)
    moves = (jnp.concatenate([exhale, si_mm]), jnp.concatenate([exhale, ap_mm]))
    volumes = jax.lax.map(lambda d: lung_volume_mm3(anatomy, *d), moves)
    return anatomy.lung_density_g_cc * volumes[0] / volumes[1:]


@QuickToCompile  # runs for a few milliseconds
@jax.jit
def lung_state(
    anatomy: Anatomy, breathing: Breathing, time_s: AnyArray, vessel: Tubes
) -> LungState:
    """Returns the lung at each of `[T]` times.

    Args:
        anatomy: the patient.
        breathing: how the patient breathes.
        time_s: `[T]` s.
        vessel: `vessels.grow` of the same patient.
    """
    si_mm, ap_mm = breathing_displacement_mm(breathing, time_s)
    airway = organs.world_tubes(anatomy, organs.TRACHEA, *organs.BRONCHI)
    repeat = lambda leaf: jnp.broadcast_to(leaf, (si_mm.shape[0], *leaf.shape))
    return LungState(
        si_mm=si_mm,
        ap_mm=ap_mm,
        density_g_cc=_density(anatomy, si_mm, ap_mm),
        vessel=jax.vmap(lambda s, a: vessels.carried(anatomy, vessel, s, a))(
            si_mm, ap_mm
        ),
        airway=jax.tree.map(repeat, airway),
    )
