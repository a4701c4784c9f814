"""XCAT's raw attenuation volumes with their log.

Segars et al. 2010, doi:10.1118/1.3480985. A `.bin` has no header; sizes and the
attenuation of water stand in the log that XCAT writes beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Grid
from fluoro_jax.io.straighten import MOST_VOXELS
from fluoro_jax.io.volumes import CtPhase, FourDCt

NUMBER = r"\s*=\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)"
PER_PIXEL = "Linear Attenuation Coefficients (1/pixel)"
NAME = re.compile(r"^(?P<base>.+)_(?P<kind>atn|act)(?:_av|_(?P<frame>\d+))?$")
MOST_LOG_BYTES = 2**24
LEAST_FRAMES = 3


@dataclass(frozen=True)
class XcatLog:
    """What a log says of its volumes.

    Attributes:
        side: voxels along x and y.
        slices: voxels along z.
        pixel_cm: along x and y.
        slice_cm: along z.
        water_per_pixel: attenuation of water, 1/pixel.
        energy_kev: of the attenuation values; None where the log does not say.
    """

    side: int
    slices: int
    pixel_cm: float
    slice_cm: float
    water_per_pixel: float
    energy_kev: float | None


def read_xcat_log(path: Path) -> XcatLog:
    """Reads sizes and water's attenuation from a log.

    Raises:
        UserError: no log, or one without them.
    """
    if not path.is_file() or path.stat().st_size > MOST_LOG_BYTES:
        refuse(
            f"no XCAT log {path}",
            "the log that XCAT writes beside its volumes, <base>_log",
            why="a .bin has no header; the sizes stand in the log",
            fix="copy it beside the volume, or give it: read_xcat(path, log=...)",
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    _, _, coefficients = text.partition(PER_PIXEL)
    find = lambda name, where=text: re.search(name + NUMBER, where, re.IGNORECASE)
    found = {
        "array_size": find("array_size"),
        "starting slice number": find(r"start(?:ing)?[ _]?slice(?: number)?"),
        "ending slice number": find(r"end(?:ing)?[ _]?slice(?: number)?"),
        "pixel width": find(r"pixel[ _]width"),
        "slice width": find(r"slice[ _]width"),
        f"'Body (water)' under '{PER_PIXEL}'": find(r"water\)?", coefficients),
    }
    missing = [name for name, hit in found.items() if hit is None]
    try:
        side, first, last, pixel, slice_cm, water = (
            float(hit[1]) for hit in found.values() if hit is not None
        )
    except ValueError:
        missing = missing or ["readable numbers"]
        side = first = last = pixel = slice_cm = water = 0.0
    good = min(side, first, pixel, slice_cm, water, last - first + 1) > 0.0
    if missing or not good or side * side * (last - first + 1) > MOST_VOXELS:
        refuse(
            f"{path}: " + (f"no {', '.join(missing)}" if missing else "absurd sizes"),
            "array_size, slice numbers, pixel and slice width (cm), and the "
            "attenuation of water",
            why="a .bin has no header; the sizes stand in the log",
            fix="use the log of the run that wrote this volume",
        )
    energy = find(r"energy")
    kev = float(energy[1]) if energy else None
    return XcatLog(int(side), int(last - first) + 1, pixel, slice_cm, water, kev)


def read_xcat(path: Path, *, log: Path | None = None) -> CtPhase:
    """Reads one attenuation volume `<base>_atn_<frame>.bin`.

    XCAT's axes are +x left, +y posterior, +z superior (LPS). HU = 1000 (mu - mu_w) /
    mu_w with water's attenuation of the log; air is 0.

    Args:
        path: headerless little-endian float32, 1/pixel, x fastest.
        log: of the run; None takes `<base>_log` or `<base>_log.txt` beside it.

    Returns:
        HU at the energy of the run (140 keV by XCAT's default: bone then reads about
        half the HU of a CT at 120 kVp); origin at the volume's centre.

    Raises:
        UserError: no log, or one without sizes; an activity volume; a file of another
            size.
    """
    path = Path(path)
    log = _log_beside(path) if log is None else Path(log)
    found = read_xcat_log(log)
    name = NAME.match(path.stem)
    if name and name["kind"] == "act":
        refuse(
            f"{path}: an activity volume",
            "an attenuation volume, <base>_atn_<frame>.bin",
            why="activities or labels are no attenuation",
            fix="run XCAT with atten_table_filename and take the _atn_ file",
        )
    shape = (found.slices, found.side, found.side)
    size = path.stat().st_size if path.is_file() else -1
    if size != 4 * int(np.prod(shape)):
        _refuse_size(path, size, found)
    values = np.fromfile(path, "<f4").reshape(shape)
    if not np.isfinite(values).all() or values.min() < 0.0:
        refuse(
            f"{path}: values from {values.min():g} to {values.max():g} 1/pixel",
            "finite attenuation of at least 0",
            why="the file is of another type or byte order",
            fix="write little-endian float32, as XCAT does",
        )
    hu = (1000.0 * (values / np.float32(found.water_per_pixel) - 1.0)).astype(
        np.float32
    )
    dx, dz = 10.0 * found.pixel_cm, 10.0 * found.slice_cm
    x, z = -0.5 * (found.side - 1) * dx, -0.5 * (found.slices - 1) * dz
    affine = np.diag([dx, dx, dz, 1.0])
    affine[:3, 3] = (x, x, z)
    energy = "not stated" if found.energy_kev is None else f"{found.energy_kev:g} keV"
    sources = {
        "geometry": f"{log.name}; origin assumed at the volume's centre",
        "hu": f"attenuation over water of {log.name}, energy {energy}",
    }
    slices_mm = z + dz * np.arange(found.slices)
    return CtPhase(
        hu, Grid((x, x, z), (dx, dx, dz)), affine, slices_mm, sources=sources
    )


def _log_beside(path: Path) -> Path:
    name = NAME.match(path.stem)
    base = name["base"] if name else path.stem
    tried = [path.with_name(f"{base}_log{end}") for end in ("", ".txt")]
    return next((one for one in tried if one.is_file()), tried[0])


def _refuse_size(path: Path, size: int, log: XcatLog) -> None:
    if size < 0:
        refuse(
            f"no file {path}",
            "an attenuation volume, <base>_atn_<frame>.bin",
            why="there is nothing to read",
            fix="check the path",
        )
    plane = 4 * log.side * log.side
    # Which of the sizes is wrong: whole planes of this side, or not even that.
    if size % plane == 0:
        guess = f"{size // plane} slices of {log.side} x {log.side}: slice numbers"
    else:
        guess = f"no whole slices of {log.side} x {log.side}: array_size"
    refuse(
        f"{path}: {size} bytes, {guess} of the log do not fit",
        f"{plane * log.slices} bytes, for {log.side} x {log.side} x {log.slices} "
        "float32",
        why="a .bin has no header; the sizes stand in the log",
        fix="use the log of the run that wrote this volume",
    )


def read_xcat_4d(paths: Sequence[Path], *, log: Path | None = None) -> FourDCt:
    """Reads the frames of one breath, at equal distances of the cycle.

    Args:
        paths: `<base>_atn_<frame>.bin` in any order; sorted by frame number.
        log: of the run; None takes the one beside them.

    Raises:
        UserError: as `read_xcat`; fewer than three frames, or one missing or twice.
    """
    numbers: dict[int, Path] = {}
    for path in map(Path, paths):
        name = NAME.match(path.stem)
        number = int(name["frame"]) if name and name["frame"] else -1
        if number < 0 or number in numbers:
            refuse(
                f"{path}: no frame number of its own",
                "<base>_atn_<frame>.bin, every frame once",
                why="frames are put in order by their number",
                fix="keep the names that XCAT gives",
            )
        numbers[number] = path
    order = sorted(numbers)
    if len(order) < LEAST_FRAMES or order[-1] - order[0] + 1 != len(order):
        refuse(
            f"XCAT frames {', '.join(map(str, order)) or 'none'}",
            f"at least {LEAST_FRAMES} frames, none missing",
            why="the tumour's path would be cut short",
            fix="give all frames of one breath",
        )
    read = [read_xcat(numbers[n], log=log) for n in order]
    step = 100.0 / len(order)
    return FourDCt(
        tuple(replace(phase, percent=step * i) for i, phase in enumerate(read)),
        {"phases": "frame numbers of the XCAT files, one breath", "set_aside": "none"},
    )
