"""Attenuation of tissues: at 60 keV, and by energy from a table."""

from __future__ import annotations

import csv
import functools
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray

Density = float | int | np.floating | Float[AnyArray, " ..."]

# Linear attenuation coefficients at 60 keV, 1/mm: ICRU Report 44 compositions with the
# elemental tables of Elam et al. 2002 (doi:10.1016/S0969-806X(01)00227-4).
ADIPOSE = 0.01875
MUSCLE = 0.02150
BLOOD = 0.02180
SOFT = 0.02171  # 1.06 g/cc
BONE = 0.06045  # cortical, 1.92 g/cc

# Attenuation over density, 1/mm per g/cm^3 (a tenth of the mass attenuation in cm^2/g).
SOFT_MU_PER_DENSITY = SOFT / 1.06
BONE_MU_PER_DENSITY = BONE / 1.92
LUNG_MU_PER_DENSITY = 0.0204  # inflated lung, ICRU 44 composition


def mu_lung(density_g_cc: Density) -> Density:
    """Returns the attenuation of lung, 1/mm, at a density in g/cc (any shape)."""
    return LUNG_MU_PER_DENSITY * density_g_cc


def mu_tumor(density_g_cc: Density) -> Density:
    """Returns the attenuation of tumour (soft tissue), 1/mm, at a density in g/cc."""
    return SOFT_MU_PER_DENSITY * density_g_cc


def mass_attenuation(material: str, energy_kev: Any) -> Any:
    """Returns mass attenuation, log-log between the table's 1 keV steps.

    Args:
        material: a column of `table()`: "soft" (soft tissue), "bone" (cortical),
            "adipose", "lung", "water", "aluminium", "csi", or "air_absorbed" (the
            mass energy absorption of air, for kerma).
        energy_kev: any shape, keV; held at the table's ends, 10 and 120 keV.

    Returns:
        cm^2/g, same shape.

    Raises:
        UserError: if there is no such material.

    Source:
        ICRU Report 44 compositions, elements by Elam et al. 2002
        (doi:10.1016/S0969-806X(01)00227-4); tables/make_attenuation.py.
    """
    columns = table("attenuation")
    if material not in columns or material == "energy_kev":
        raise UserError(
            f'material "{material}"',
            needed="one of " + ", ".join(n for n in columns if n != "energy_kev"),
            why="only these are in the table of attenuation",
            fix="use the nearest tissue, or add it to tables/make_attenuation.py",
        )
    # numbers known beforehand stay out of what is compiled
    xp = jnp if isinstance(energy_kev, jax.Array) else np
    energy = np.log(columns["energy_kev"]).astype(np.float32)
    value = np.log(columns[material]).astype(np.float32)
    asked = xp.log(xp.asarray(energy_kev, np.float32))
    return xp.exp(xp.interp(asked, energy, value)).astype(np.float32)


@functools.cache
def table(name: str) -> dict[str, np.ndarray]:
    """Returns a table of the package by column: "attenuation" or "spectra"."""
    path = resources.files("fluoro_jax.sim.xray") / "tables" / f"{name}.csv"
    lines = [row for row in path.read_text().splitlines() if not row.startswith("#")]
    rows = list(csv.reader(lines))
    numbers = np.array(rows[1:], np.float64)
    return {column: numbers[:, i] for i, column in enumerate(rows[0])}
