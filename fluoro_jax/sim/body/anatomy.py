"""The thorax of one patient as a few parameters, and a population to sample from.

The shapes follow one real chest (tables in skeleton.py and solids.py); an `Anatomy`
says how this patient differs from it. docs/phantom.md lists every number.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from fluoro_jax.sim.body import outline

Array = jax.Array
Scalar = Any


@struct.dataclass
class Anatomy:
    """What differs between patients; mm, g/cc or a plain factor.

    Attributes:
        sex: 0 male, 1 female.
        bmi: body mass index; sets the fat, and the outline with it.
        scale_lateral: width of everything, factor.
        scale_ap: depth of everything, factor.
        scale_height: height of everything, factor.
        asymmetry: left side wider (right narrower) than the mean, share.
        skin_mm: extra thickness of the outline, all round.
        fat_mm: thickness of the fat under the skin at a BMI of 24.
        breast_mm: how far a breast stands out, female.
        arms_up: 1 above the head, 0 beside the body.
        dome_right_mm: top of the right dome at exhale, above the isocentre.
        dome_step_mm: how much lower the left dome is.
        heart_scale: size of the heart, factor.
        heart_x_mm: centre of the heart, left of the midline.
        heart_rate_hz: beats a second.
        liver_scale: size of the liver, factor.
        gas_mm: radius of the gas bubble in the stomach.
        rib_tilt_mm: how much steeper the ribs hang, as retreat of their front ends.
        rib_shift_mm: ribs as a whole, up.
        rib_radius_mm: half the mean thickness of a rib.
        bone_density: mineral of every bone, factor.
        vertebra_shift_mm: vertebrae as a whole, up.
        scoliosis_mm: sideways swing of the spine.
        mediastinum_mm: extra half width of the mediastinum.
        lung_density_g_cc: density of lung parenchyma at full exhale, without vessels.
        vessel_scale: thickness of lung vessels, factor.
        vessel_seed: which tree of lung vessels, in [0, 1).
    """

    sex: Scalar = 0.0
    bmi: Scalar = 24.0
    scale_lateral: Scalar = 1.0
    scale_ap: Scalar = 1.0
    scale_height: Scalar = 1.0
    asymmetry: Scalar = 0.0
    skin_mm: Scalar = 0.0
    fat_mm: Scalar = 9.0
    breast_mm: Scalar = 18.0
    arms_up: Scalar = 1.0
    dome_right_mm: Scalar = -6.0
    dome_step_mm: Scalar = 13.0
    heart_scale: Scalar = 1.0
    heart_x_mm: Scalar = 28.0
    heart_rate_hz: Scalar = 1.15
    liver_scale: Scalar = 1.0
    gas_mm: Scalar = 14.0
    rib_tilt_mm: Scalar = 0.0
    rib_shift_mm: Scalar = 0.0
    rib_radius_mm: Scalar = 4.5
    bone_density: Scalar = 1.0
    vertebra_shift_mm: Scalar = 0.0
    scoliosis_mm: Scalar = 0.0
    mediastinum_mm: Scalar = 0.0
    lung_density_g_cc: Scalar = 0.29
    vessel_scale: Scalar = 1.0
    vessel_seed: Scalar = 0.0


@dataclasses.dataclass(frozen=True)
class Population:
    """The range (low, high) of every `Anatomy` field, drawn evenly and independently.

    The scalings are those of published XCAT populations (0.9 to 1.1 in each axis),
    women from the lower, men from the upper three quarters. `sex` is the range that is
    rounded to 0 or 1. Where the outline would leave the volume, `sample_anatomy`
    reduces the lateral or AP scale until it fits.
    """

    sex: tuple[float, float] = (0.0, 1.0)
    bmi: tuple[float, float] = (19.0, 31.0)
    scale_lateral: tuple[float, float] = (0.9, 1.1)
    scale_ap: tuple[float, float] = (0.9, 1.1)
    scale_height: tuple[float, float] = (0.9, 1.1)
    asymmetry: tuple[float, float] = (-0.03, 0.03)
    skin_mm: tuple[float, float] = (-3.0, 4.0)
    fat_mm: tuple[float, float] = (7.0, 12.0)
    breast_mm: tuple[float, float] = (10.0, 24.0)
    arms_up: tuple[float, float] = (0.7, 1.0)
    dome_right_mm: tuple[float, float] = (-13.0, 2.0)
    dome_step_mm: tuple[float, float] = (6.0, 20.0)
    heart_scale: tuple[float, float] = (0.9, 1.08)
    heart_x_mm: tuple[float, float] = (24.0, 32.0)
    heart_rate_hz: tuple[float, float] = (0.9, 1.5)
    liver_scale: tuple[float, float] = (0.92, 1.06)
    gas_mm: tuple[float, float] = (8.0, 20.0)
    rib_tilt_mm: tuple[float, float] = (-2.0, 2.0)
    rib_shift_mm: tuple[float, float] = (-3.0, 3.0)
    rib_radius_mm: tuple[float, float] = (4.1, 4.9)
    bone_density: tuple[float, float] = (0.85, 1.15)
    vertebra_shift_mm: tuple[float, float] = (-8.0, 8.0)
    scoliosis_mm: tuple[float, float] = (-4.0, 4.0)
    mediastinum_mm: tuple[float, float] = (-3.0, 4.0)
    lung_density_g_cc: tuple[float, float] = (0.26, 0.32)
    vessel_scale: tuple[float, float] = (0.85, 1.15)
    vessel_seed: tuple[float, float] = (0.0, 1.0)


SIZES = ("scale_lateral", "scale_ap", "scale_height")


def sample_anatomy(key: Array, population: Population | None = None) -> Anatomy:
    """Returns one patient drawn from a population.

    Args:
        key: a typed JAX key.
        population: the ranges; None means the default population.

    Returns:
        An `Anatomy` of float32 scalars.
    """
    population = Population() if population is None else population
    fields = [field.name for field in dataclasses.fields(population)]
    draws = dict(zip(fields, jax.random.uniform(key, (len(fields),)), strict=True))
    values = {}
    for name in fields:
        low, high = getattr(population, name)
        draw = draws[name]
        if name in SIZES:  # sex comes first in the list
            draw = 0.75 * draw + 0.25 * (1.0 - values["sex"])
        value = jnp.float32(low) + draw * jnp.float32(high - low)
        values[name] = jnp.round(value) if name == "sex" else value
    return fitted(Anatomy(**values))


def fitted(anatomy: Anatomy) -> Anatomy:
    """Returns the patient, scaled down where the outline would leave the volume."""
    more_mm = anatomy.skin_mm + girth_mm(anatomy)
    lateral, depth = outline.most_scales(
        more_mm, anatomy.breast_mm * anatomy.sex, anatomy.asymmetry
    )
    return dataclasses.replace(
        anatomy,
        scale_lateral=jnp.minimum(anatomy.scale_lateral, lateral),
        scale_ap=jnp.minimum(anatomy.scale_ap, depth),
    )


def fat_thickness_mm(anatomy: Anatomy) -> Scalar:
    """Returns the thickness of the fat under the skin, mm; women's is 2 mm more."""
    return jnp.maximum(anatomy.fat_mm + girth_mm(anatomy) + 2.0 * anatomy.sex, 3.0)


def girth_mm(anatomy: Anatomy) -> Scalar:
    """Returns the shift of the outline at this BMI against a BMI of 24, mm all round.

    About 6 mm of chest girth, 1 mm of radius, per kg/m^2: a body of given height weighs
    in proportion to its section, so radius goes with the root of BMI (150 mm / 2 / 24 =
    3 mm), of which about a third shows at the chest.
    """
    return 0.9 * (anatomy.bmi - 24.0)
