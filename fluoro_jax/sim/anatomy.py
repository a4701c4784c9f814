"""One person's thorax as a handful of numbers, and a population to draw them from.

The shapes follow one real chest (table in motion.py and solids.py); an `Anatomy` says
how this person differs from it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array
Scalar = Any


@struct.dataclass
class Anatomy:
    """What differs from person to person; mm, g/cc or a plain factor.

    Attributes:
        scale_lateral: width of everything, factor.
        scale_ap: depth of everything, factor.
        scale_height: height of everything, factor.
        skin_mm: extra thickness of the outline, all round.
        fat_mm: thickness of the fat under the skin.
        dome_right_mm: top of the right dome at exhale, above the isocentre.
        dome_step_mm: how much lower the left dome is.
        heart_scale: size of the heart, factor.
        heart_x_mm: centre of the heart, left of the midline.
        rib_tilt: extra slope of the ribs, mm down per mm forward.
        rib_shift_mm: ribs as a whole, up.
        rib_radius_mm: half the mean thickness of a rib.
        vertebra_shift_mm: vertebrae as a whole, up.
        mediastinum_mm: extra half width of the mediastinum.
        lung_density_g_cc: mean density of the lung at full exhale.
        vessel_seed: turns the tree of lung vessels, cycles.
    """

    scale_lateral: Scalar = 1.0
    scale_ap: Scalar = 1.0
    scale_height: Scalar = 1.0
    skin_mm: Scalar = 0.0
    fat_mm: Scalar = 10.0
    dome_right_mm: Scalar = 0.0
    dome_step_mm: Scalar = 13.0
    heart_scale: Scalar = 1.0
    heart_x_mm: Scalar = 28.0
    rib_tilt: Scalar = 0.0
    rib_shift_mm: Scalar = 0.0
    rib_radius_mm: Scalar = 4.6
    vertebra_shift_mm: Scalar = 0.0
    mediastinum_mm: Scalar = 0.0
    lung_density_g_cc: Scalar = 0.29
    vessel_seed: Scalar = 0.0


@dataclasses.dataclass(frozen=True)
class Population:
    """The range (low, high) of every `Anatomy` field, drawn evenly and independently.

    The scalings are those of published XCAT populations (0.9 to 1.1 in each axis);
    lung density at exhale is 0.26 to 0.35 g/cc.
    """

    scale_lateral: tuple[float, float] = (0.9, 1.1)
    scale_ap: tuple[float, float] = (0.9, 1.1)
    scale_height: tuple[float, float] = (0.9, 1.1)
    skin_mm: tuple[float, float] = (-4.0, 4.0)
    fat_mm: tuple[float, float] = (6.0, 16.0)
    dome_right_mm: tuple[float, float] = (-8.0, 8.0)
    dome_step_mm: tuple[float, float] = (6.0, 20.0)
    heart_scale: tuple[float, float] = (0.9, 1.1)
    heart_x_mm: tuple[float, float] = (24.0, 32.0)
    rib_tilt: tuple[float, float] = (-0.05, 0.05)
    rib_shift_mm: tuple[float, float] = (-5.0, 5.0)
    rib_radius_mm: tuple[float, float] = (4.2, 5.2)
    vertebra_shift_mm: tuple[float, float] = (-12.0, 12.0)
    mediastinum_mm: tuple[float, float] = (-3.0, 4.0)
    lung_density_g_cc: tuple[float, float] = (0.26, 0.32)
    vessel_seed: tuple[float, float] = (0.0, 1.0)


def sample_anatomy(key: Array, population: Population | None = None) -> Anatomy:
    """Draws one person.

    Args:
        key: a typed JAX key.
        population: the ranges; None means the default population.

    Returns:
        An `Anatomy` of float32 scalars.
    """
    population = Population() if population is None else population
    fields = dataclasses.fields(population)
    draws = jax.random.uniform(key, (len(fields),))
    values = {}
    for field, draw in zip(fields, draws, strict=True):
        low, high = getattr(population, field.name)
        values[field.name] = jnp.float32(low) + draw * jnp.float32(high - low)
    return Anatomy(**values)
