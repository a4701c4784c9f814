"""Writes spectra.csv: photons from an X-ray tube, 60 to 120 kVp in 2 keV bins.

A development tool. Needs SpekPy (2.5.4 was used), which the package does not:

    python -m pip install --target /tmp/spekpy spekpy
    PYTHONPATH=/tmp/spekpy python fluoro_jax/sim/xray/tables/make_spectra.py

Tungsten anode of 14 degrees, 3.7 mm aluminium in all, SpekPy's default physics
("casim"). SpekPy: Poludniowski et al. 2021, doi:10.1002/mp.14945. The half value layer
and mean energy that SpekPy itself gives are printed, for the tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import spekpy  # pyright: ignore[reportMissingImports]  # a development tool

ANODE_DEG = 14.0
ALUMINIUM_MM = 3.7
KVP = range(60, 121, 5)
ENERGY_KEV = np.arange(11.0, 120.0, 2.0)  # bin centres
DISTANCE_CM = 100.0
STEP_KEV = 0.5


def tube(kvp: float) -> spekpy.Spek:
    """Returns SpekPy's model of the tube at 1 m and 1 mAs."""
    spek = spekpy.Spek(kvp=kvp, th=ANODE_DEG, dk=STEP_KEV, z=DISTANCE_CM, mas=1.0)
    return spek.filter("Al", ALUMINIUM_MM)


def binned(kvp: float) -> np.ndarray:
    """Returns photons per cm^2 in each bin of `ENERGY_KEV`."""
    energy, density = tube(kvp).get_spectrum()
    place = np.floor((energy - 10.0) / 2.0).astype(int)
    held = (place >= 0) & (place < len(ENERGY_KEV))
    return np.bincount(place[held], density[held] * STEP_KEV, minlength=len(ENERGY_KEV))


def main() -> None:
    """Writes the table beside this script and prints what the tests compare with."""
    columns = [binned(kvp) for kvp in KVP]
    lines = [
        "# photons per cm^2 and mAs at 1 m in bins of 2 keV, by tube voltage (kVp)",
        f"# written by make_spectra.py: W, {ANODE_DEG:g} deg, {ALUMINIUM_MM:g} mm Al",
        ",".join(["energy_kev", *(f"{kvp}" for kvp in KVP)]),
    ]
    for i, energy in enumerate(ENERGY_KEV):
        values = ",".join(f"{column[i]:.6g}" for column in columns)
        lines.append(f"{energy:g},{values}")
    Path(__file__).with_name("spectra.csv").write_text("\n".join(lines) + "\n")
    for kvp in (60, 72.5, 80, 97.5, 100, 110, 120):
        spek = tube(kvp)
        mean, photons = spek.get_emean(), spek.get_flu()
        print(f"{kvp} {spek.get_hvl1():.4f} mm {mean:.3f} keV {photons:.4g} /cm2/mAs")


if __name__ == "__main__":
    main()
