"""The solids composed to volumes of soft tissue and bone, by priority.

Painted in this order, later over earlier: fat, skin, muscle, the contents of the rib
cage, lung with its vessels, heart, airways, cartilage, sternum, ribs, and the bones
that stay.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from fluoro_jax.geometry import Grid
from fluoro_jax.sim.body import bones, organs, solids, tissues, tubes, vessels
from fluoro_jax.sim.body.anatomy import Anatomy, fat_thickness_mm
from fluoro_jax.sim.body.motion import Pose, pose_at
from fluoro_jax.sim.body.organs import paint
from fluoro_jax.sim.body.shapes import Axes, occupancy
from fluoro_jax.sim.body.tissues import Tissue
from fluoro_jax.sim.xray import attenuation as att

Array = jax.Array
Scalar = Any
Shape = tuple[int, int, int]
SKIN_MM = 2.0
SLIDE_MM = (15.0, 75.0)  # up and down; check_pose allows 10 and 60


@struct.dataclass
class Still:
    """The parts of a patient drawn only once; `[Z, Y, X]` unless said otherwise.

    Attributes:
        bone_share: share of each voxel inside a bone that does not move.
        bone_soft: what such bones bring of soft tissue, g/cc, times their share.
        bone_mineral: the same of bone mineral.
        mediastinum: soft tissue between the lungs, g/cc.
        abdomen: soft tissue below the diaphragm at exhale, g/cc; with spare rows
            below and above, so that it can be slid down whole.
        airway: share inside trachea and bronchi.
        arm: signed distance to the skin of the arms, mm.
        vessel: lung vessels at exhale (`vessels.grow`).
    """

    bone_share: Array
    bone_soft: Array
    bone_mineral: Array
    mediastinum: Array
    abdomen: Array
    airway: Array
    arm: Array
    vessel: tubes.Tubes


@struct.dataclass
class Moved:
    """Where everything is at one moment, before it is drawn.

    Attributes:
        pose: of the body.
        vessel: lung vessels, where the lung has carried them.
        cartilage: between ribs and sternum.
        rib: the ribs.
    """

    pose: Pose
    vessel: tubes.Tubes
    cartilage: tubes.Tubes
    rib: tubes.Tubes


def move(
    anatomy: Anatomy,
    vessel: tubes.Tubes,
    displacement_mm: tuple[Scalar, Scalar],
    heart_phase: Scalar = 0.0,
) -> Moved:
    """Returns where everything is, a little arithmetic of points.

    Args:
        anatomy: the patient.
        vessel: `vessels.grow` of the patient.
        displacement_mm: (diaphragm inferior, chest wall anterior) now.
        heart_phase: cycles of the heart beat.
    """
    pose = pose_at(anatomy, *displacement_mm, heart_phase)
    return Moved(
        pose=pose,
        vessel=vessels.carried(anatomy, vessel, *displacement_mm),
        cartilage=bones.cartilage_tubes(pose),
        rib=bones.rib_tubes(pose),
    )


def draw_still(
    anatomy: Anatomy, grid: Grid, shape: Shape, vessel: tubes.Tubes | None = None
) -> Still:
    """Returns what does not breathe, and what is only carried, drawn at exhale.

    Args:
        anatomy: the patient.
        grid: cubic voxels.
        shape: `[Z, Y, X]`.
        vessel: `vessels.grow` of the patient, if it is at hand.
    """
    place = solids.to_reference(anatomy, solids.grid_axes(grid, shape))
    share, soft, mineral = _still_bones(anatomy, grid, place, shape)
    rest = pose_at(anatomy, 0.0, 0.0)
    return Still(
        bone_share=share,
        bone_soft=soft,
        bone_mineral=mineral,
        mediastinum=organs.draw_mediastinum(anatomy, grid, shape),
        abdomen=organs.draw_abdomen(rest, *_taller(grid, shape)),
        airway=organs.draw_airway(anatomy, grid, shape),
        arm=jnp.broadcast_to(bones.arm_distance(anatomy, place), shape),
        vessel=vessels.grow(anatomy) if vessel is None else vessel,
    )


def _still_bones(
    anatomy: Anatomy, grid: Grid, place: Axes, shape: Shape
) -> tuple[Array, Array, Array]:
    """Returns share, soft tissue and mineral (times share) of spine and shoulders."""
    voxel = grid.spacing_mm[0]
    limbs = bones.long_bone_tubes(anatomy)
    long = tubes.tube_distance(limbs, grid, shape, reach_mm=90.0)
    layers = (
        (
            bones.spine_distance(anatomy, place),
            (tissues.VERTEBRA_SHELL, tissues.VERTEBRA_MARROW),
            tissues.VERTEBRA_SHELL_MM,
        ),
        (_scapula(anatomy, grid, place, shape), (tissues.SCAPULA,) * 2, 1.0),
        (
            long,
            (tissues.LONG_SHELL, tissues.LONG_MARROW),
            tissues.LONG_SHELL_MM,
        ),
    )
    share = soft = mineral = jnp.zeros(shape, jnp.float32)
    for distance, (shell, marrow), thick in layers:
        whole = occupancy(distance, voxel)
        inner = occupancy(distance + thick, voxel)
        rest = 1.0 - whole
        mix = lambda i, w=whole, n=inner, s=shell, m=marrow: (
            w * s[i] + n * (m[i] - s[i])
        )
        soft = soft * rest + mix(0)
        mineral = mineral * rest + mix(1)
        share = share * rest + whole
    return share, soft, mineral


def _scapula(anatomy: Anatomy, grid: Grid, place: Axes, shape: Shape) -> Array:
    near = solids.box(grid, shape, bones.SCAPULA_BOX)
    here = bones.scapula_distance(anatomy, solids.part_of(place, near))
    return jnp.full(shape, grid.spacing_mm[0], jnp.float32).at[near].set(here)


def body_densities(
    grid: Grid, *, still: Still, moved: Moved, lung_g_cc: Scalar
) -> tuple[Array, Array]:
    """Returns soft tissue and bone mineral of the whole thorax at one moment.

    Args:
        grid: where the voxels are.
        still: `draw_still` of the patient on this grid.
        moved: `move` of the same patient.
        lung_g_cc: density of the lung now, g/cc.

    Returns:
        (soft, bone), each `[Z, Y, X]` g/cc: the densities of ICRU 44 soft tissue and
        cortical bone that together attenuate as the voxel does at 60 keV.
    """
    voxel, shape = grid.spacing_mm[0], _shape_of(still.bone_share)
    pose, anatomy = moved.pose, moved.pose.anatomy
    place = solids.to_reference(anatomy, solids.grid_axes(grid, shape))
    share = lambda distance: occupancy(distance, voxel)
    cage = solids.cage_distance(pose, place)
    vessel = vessels.vessel_share(moved.vessel, grid, shape)
    lung = share(solids.lung_distance(pose, place, cage))
    lung_soft = tissues.LUNG * lung_g_cc
    lung_soft = lung_soft + vessel * (tissues.BLOOD[0] - lung_soft)
    soft = _wall(pose, place, still, voxel)
    soft = paint(soft, share(cage + solids.WALL_MM), _filling(pose, place, still, grid))
    soft = paint(soft, lung, lung_soft)
    soft = paint(soft, share(solids.heart_distance(pose, place)), tissues.HEART[0])
    soft = paint(soft, still.airway, tissues.AIR[0])
    soft, bone = _moving_bones(soft, moved, place, cage, grid)
    soft = soft * (1.0 - still.bone_share) + still.bone_soft
    bone = bone * (1.0 - still.bone_share) + still.bone_mineral
    # a patient's own mineral; marrow and fat fill what is lost
    return soft, bone * anatomy.bone_density


def body_volume(grid: Grid, *, still: Still, moved: Moved, mu_lung: Scalar) -> Array:
    """Returns the attenuation of the whole thorax at one moment.

    Args:
        grid: where the voxels are.
        still: `draw_still` of the patient on this grid.
        moved: `move` of the same patient.
        mu_lung: attenuation of the lung now, 1/mm.

    Returns:
        `[Z, Y, X]` 1/mm at 60 keV.
    """
    lung_g_cc = mu_lung / att.LUNG_MU_PER_DENSITY
    soft, bone = body_densities(grid, still=still, moved=moved, lung_g_cc=lung_g_cc)
    return soft * att.SOFT_MU_PER_DENSITY + bone * att.BONE_MU_PER_DENSITY


def _moving_bones(
    soft: Array, moved: Moved, place: Axes, cage: Array, grid: Grid
) -> tuple[Array, Array]:
    """Returns (soft, bone), g/cc: `soft` overlaid by cartilage, sternum and ribs."""
    share = lambda distance: occupancy(distance, grid.spacing_mm[0])
    bone, shape = jnp.zeros_like(soft), _shape_of(soft)
    gristle = share(bones.cartilage_distance(moved.cartilage, grid, shape))
    soft, bone = _overlay_bone(soft, bone, gristle, tissues.CARTILAGE)
    plate = share(bones.sternum_distance(moved.pose, place, cage))
    soft, bone = _overlay_bone(soft, bone, plate, tissues.STERNUM)
    rib = bones.rib_distance(moved.rib, grid, shape)
    soft, bone = _overlay_bone(soft, bone, share(rib), tissues.RIB_SHELL)
    inner = share(rib + tissues.RIB_SHELL_MM)
    return _overlay_bone(soft, bone, inner, tissues.RIB_MARROW)


def _wall(pose: Pose, place: Axes, still: Still, voxel: float) -> Array:
    """Returns soft tissue of skin, fat and a body full of muscle, `[Z, Y, X]` g/cc."""
    share = lambda distance: occupancy(distance, voxel)
    trunk = solids.skin_distance(pose, place)
    fat = fat_thickness_mm(pose.anatomy)
    outline = jnp.minimum(trunk, still.arm)
    flesh = jnp.minimum(trunk + fat, still.arm + jnp.minimum(fat, 8.0))
    outline = jnp.minimum(outline, solids.breast_distance(pose, place))
    soft = tissues.SKIN[0] * share(outline)
    soft = paint(soft, share(outline + SKIN_MM), tissues.ADIPOSE[0])
    return paint(soft, share(flesh), tissues.MUSCLE[0])


def _spare_rows(grid: Grid) -> tuple[int, int]:
    """Returns the rows by which the abdomen may slide up and down."""
    return tuple(math.ceil(mm / grid.spacing_mm[2]) + 1 for mm in SLIDE_MM)


def _taller(grid: Grid, shape: Shape) -> tuple[Grid, Shape]:
    """Returns the grid with its spare rows below and above."""
    below, above = _spare_rows(grid)
    x, y, z = grid.origin_mm
    origin = (x, y, z - below * grid.spacing_mm[2])
    return Grid(origin, grid.spacing_mm), (shape[0] + below + above, *shape[1:])


def _filling(pose: Pose, place: Axes, still: Still, grid: Grid) -> Array:
    """Returns soft tissue of mediastinum and abdomen now, `[Z, Y, X]` g/cc."""
    down = pose.inferior_shift_mm * pose.anatomy.scale_height / grid.spacing_mm[2]
    whole = jnp.floor(down)
    first = whole.astype(jnp.int32) + _spare_rows(grid)[0]
    shape = still.mediastinum.shape
    row = lambda start: jax.lax.dynamic_slice(still.abdomen, (start, 0, 0), shape)
    abdomen = paint(row(first), down - whole, row(first + 1))
    below = occupancy(solids.dome_distance(pose, place), grid.spacing_mm[0])
    return paint(still.mediastinum, below, abdomen)


def _shape_of(volume: Array) -> Shape:
    nz, ny, nx = volume.shape
    return nz, ny, nx


def _overlay_bone(
    soft: Array, bone: Array, share: Array, tissue: Tissue
) -> tuple[Array, Array]:
    """Returns (soft, bone), g/cc, with `tissue` over both where `share` says."""
    return paint(soft, share, tissue[0]), paint(bone, share, tissue[1])
