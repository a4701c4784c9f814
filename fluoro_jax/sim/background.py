"""A patient's clip without a tumour, rendered a fixed number of frames at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from fluoro_jax.compiling import QuickToCompile
from fluoro_jax.devices import usual_device
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry
from fluoro_jax.sim.body import solids, vessels, volume
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.tubes import Tubes
from fluoro_jax.sim.lung import LungState, lung_state
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.sim.xray import attenuation as att
from fluoro_jax.sim.xray import projector

Array = jax.Array
Scalar = Any
Motion = tuple[volume.Moved, Array]  # of every frame, and the lung's density, g/cc
CM_PER_MM = 0.1
FRAMES_AT_ONCE = 10  # one breath of the studies; longer clips are rendered in parts
VOXEL_MM = (0.5, 32.0)  # below, one volume takes more than 1.4 GB
PIXEL_MM = (0.01, 100.0)
SAD_MM = (400.0, 10_000.0)
GAP_MM = 100.0  # least from the isocentre to the panel
PHOTONS = (1.0, 1e12)
MOST_PIXELS = 8192


@struct.dataclass
class Case:
    """A patient, a breathing record, a tumour and the times of the frames.

    Attributes:
        anatomy: the patient.
        breathing: how the body moves.
        tumor: the target.
        time_s: `[T]` when frames are taken.
        periodic: static; the frames are exactly one breathing period.
        heartbeat: static; the heart beats at `anatomy.heart_rate_hz`, at the end of
            diastole at 0 s. Off in the studies: their clips are exactly periodic, and
            the paper's phantom clips are sorted by the phase of the breath alone.
    """

    anatomy: Anatomy
    breathing: Breathing
    tumor: Tumor
    time_s: AnyArray
    periodic: bool = struct.field(pytree_node=False, default=True)
    heartbeat: bool = struct.field(pytree_node=False, default=False)


def render_body(case: Case, geometry: Geometry, *, voxel_mm: float) -> Array:
    """Returns the clip of the patient without the tumour.

    Args:
        case: its tumour is ignored.
        geometry: the view; compiled once for all cases and views of one panel size,
            and for all clips of `FRAMES_AT_ONCE` frames or more.
        voxel_mm: side of the cubic voxels (static).

    Returns:
        `[T, rows, cols]` line integrals at 60 keV [1].

    Raises:
        UserError: for a voxel size or a panel that cannot be rendered.
    """
    return _render(case, geometry, voxel_mm)


def render_areal_density(case: Case, geometry: Geometry, *, voxel_mm: float) -> Array:
    """Returns areal densities of soft tissue and bone, without the tumour.

    Arguments as in `render_body`.

    Returns:
        `[2, T, rows, cols]` g/cm^2, for `detector.acquire`.
    """
    integrals = _render(case, geometry, voxel_mm, by_material=True)
    return CM_PER_MM * jnp.moveaxis(integrals, 1, 0)


def _render(
    case: Case, geometry: Geometry, voxel_mm: float, *, by_material: bool = False
) -> Array:
    voxel_mm = check_sizes(case, geometry, voxel_mm)
    anatomy, quarter = case.anatomy, projector.quarter_turn(geometry)
    static = (voxel_mm, quarter, by_material)
    draw_still = _still_at(voxel_mm)

    def motion(times: tuple[AnyArray, AnyArray], vessel: Tubes) -> Motion:
        state = lung_state(anatomy, case.breathing, times[0], vessel)
        moves = (state.si_mm, state.ap_mm)
        return _move(anatomy, vessel, moves, times[1]), state.density_g_cc

    def run(times: tuple[AnyArray, AnyArray]) -> Array:
        moved = motion(times, vessel)
        wait(ahead)
        return _render_frames(still, moved, geometry, *static)

    def inputs() -> tuple[volume.Still, Motion]:
        first = jax.tree.map(lambda leaf: leaf[:FRAMES_AT_ONCE], frames)
        grown = _grow(anatomy)
        return draw_still(anatomy, grown), motion(first, grown)

    # A thread has a context of its own: it would compile for the usual device.
    device = usual_device()

    def compile_frames() -> None:
        with jax.default_device(device):
            shapes = jax.eval_shape(inputs)
            _render_frames.lower(*shapes, geometry, *static).compile()

    beats = heart_phase(case)
    # a heart that stands still goes through the same program as one that beats
    beats = np.zeros(len(case.time_s), np.float32) if beats is None else beats
    frames = (case.time_s, beats)
    size = (min(len(beats), FRAMES_AT_ONCE), geometry.rows, geometry.cols)
    ahead: list[Future] = []
    with ThreadPoolExecutor(1) as beside:
        # Most of a compilation uses one core: the frames' program, the longest,
        # compiles beside all others. Its errors are raised again when it is called.
        if (size, *static) not in _compiled and not _traced((case, geometry)):
            _compiled.add((size, *static))
            ahead.append(beside.submit(compile_frames))
        vessel = _grow(anatomy)
        still = draw_still(anatomy, vessel)
        return in_chunks(run, frames, (case, geometry))


def _traced(tree: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def in_chunks(run: Callable[[Any], Any], frames: Any, traced: Any) -> Any:
    """Runs `run` on `FRAMES_AT_ONCE` frames at a time, so that one program serves all.

    Args:
        run: from arrays `[t, ...]` to arrays `[t, ...]`, t frames.
        frames: its arrays `[T, ...]`, None allowed.
        traced: everything else that `run` depends on. Within a trace, where every
            chunk would be compiled again, all frames go at once.
    """
    count = jax.tree.leaves(frames)[0].shape[0]
    if count <= FRAMES_AT_ONCE or _traced((frames, traced)):
        return run(frames)
    parts = []
    for first in range(0, count, FRAMES_AT_ONCE):
        # the last frame again, until the chunk is full
        index = np.minimum(np.arange(first, first + FRAMES_AT_ONCE), count - 1)
        parts.append(run(jax.tree.map(lambda leaf, index=index: leaf[index], frames)))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *parts)


# Sizes whose program of frames this process has compiled, or begun to.
_compiled: set[tuple] = set()
_grow = QuickToCompile(jax.jit(vessels.grow))  # runs for a millisecond


@functools.cache
def _still_at(voxel_mm: float) -> QuickToCompile:
    """Returns the program of a patient's still parts, which runs once a patient."""

    def draw_still(anatomy: Anatomy, vessel: Tubes) -> volume.Still:
        return volume.draw_still(anatomy, *solids.body_grid(voxel_mm), vessel)

    return QuickToCompile(jax.jit(draw_still))


@QuickToCompile
@jax.jit
def _move(
    anatomy: Anatomy, vessel: Tubes, moves_mm: tuple[Array, Array], beats: AnyArray
) -> volume.Moved:
    """Returns the points of all frames, `[T, ...]`.

    Apart from the frames' own program, whose many kernels take long to compile.
    """
    now = lambda moment: volume.move(anatomy, vessel, moment[:2], moment[2])
    return jax.lax.map(now, (*moves_mm, beats))


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _render_frames(
    still: volume.Still,
    motion: Motion,
    geometry: Geometry,
    voxel_mm: float,
    quarter: int | None,
    by_material: bool,
) -> Array:
    grid, _ = solids.body_grid(voxel_mm)
    geometry = projector.turned(geometry, quarter)

    def frame(now: Motion) -> Array:
        moved, lung_g_cc = now
        if by_material:
            parts = volume.body_densities(
                grid, still=still, moved=moved, lung_g_cc=lung_g_cc
            )
            return jnp.stack([projector.project(p, grid, geometry) for p in parts])
        mu_lung = att.mu_lung(lung_g_cc)
        mu = volume.body_volume(grid, still=still, moved=moved, mu_lung=mu_lung)
        return projector.project(mu, grid, geometry)

    return jax.lax.map(frame, motion)


def check_sizes(case: Case, geometry: Geometry, voxel_mm: float) -> float:
    """Refuses voxels, panels and clips that cannot be rendered.

    Raises:
        UserError: naming the value and its range; values under `jit` pass.
    """
    panel, pixel = "a chest cannot be rendered beyond it", geometry.pixel_mm
    memory = "beyond it one clip takes all of a machine's memory"
    for name, value, (low, high), unit, why in (
        ("voxel_mm", voxel_mm, VOXEL_MM, "mm", memory),
        ("pixel_mm (row)", pixel[0], PIXEL_MM, "mm", panel),
        ("pixel_mm (column)", pixel[1], PIXEL_MM, "mm", panel),
        ("rows", geometry.rows, (1, MOST_PIXELS), "pixels", memory),
        ("cols", geometry.cols, (1, MOST_PIXELS), "pixels", memory),
        ("sad_mm", geometry.sad_mm, SAD_MM, "mm", panel),
        ("sdd_mm", geometry.sdd_mm, SAD_MM, "mm", panel),
        ("time_s", len(case.time_s), (1, 1e6), "frames", memory),
    ):
        if not isinstance(value, Tracer) and not low <= float(value) <= high:
            _refuse(
                f"{name} = {float(value):g}", f"from {low:g} to {high:g} {unit}", why
            )
    ends = (geometry.sad_mm, geometry.sdd_mm)
    if not any(isinstance(end, Tracer) for end in ends) and ends[1] < ends[0] + GAP_MM:
        _refuse(
            f"sdd_mm = {float(ends[1]):g} with sad_mm = {float(ends[0]):g}",
            f"sdd_mm at least {GAP_MM:g} mm more than sad_mm",
            "the panel stands behind the patient",
        )
    return float(voxel_mm)


def check_photons(photons: Scalar) -> None:
    """Refuses numbers of photons without which a frame holds no image.

    Raises:
        UserError: naming the range; values under `jit` pass.
    """
    low, high = PHOTONS
    if not isinstance(photons, Tracer) and not (
        photons == 0.0 or low <= float(photons) <= high
    ):
        _refuse(
            f"photons = {float(photons):g}",
            f"0 (no noise), or from {low:g} to {high:g} a pixel",
            "with fewer, hardly a pixel counts a photon behind a chest",
        )


def _refuse(what: str, needed: str, why: str) -> None:
    fix = f"choose {what.split(' ')[0]} within that range"
    raise UserError(what, needed=needed, why=why, fix=fix)


def heart_phase(case: Case) -> Array | None:
    """Returns heart beats since 0 s, `[T]` cycles; None if it does not beat."""
    if not case.heartbeat:
        return None
    return jnp.asarray(case.time_s, jnp.float32) * case.anatomy.heart_rate_hz


def lung_at(case: Case) -> LungState:
    """Returns the lung of a case at its times; the same for every tumour in it."""
    vessel = _grow(case.anatomy)
    run = lambda times: lung_state(case.anatomy, case.breathing, times[0], vessel)
    return in_chunks(run, (case.time_s,), case)
