"""Deformable registration of two volumes by SimpleITK: demons, coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Grid
from fluoro_jax.io.straighten import AIR_HU

# Ours: vessels in lung and soft tissue count alike, bone and metal do not dominate.
WINDOW_HU = (-1000.0, 200.0)
LEVELS = ((4, 1.0), (2, 1.0), (1, 0.5))  # shrink, share of the iterations
LEAST_VOXELS = 8  # a side, below which a level is left out
FIELD_SIGMA = 1.0  # voxels; smooths the field, as tissue does
STEP_SIGMA = 1.0  # voxels; smooths every update


@dataclass(frozen=True)
class Registration:
    """How tissue moves from a fixed to a moving volume.

    Attributes:
        field_mm: `[3, Z, Y, X]` (x, y, z) LPS mm; tissue at a place of the fixed
            volume is at place + field in the moving one.
        grid: of the field.
        before_hu: root mean square difference before.
        after_hu: the same after; both where the moving volume is known.
    """

    field_mm: np.ndarray
    grid: Grid
    before_hu: float
    after_hu: float


def register(
    fixed: np.ndarray,
    moving: np.ndarray,
    grid: Grid,
    *,
    spacing_mm: float = 4.0,
    iterations: int = 50,
) -> Registration:
    """Registers two volumes of one grid by demons with symmetric forces.

    Both are windowed to -1000 ... 200 HU and averaged to cubic voxels first.

    Args:
        fixed: HU `[Z, Y, X]`.
        moving: likewise.
        grid: of both.
        spacing_mm: side of the voxels that the field is found on; not finer than the
            volume's own.
        iterations: at most, on each of three levels; half of them on the finest.

    Returns:
        The field and what differs before and after, RMS HU within the window.

    Raises:
        UserError: if SimpleITK is not installed.
    """
    sitk = _simpleitk()
    images = [_coarse(sitk, hu, grid, spacing_mm) for hu in (fixed, moving)]
    displacement = None
    for shrink, part in LEVELS:
        size = [round(n / shrink) for n in images[0].GetSize()]
        if min(size) < LEAST_VOXELS and shrink > 1:
            continue
        pair = [_shrunk(sitk, image, size) for image in images]
        if displacement is None:
            start = sitk.Image(pair[0].GetSize(), sitk.sitkVectorFloat64)
            start.CopyInformation(pair[0])
        else:
            start = sitk.Resample(displacement, pair[0])
        demons = _demons(sitk, max(1, round(part * iterations)))
        displacement = demons.Execute(*pair, start)
    ones = sitk.GetImageFromArray(np.ones(images[1].GetSize()[::-1], np.float32))
    ones.CopyInformation(images[1])
    warped = [_warped(sitk, i, displacement, images[0]) for i in (images[1], ones)]
    values = [sitk.GetArrayFromImage(i) for i in (*images, *warped)]
    # What comes from outside of the moving volume is unknown there, no difference.
    known = values[3] > 0.5
    field = np.moveaxis(sitk.GetArrayFromImage(displacement), -1, 0)
    (x, y, z), (dx, dy, dz) = images[0].GetOrigin(), images[0].GetSpacing()
    return Registration(
        field.astype(np.float32),
        Grid((x, y, z), (dx, dy, dz)),
        _rms(values[0][known], values[1][known]),
        _rms(values[0][known], values[2][known]),
    )


def _simpleitk() -> Any:
    try:
        import SimpleITK  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise UserError(
            "registration needs SimpleITK, not installed",
            needed="the extra [dicom]",
            why="phases of a 4DCT are registered by it",
            fix="pip install 'fluoro_jax[dicom]'",
        ) from error
    return SimpleITK


def _coarse(sitk: Any, hu: np.ndarray, grid: Grid, spacing_mm: float) -> Any:
    """Returns a windowed volume on cubic voxels, smoothed where they are coarser."""
    image = sitk.GetImageFromArray(np.clip(hu, *WINDOW_HU).astype(np.float32))
    own = [float(s) for s in grid.spacing_mm]
    image.SetSpacing(own)
    image.SetOrigin([float(o) for o in grid.origin_mm])
    step = max(spacing_mm, min(own))
    # Half the new voxel's side: averages what would alias.
    sigma = [max(0.5 * step if s < step else 0.0, 1e-3) for s in own]
    image = sitk.DiscreteGaussian(image, [s * s for s in sigma])
    size = [
        max(1, int((n - 1) * s / step + 1e-6) + 1)
        for n, s in zip(image.GetSize(), own, strict=True)
    ]
    return _on_grid(sitk, image, size, [step] * 3, image.GetOrigin())


def _shrunk(sitk: Any, image: Any, size: list[int]) -> Any:
    """Returns an image of fewer voxels over the same extent."""
    old, spacing = np.array(image.GetSize()), np.array(image.GetSpacing())
    new = np.array(size)
    if (old == new).all():
        return image
    step = spacing * old / new
    image = sitk.DiscreteGaussian(image, [(0.5 * float(s)) ** 2 for s in step])
    origin = np.array(image.GetOrigin()) + 0.5 * (step - spacing)
    return _on_grid(sitk, image, size, step.tolist(), origin.tolist())


def _on_grid(sitk: Any, image: Any, size: Any, spacing: Any, origin: Any) -> Any:
    identity = sitk.Transform(3, sitk.sitkIdentity)
    return sitk.Resample(
        image,
        [int(n) for n in size],
        identity,
        sitk.sitkLinear,
        origin,
        spacing,
        image.GetDirection(),
        AIR_HU,
        sitk.sitkFloat32,
    )


def _demons(sitk: Any, iterations: int) -> Any:
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(iterations)
    demons.SetStandardDeviations(FIELD_SIGMA)
    demons.SetSmoothDisplacementField(True)
    demons.SetUpdateFieldStandardDeviations(STEP_SIGMA)
    demons.SetSmoothUpdateField(True)
    return demons


def _warped(sitk: Any, image: Any, displacement: Any, like: Any) -> Any:
    # The transform takes its image over and empties it: a copy.
    transform = sitk.DisplacementFieldTransform(sitk.Image(displacement))
    return sitk.Resample(image, like, transform, sitk.sitkLinear, 0.0)


def _rms(one: np.ndarray, other: np.ndarray) -> float:
    if not one.size:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(one - other, dtype=float))))
