"""Small CT series and structure sets for tests, and ways to change their files."""

import numpy as np

from fluoro_jax.geometry import Grid
from fluoro_jax.io.dicom.write_ct import Identity, write_ct_series
from fluoro_jax.io.volumes import Roi

GRID = Grid((-21.0, -13.0, 40.0), (3.0, 2.0, 2.5))
SHAPE = (9, 12, 14)


def random_hu(seed=0, shape=SHAPE):
    """Whole HU that differ at every voxel's neighbours, `[Z, Y, X]`."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1000, 1500, shape).astype(np.float32)


def write_4d(folder, percents=(0, 20, 40, 60, 80), *, hu=None, grid=GRID, seed=0):
    """One folder a phase; returns the folders by percent."""
    hu = random_hu() if hu is None else hu
    identity = Identity(seed)
    for percent in percents:
        here = folder / f"{percent:02.0f}"
        write_ct_series(here, hu, grid, identity=identity, percent=percent)
    return {percent: folder / f"{percent:02.0f}" for percent in percents}


def change(path, **values):
    """Sets elements of one DICOM file by keyword; None removes one."""
    import pydicom

    data = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(data, keyword)
        elif keyword == "PixelPaddingValue":  # US or SS: pydicom cannot tell
            data.add_new(keyword, "SS", value)
        else:
            setattr(data, keyword, value)
    data.save_as(path)


def change_all(folder, **values):
    for path in sorted(folder.glob("*.dcm")):
        change(path, **values)


def circle(centre_mm, radius_mm, z_mm, *, points=200):
    angle = 2.0 * np.pi * np.arange(points) / points
    x = centre_mm[0] + radius_mm * np.cos(angle)
    y = centre_mm[1] + radius_mm * np.sin(angle)
    return np.stack([x, y, np.full(points, float(z_mm))], axis=-1)


def cylinder(name="GTV", *, centre_mm=(0.0, -2.0), radius_mm=6.0, slices=(2, 3, 4)):
    """A ROI on slices of `GRID`."""
    at = [GRID.origin_mm[2] + k * GRID.spacing_mm[2] for k in slices]
    return Roi(name, tuple(circle(centre_mm, radius_mm, z) for z in at))
