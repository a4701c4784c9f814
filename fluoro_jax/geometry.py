"""Geometry of a view: X-ray source, isocentre, flat panel, and a volume's voxels.

World axes are DICOM LPS in mm with the isocentre at the origin: +x patient left,
+y posterior, +z superior. IEC 61217 fixed axes (head first supine, couch at zero)
are Xf = +x (left), Yf = +z (superior), Zf = -y (anterior).

Images are seen from the source: row 0 is superior, columns run to the viewer's
right, which at gantry 0 is the patient's left and at gantry 90 is posterior.
Pairs are always (row, column) = (vertical, horizontal); pixel (0, 0) is the centre
of the top left pixel.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Real

Array = jax.Array
Vector = Float[jax.Array, " 3"]
AnyArray = jax.Array | np.ndarray  # what may go in; what comes out is an Array
Points = Real[AnyArray, "... 3"]  # mm in world axes
Places = Real[AnyArray, "... 2"]  # (row, column) or (down, right)
Scalar = Any  # a Python number, a numpy scalar, or a traced array of shape []


@struct.dataclass
class Grid:
    """A regular volume `[Z, Y, X]` in world axes.

    Attributes:
        origin_mm: (x, y, z) of the centre of voxel 0.
        spacing_mm: (x, y, z) distance between voxel centres.
    """

    origin_mm: tuple[Scalar, Scalar, Scalar]
    spacing_mm: tuple[Scalar, Scalar, Scalar]


@struct.dataclass
class Geometry:
    """One X-ray view: a point source and a flat panel whose rows are horizontal.

    Attributes:
        sad_mm: source to isocentre.
        sdd_mm: source to detector, along the central ray.
        gantry_deg: IEC gantry angle; 0 puts the source anterior, 90 at patient left.
        rows: number of detector rows (static).
        cols: number of detector columns (static).
        pixel_mm: (row, column) pitch at the detector.
        offset_mm: (row, column) of the panel's centre from the central ray, at the
            detector; positive moves the panel down (inferior) and to the right.
    """

    sad_mm: Scalar
    sdd_mm: Scalar
    gantry_deg: Scalar
    rows: int = struct.field(pytree_node=False)
    cols: int = struct.field(pytree_node=False)
    pixel_mm: tuple[Scalar, Scalar]
    offset_mm: tuple[Scalar, Scalar] = (0.0, 0.0)


def square_panel(
    pixels: int, *, detector_mm: float = 480.0, gantry_deg: Scalar = 0.0
) -> Geometry:
    """Returns the studies' view: SAD 1000, SDD 1500, a square panel."""
    pitch = detector_mm / pixels
    return Geometry(1000.0, 1500.0, gantry_deg, pixels, pixels, (pitch, pitch))


def varian(*, binning: int = 1, gantry_deg: Scalar = 0.0) -> Geometry:
    """Returns a Varian on-board imager: 768 x 1024 pixels of 0.388 mm (4030CB)."""
    pitch = 0.388 * binning
    return Geometry(
        1000.0, 1500.0, gantry_deg, 768 // binning, 1024 // binning, (pitch, pitch)
    )


def elekta(*, binning: int = 1, gantry_deg: Scalar = 0.0) -> Geometry:
    """Returns an Elekta XVI: SDD 1536, 1024 x 1024 pixels of 0.4 mm (as RTK reads)."""
    pitch, side = 0.4 * binning, 1024 // binning
    return Geometry(1000.0, 1536.0, gantry_deg, side, side, (pitch, pitch))


def lps_to_iec(point_mm: Points) -> Float[Array, "... 3"]:
    """Converts world `[..., 3]` mm (left, posterior, superior) to IEC fixed axes.

    IEC fixed axes are (left, superior, anterior).
    """
    x, y, z = point_mm[..., 0], point_mm[..., 1], point_mm[..., 2]
    return jnp.stack([x, z, -y], axis=-1)


def iec_to_lps(point_mm: Points) -> Float[Array, "... 3"]:
    """Converts IEC fixed `[..., 3]` mm to world (left, posterior, superior)."""
    x, y, z = point_mm[..., 0], point_mm[..., 1], point_mm[..., 2]
    return jnp.stack([x, -z, y], axis=-1)


def view_axes(geometry: Geometry) -> tuple[Vector, Vector, Vector]:
    """Returns unit vectors (right, down, beam) of the view in world axes, each `[3]`.

    `beam` points from the source to the isocentre; right x down = beam.
    """
    angle = jnp.deg2rad(jnp.asarray(geometry.gantry_deg, jnp.float32))
    sin, cos, zero = jnp.sin(angle), jnp.cos(angle), jnp.zeros_like(angle)
    right = jnp.stack([cos, sin, zero])
    beam = jnp.stack([-sin, cos, zero])
    return right, jnp.array([0.0, 0.0, -1.0], jnp.float32), beam


def source_mm(geometry: Geometry) -> Vector:
    """Returns the position of the source in world axes, `[3]`, mm."""
    return -geometry.sad_mm * view_axes(geometry)[2]


def pixel_positions_mm(
    geometry: Geometry,
) -> tuple[Float[Array, " rows"], Float[Array, " cols"]]:
    """Returns pixel centres at the detector about the central ray, mm.

    Two arrays: down `[rows]` and right `[cols]`.
    """
    rows = jnp.arange(geometry.rows, dtype=jnp.float32) - (geometry.rows - 1) / 2
    cols = jnp.arange(geometry.cols, dtype=jnp.float32) - (geometry.cols - 1) / 2
    down = rows * geometry.pixel_mm[0] + geometry.offset_mm[0]
    right = cols * geometry.pixel_mm[1] + geometry.offset_mm[1]
    return down, right


def detector_mm_to_px(
    geometry: Geometry, down_right_mm: Places
) -> Float[Array, "... 2"]:
    """Converts `[..., 2]` (down, right) mm at the detector to (row, column) px."""
    pitch, offset = _pair(geometry.pixel_mm), _pair(geometry.offset_mm)
    middle = _pair(((geometry.rows - 1) / 2, (geometry.cols - 1) / 2))
    shape = (1,) * (down_right_mm.ndim - 1) + (2,)
    scaled = (down_right_mm - offset.reshape(shape)) / pitch.reshape(shape)
    # Three JAX arrays make it one, whatever `down_right_mm` is.
    return scaled + middle.reshape(shape)  # pyright: ignore[reportReturnType]


def depth_mm(geometry: Geometry, point_mm: Points) -> Float[Array, ...]:
    """Returns the distance of points `[..., 3]` from the source along the beam, mm."""
    beam = view_axes(geometry)[2]
    return geometry.sad_mm + jnp.einsum("...i,i->...", point_mm, beam)


def project_point(geometry: Geometry, point_mm: Points) -> Float[Array, "... 2"]:
    """Returns the panel positions of world points.

    Args:
        geometry: the view.
        point_mm: `[..., 3]` world (DICOM LPS) mm about the isocentre.

    Returns:
        `[..., 2]` (row, column) in pixels, not rounded; may lie outside the panel.
    """
    point_mm = jnp.asarray(point_mm, jnp.float32)
    right, down, _ = view_axes(geometry)
    scale = geometry.sdd_mm / depth_mm(geometry, point_mm)
    across = jnp.einsum("...i,i->...", point_mm, right) * scale
    along = jnp.einsum("...i,i->...", point_mm, down) * scale
    return detector_mm_to_px(geometry, jnp.stack([along, across], axis=-1))


def px_to_detector_mm(geometry: Geometry, shift_px: Places) -> Float[Array, "... 2"]:
    """Converts a displacement `[..., 2]` (row, column) px to mm at the detector."""
    shift_px = jnp.asarray(shift_px, jnp.float32)
    pitch = _pair(geometry.pixel_mm)
    return shift_px * pitch.reshape((1,) * (shift_px.ndim - 1) + (2,))


def px_to_iso_mm(geometry: Geometry, shift_px: Places) -> Float[Array, "... 2"]:
    """Converts a displacement `[..., 2]` (row, column) px to isocentre-plane mm.

    Exact only in that plane: for a point 50 mm off it the error is about 5 %.
    """
    shrink = geometry.sad_mm / geometry.sdd_mm
    return px_to_detector_mm(geometry, shift_px) * shrink


def position_iso_mm(geometry: Geometry, point_px: Places) -> Float[Array, "... 2"]:
    """Converts pixels `[..., 2]` (row, column) to mm in the isocentre plane.

    Returns (superior, right of image) mm from the isocentre, `[..., 2]`.
    """
    down, right = pixel_positions_mm(geometry)
    first = jnp.stack([down[0], right[0]])
    point_px = jnp.asarray(point_px, jnp.float32)
    first = first.reshape((1,) * (point_px.ndim - 1) + (2,))
    place = first + px_to_detector_mm(geometry, point_px)
    sign = _pair((-1.0, 1.0)).reshape((1,) * (point_px.ndim - 1) + (2,))
    return place * sign * (geometry.sad_mm / geometry.sdd_mm)


def iso_pixel_mm(geometry: Geometry) -> tuple[float, float]:
    """Returns a pixel's (row, column) size in the isocentre plane, mm."""
    shrink = float(geometry.sad_mm) / float(geometry.sdd_mm)
    down, right = geometry.pixel_mm
    return float(down) * shrink, float(right) * shrink


def axis_names(gantry_deg: float) -> tuple[str, str]:
    """Returns the anatomical names of (vertical, horizontal).

    >>> axis_names(0.0), axis_names(90.0), axis_names(30.0)
    (('SI', 'LR'), ('SI', 'AP'), ('SI', 'lateral@30'))
    """
    side = gantry_deg % 180.0
    if min(side, 180.0 - side) < 0.5:
        return "SI", "LR"
    return "SI", "AP" if abs(side - 90.0) < 0.5 else f"lateral@{gantry_deg:g}"


def _pair(values: tuple[Scalar, Scalar]) -> Array:
    return jnp.stack([jnp.asarray(v, jnp.float32) for v in values])
