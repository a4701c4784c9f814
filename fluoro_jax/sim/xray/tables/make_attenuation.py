"""Writes attenuation.csv: mass attenuation of each material, 10 to 120 keV.

A development tool. Needs xraydb (4.5.8 was used), which the package does not:

    python -m pip install --target /tmp/xraydb xraydb
    PYTHONPATH=/tmp/xraydb python fluoro_jax/sim/xray/tables/make_attenuation.py

Elemental cross sections: Elam, Ravel, Sieber 2002, doi:10.1016/S0969-806X(01)00227-4
(coherent scatter included). Compositions: ICRU Report 44 (1989), mass fractions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xraydb  # pyright: ignore[reportMissingImports]  # a development tool

ENERGY_KEV = np.arange(10.0, 121.0)
ELECTRON_KEV = 511.0
ELECTRON_CM = 2.8179403e-13  # classical radius
AVOGADRO = 6.02214076e23
SOFT = "H .102 C .143 N .034 O .708 Na .002 P .003 S .003 Cl .002 K .003"
BONE = "H .034 C .155 N .042 O .435 Na .001 Mg .002 P .103 S .003 Ca .225"
COMPOSITION = {  # mass fractions
    "soft": SOFT,
    "bone": BONE,
    "adipose": "H .114 C .598 N .007 O .278 Na .001 S .001 Cl .001",
    "lung": "H .103 C .105 N .031 O .749 Na .002 P .002 S .003 Cl .003 K .002",
    "water": "H .111898 O .888102",
    "aluminium": "Al 1",
    "csi": "Cs .511549 I .488451",
}
AIR = "C .000124 N .755268 O .231781 Ar .012827"


def parse(text: str) -> dict[str, float]:
    """Turns "H .1 O .9" into {"H": 0.1, "O": 0.9}."""
    words = text.split()
    return {e: float(w) for e, w in zip(words[::2], words[1::2], strict=True)}


def mixture(text: str, kind: str) -> np.ndarray:
    """Returns the mass attenuation of a mixture at `ENERGY_KEV`, cm^2/g."""
    parts = parse(text)
    rows = [w * xraydb.mu_elam(e, ENERGY_KEV * 1e3, kind) for e, w in parts.items()]
    return np.sum(rows, axis=0) / sum(parts.values())


def recoil_air() -> np.ndarray:
    """Returns the energy given to Compton electrons in air, by mass, cm^2/g.

    Klein-Nishina on free electrons: binding holds back the forward scatter, which
    gives hardly any energy away, so the bound cross section would be too low.
    """
    cosine, weight = np.polynomial.legendre.leggauss(64)
    after = 1.0 / (1.0 + ENERGY_KEV[:, None] / ELECTRON_KEV * (1.0 - cosine))
    cross = after**2 * (after + 1.0 / after - 1.0 + cosine**2) * (1.0 - after)
    per_electron = np.pi * ELECTRON_CM**2 * np.sum(cross * weight, axis=1)
    electrons = sum(
        share * xraydb.atomic_number(e) / xraydb.atomic_mass(e)
        for e, share in parse(AIR).items()
    )
    return per_electron * electrons * AVOGADRO


def main() -> None:
    """Writes the table beside this script."""
    table = {name: mixture(parts, "total") for name, parts in COMPOSITION.items()}
    # what air absorbs, for kerma: photoelectric plus the electron's Compton share
    table["air_absorbed"] = mixture(AIR, "photo") + recoil_air()
    lines = [
        "# mass attenuation, cm^2/g; air_absorbed: mass energy absorption of air",
        "# written by make_attenuation.py: ICRU 44 compositions, Elam 2002 elements",
        ",".join(["energy_kev", *table]),
    ]
    for i, energy in enumerate(ENERGY_KEV):
        values = ",".join(f"{column[i]:.6g}" for column in table.values())
        lines.append(f"{energy:g},{values}")
    path = Path(__file__).with_name("attenuation.csv")
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
