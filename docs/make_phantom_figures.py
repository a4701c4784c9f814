"""Draws the pictures of docs/phantom.md and writes its table of parameters.

python docs/make_phantom_figures.py            # pictures and table, a few minutes
python docs/make_phantom_figures.py --table    # the table alone
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path

import jax
import matplotlib
import numpy as np

from fluoro_jax.geometry import square_panel
from fluoro_jax.sim import lung
from fluoro_jax.sim.body import solids, volume
from fluoro_jax.sim.body.anatomy import Anatomy, Population, sample_anatomy
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import projector

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
PAGE = HERE / "phantom.md"
VOXEL_MM = 2.0
INHALE_MM = (28.0, 14.0)
CUTS_MM = {"coronal": (-30.0, 10.0), "sagittal": (-60.0, 0.0), "axial": (30.0, -25.0)}
ANGLES_DEG = (0.0, 45.0, 90.0, 180.0)
WINDOW = (-900.0, 450.0)  # HU
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
UNITS = {
    "bmi": "kg/m^2",
    "lung_density_g_cc": "g/cc",
    "heart_rate_hz": "1/s",
    "sex": "0 or 1",
    "vessel_seed": "1",
    "arms_up": "fraction",
}
XCAT = "XCAT populations, 0.9 to 1.1 an axis"
LIDC = "LIDC-IDRI-0001; spread ours"
OURS = "ours"
SOURCES = {
    "sex": "half and half",
    "bmi": "adults, 19 to 31",
    "scale_lateral": XCAT,
    "scale_ap": XCAT,
    "scale_height": XCAT,
    "dome_right_mm": LIDC,
    "dome_step_mm": "LIDC-IDRI-0001 (33 mm at inspiration); less at exhale, ours",
    "heart_scale": "370 cc in LIDC-IDRI-0001; spread ours",
    "heart_x_mm": LIDC,
    "heart_rate_hz": "resting adults, 54 to 90 a minute",
    "liver_scale": "ICRP 89: 1400 (woman), 1800 g (man)",
    "rib_radius_mm": "LIDC-IDRI-0001, 4.4 mm; spread ours",
    "lung_density_g_cc": "XCAT 0.26 at end of expiration; 0.26 to 0.35 in CT",
}


def parameter_table() -> str:
    """Markdown: every `Anatomy` field with meaning, unit, default, range and source."""
    text = inspect.cleandoc(Anatomy.__doc__).split("Attributes:")[1]
    meaning = dict(re.findall(r"^\s*(\w+): (.+?)\.$", text, re.MULTILINE))
    lines = [
        "| parameter | meaning | unit | default | range drawn | source |",
        "|---|---|---|---|---|---|",
    ]
    ranges = vars(Population())
    for field in dataclasses.fields(Anatomy):
        name = field.name
        unit = UNITS.get(name, "mm" if name.endswith("_mm") else "factor")
        low, high = ranges[name]
        source = SOURCES.get(name, OURS)
        row = (f"`{name}`", meaning[name], unit, f"{field.default:g}")
        lines.append(f"| {' | '.join(row)} | {low:g} to {high:g} | {source} |")
    return "\n".join(lines)


def page_with_table(page: str) -> str:
    """The page with its table written anew."""
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n{parameter_table()}\n{END}{after}"


@jax.jit
def attenuation(anatomy: Anatomy, si_mm: float, ap_mm: float) -> jax.Array:
    """Attenuation at 60 keV of a whole body, `[Z, Y, X]` 1/mm."""
    grid, shape = solids.body_grid(VOXEL_MM)
    full = lung.lung_volume_mm3
    density = anatomy.lung_density_g_cc * full(anatomy, 0.0, 0.0)
    still = volume.draw_still(anatomy, grid, shape)
    soft, bone = volume.body_densities(
        grid,
        still=still,
        moved=volume.move(anatomy, still.vessel, (si_mm, ap_mm)),
        lung_g_cc=density / full(anatomy, si_mm, ap_mm),
    )
    return soft * att.SOFT_MU_PER_DENSITY + bone * att.BONE_MU_PER_DENSITY


def cut(mu: np.ndarray, plane: str, at_mm: float) -> np.ndarray:
    """One slice in HU as a radiologist looks at it: superior or anterior is up."""
    grid, _ = solids.body_grid(VOXEL_MM)
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    index = round((at_mm - grid.origin_mm[axis]) / VOXEL_MM)
    part = np.take(mu, index, axis=2 - axis)
    hounsfield = part / 0.02059 * 1000.0 - 1000.0
    return hounsfield if plane == "axial" else hounsfield[::-1]


def draw_cuts(bodies: list[np.ndarray], path: Path) -> None:
    """Coronal, sagittal and axial cuts; a row for exhale and one for inhale."""
    cuts = [(plane, at) for plane, places in CUTS_MM.items() for at in places]
    heights = [cut(bodies[0], *one).shape for one in cuts]
    widths = [w / h for h, w in heights]
    figure, axes = plt.subplots(
        2, len(cuts), figsize=(14, 5.2), gridspec_kw={"width_ratios": widths}
    )
    for row, body, name in zip(axes, bodies, ("exhale", "inhale"), strict=True):
        for axis, (plane, at) in zip(row, cuts, strict=True):
            axis.imshow(
                cut(body, plane, at), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1]
            )
            letter = {"coronal": "y", "sagittal": "x", "axial": "z"}[plane]
            axis.set_title(f"{name}, {plane}, {letter} = {at:g} mm", fontsize=7)
            axis.axis("off")
    save(figure, path)


def draw_clips(bodies: list[np.ndarray], path: Path) -> None:
    """Line integrals at four gantry angles, exhale above inhale."""
    grid, _ = solids.body_grid(VOXEL_MM)
    figure, axes = plt.subplots(2, len(ANGLES_DEG), figsize=(12, 6.2))
    for row, body, name in zip(axes, bodies, ("exhale", "inhale"), strict=True):
        for axis, angle in zip(row, ANGLES_DEG, strict=True):
            view = square_panel(320, gantry_deg=angle)
            frame = np.asarray(projector.project(body, grid, view))
            high = np.percentile(frame, 99.5)
            axis.imshow(frame, cmap="gray", vmin=1.0, vmax=high)
            axis.set_title(f"{name}, gantry {angle:g} deg", fontsize=8)
            axis.axis("off")
    save(figure, path)


def draw_patients(path: Path, count: int = 6) -> None:
    """Radiographs of six sampled patients at exhale, gantry 0."""
    grid, _ = solids.body_grid(VOXEL_MM)
    view = square_panel(256)
    figure, axes = plt.subplots(1, count, figsize=(14, 2.6))
    for seed, axis in enumerate(axes):
        anatomy = sample_anatomy(jax.random.key(seed))
        frame = projector.project(attenuation(anatomy, 0.0, 0.0), grid, view)
        axis.imshow(np.asarray(frame), cmap="gray", vmin=1.5, vmax=6.5)
        sex = "woman" if float(anatomy.sex) else "man"
        axis.set_title(f"seed {seed}: {sex}, BMI {float(anatomy.bmi):.0f}", fontsize=8)
        axis.axis("off")
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    """Writes a grey picture small enough for the repository."""
    figure.tight_layout(pad=0.8)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    print(path, path.stat().st_size // 1024, "KB")


def main(arguments: list[str]) -> None:
    """Writes what is asked for."""
    PAGE.write_text(page_with_table(PAGE.read_text()))
    if "--table" in arguments:
        return
    body = jax.tree.map(np.float32, Anatomy())
    bodies = [np.asarray(attenuation(body, *move)) for move in ((0.0, 0.0), INHALE_MM)]
    draw_cuts(bodies, HERE / "phantom_cuts.png")
    draw_clips(bodies, HERE / "phantom_clips.png")
    draw_patients(HERE / "phantom_patients.png")


if __name__ == "__main__":
    main(sys.argv[1:])
