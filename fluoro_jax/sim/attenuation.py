"""Attenuation at one energy, 60 keV: what each tissue does to a narrow beam."""

from __future__ import annotations

from typing import Any

# Linear attenuation coefficients at 60 keV, 1/mm: ICRU Report 44 compositions with the
# elemental tables of Elam et al. 2002 (doi:10.1016/S0969-806X(01)00227-4).
AIR = 0.0
ADIPOSE = 0.01875
MUSCLE = 0.02150
BLOOD = 0.02180
SOFT = 0.02171  # 1.06 g/cc
# Whole ribs: in CT about 0.028; shell and marrow mixed 0.031; XCAT's 1.62 g/cc 0.045.
RIB = 0.0380
CLAVICLE = 0.0400
VERTEBRA = 0.0268  # about 1.3 times water, as CT of whole vertebrae shows
STERNUM = 0.0255

SOFT_MASS_MM2_G = SOFT / 1.06  # mu over density: (1/mm) per (g/cc)
LUNG_MASS_MM2_G = 0.0204  # the same for inflated lung (ICRU 44 composition)


def mu_lung(density_g_cc: Any) -> Any:
    """Attenuation of lung, 1/mm, at a density in g/cc (any shape)."""
    return LUNG_MASS_MM2_G * density_g_cc


def mu_tumor(density_g_cc: Any) -> Any:
    """Attenuation of tumour (soft tissue), 1/mm, at a density in g/cc (any shape)."""
    return SOFT_MASS_MM2_G * density_g_cc
