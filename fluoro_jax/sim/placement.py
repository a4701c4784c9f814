"""Samples tumour positions at which the whole tumour stays in the lung.

The label `lobe` is a zone: thirds of the lung's height, named upper, middle and lower.
Zones are not anatomical lobes (there are no fissures, and a left lung has no middle
lobe); the key stays `lobe` in stored data.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.motion import check_pose, lung_displacement_mm, pose_at
from fluoro_jax.sim.body.solids import lung_distance, to_reference
from fluoro_jax.sim.fluoroscope import breathing_displacement_mm, lung_clearance_mm
from fluoro_jax.sim.tumor.tumor import Tumor, tumor_path_mm

SIDES = ("right", "left")
LOBES = ("upper", "middle", "lower")  # zones: thirds of the height
SITES = [(side, lobe) for side in SIDES for lobe in LOBES]
_CUBE = np.array([v for v in np.ndindex(3, 3, 3) if v != (1, 1, 1)]) - 1.0
ROUGH_SURFACE = _CUBE / np.linalg.norm(_CUBE, axis=1, keepdims=True)  # 26 directions
# |x|, y and z of a box about one lung of the reference patient at exhale, in which
# candidates are drawn. It holds every centre of a sphere of 20 mm that is in the lung
# (`lung_clearance_mm` decides); the lateral recess reaches 10 mm further out.
LUNG_BOX_MM = ((4.0, 125.0), (-95.0, 98.0), (-85.0, 127.0))
CANDIDATES = 256  # places looked at together
ROUNDS = 8  # times so many before a site counts as full


def sample_tumor(
    rng: np.random.Generator,
    anatomy: Anatomy,
    breathing: Breathing,
    time_s: AnyArray,
    *,
    diameter_mm: float,
    medial: bool = False,
    si_mm: float | None = None,
    site: tuple[str, str] | None = None,
    rides: bool = False,
) -> Tumor:
    """Returns a tumour that never leaves the lung.

    It moves as far as the diaphragm or, if it `rides`, with the lung around it.

    Side and zone are sampled first, then positions within them, until the whole sphere
    stays in the lung at every time; if a site has no valid position, the next site is
    tried.

    Args:
        rng: where the random numbers come from.
        anatomy: whose lung; numpy leaves.
        breathing: gives the tumour's amplitudes (factor 1.0).
        time_s: `[T]` when the sphere must be inside, s.
        diameter_mm: of the sphere.
        medial: take, of the places tried, the one nearest the midline.
        si_mm: the tumour's own superior-inferior motion; None means the body's.
        site: (side, zone) of the lung, as in `SITES`; None means any.
        rides: the lung carries it.

    Returns:
        The tumour, numpy float32 leaves. The amplitudes of one that rides are those
        that the lung gives it.

    Raises:
        UserError: for a diameter or amplitude no tumour can have, a breath that the
            body cannot take, or if neither lung has a valid position.
    """
    _check_motion(diameter_mm, breathing)
    check_breath(anatomy, breathing, time_s)
    tumor = to_numpy(
        Tumor(
            np.zeros(3),
            diameter_mm,
            si_mm=breathing.si_mm if si_mm is None else si_mm,
            ap_mm=breathing.ap_mm,
            rides=rides,
        )
    )
    best = -np.inf
    sites = [SITES[i] for i in rng.permutation(len(SITES))] if site is None else [site]
    for chosen in sites:
        box = _site_box(anatomy, *chosen)
        rounds = (rng.uniform(*box, (CANDIDATES, 3)) for _ in range(ROUNDS))
        if medial:  # look at all of them first
            rounds = [np.concatenate(list(rounds))]
        for places in rounds:
            places = places.astype(np.float32)
            clearance = _rough_clearance(anatomy, breathing, tumor, time_s, places)
            clearance = np.array(clearance)
            best = max(best, clearance.max())
            places = places[clearance >= 0.0]
            if medial:
                places = places[np.argsort(np.abs(places[:, 0]))]
            for place in places:
                found = dataclasses.replace(tumor, centre_mm=place)
                if lung_clearance_mm(anatomy, breathing, found, time_s) >= 0.0:
                    return _with_amplitudes(found, anatomy, breathing)
    raise UserError(
        f"a tumour of {diameter_mm:.1f} mm is larger than the lung allows, "
        f"moving {tumor.si_mm:.1f} mm inferiorly and {tumor.ap_mm:.1f} mm anteriorly",
        needed=f"at most about {max(diameter_mm + 2.0 * best, 0.0):.0f} mm here",
        why="the whole sphere must stay in the lung at every phase of the breath",
        fix="take a smaller diameter or amplitude, or a larger body",
    )


def check_breath(anatomy: Anatomy, breathing: Breathing, time_s: AnyArray) -> None:
    """Checks that a body can take a breath.

    Args:
        anatomy: the patient; numpy leaves.
        breathing: at full inhale if it is periodic, whatever the times.
        time_s: `[T]` when uneven breaths or a trace are looked at, s.

    Raises:
        UserError: naming the limit that was passed (`motion.check_pose`).
    """
    if breathing.trace is None and breathing.breaths is None:
        check_pose(anatomy, float(breathing.si_mm), float(breathing.ap_mm))
        return
    moves = [np.asarray(mm) for mm in _breath_mm(breathing, time_s)]
    for end in (np.min, np.max):
        si, ap = (float(end(mm)) for mm in moves)
        check_pose(anatomy, si, ap)


_breath_mm = jax.jit(breathing_displacement_mm)


def lobe_edges_mm(anatomy: Anatomy, side: str) -> np.ndarray:
    """Returns heights `[4]` (rising) of the lower, middle and upper zone at exhale, mm.

    Thirds from the top of the side's dome to the apex, as in an AP radiograph, not
    anatomical lobes; the lower zone includes the recess lateral to the dome.
    """
    dome = anatomy.dome_right_mm - (anatomy.dome_step_mm if side == "left" else 0.0)
    bottom, apex = LUNG_BOX_MM[2]
    inner = dome + (apex - dome) * np.array([1.0, 2.0]) / len(LOBES)
    return np.array([bottom, *inner, apex]) * anatomy.scale_height


def _site_box(anatomy: Anatomy, side: str, lobe: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns opposite corners `[3]` mm of the box around one zone of one lung."""
    (inner, outer), depth, _ = LUNG_BOX_MM
    across = (inner, outer) if side == "left" else (-outer, -inner)
    edges = lobe_edges_mm(anatomy, side)
    rank = LOBES[::-1].index(lobe)
    box = np.array(
        [
            np.multiply(across, anatomy.scale_lateral),
            np.multiply(depth, anatomy.scale_ap),
            edges[rank : rank + 2],
        ]
    )
    return box[:, 0], box[:, 1]


@jax.jit
def _rough_clearance(
    anatomy: Anatomy,
    breathing: Breathing,
    tumor: Tumor,
    time_s: AnyArray,
    places_mm: jax.Array,
) -> jax.Array:
    """Returns the approximate clearance of a tumour at `[N, 3]` places, `[N]` mm.

    At the two ends of the breath and 26 points of the sphere only: a fortieth of the
    work of `lung_clearance_mm`, which decides.
    """
    si, ap = breathing_displacement_mm(breathing, time_s)
    surface = jnp.asarray(ROUGH_SURFACE) * (0.5 * tumor.diameter_mm)

    def moved(end: jax.Array) -> jax.Array:
        if tumor.rides:
            return places_mm + lung_displacement_mm(
                anatomy, si[end], ap[end], places_mm
            )
        still = dataclasses.replace(tumor, centre_mm=jnp.zeros(3))
        return places_mm + tumor_path_mm(still, breathing, time_s)[end].reshape(1, 3)

    def deepest(end: jax.Array) -> jax.Array:
        points = moved(end).reshape(-1, 1, 3) + surface.reshape(1, -1, 3)
        place = to_reference(anatomy, tuple(points[..., i] for i in range(3)))
        return lung_distance(pose_at(anatomy, si[end], ap[end]), place).max(axis=1)

    return -jnp.maximum(deepest(jnp.argmin(si)), deepest(jnp.argmax(si)))


def _with_amplitudes(tumor: Tumor, anatomy: Anatomy, breathing: Breathing) -> Tumor:
    """Gives a tumour that rides the amplitudes of full inhale, for its labels."""
    if not tumor.rides:
        return tumor
    centre = np.reshape(tumor.centre_mm, (1, 3))
    move = _displacement_mm(anatomy, breathing.si_mm, breathing.ap_mm, centre)[0]
    left, back, up = (np.float32(part) for part in np.asarray(move))
    return dataclasses.replace(tumor, si_mm=-up, ap_mm=-back, lr_mm=left)


# Eagerly its twenty operations took more than half of the time of a placement.
_displacement_mm = jax.jit(lung_displacement_mm)


def _check_motion(diameter_mm: float, breathing: Breathing) -> None:
    for name, value, least in (
        ("tumour diameter", diameter_mm, "more than 0 mm"),
        ("SI amplitude", breathing.si_mm, "0 mm or more"),
        ("AP amplitude", breathing.ap_mm, "0 mm or more"),
    ):
        allowed = value > 0.0 if least.startswith("more") else value >= 0.0
        if not (allowed and np.isfinite(value)):
            raise UserError(
                f"{name} = {float(value):g} mm",
                needed=least,
                why="it is a length; inhaling moves inferiorly and anteriorly",
                fix="give its size without a sign",
            )


def to_numpy(tree: Any) -> Any:
    """Returns float32 numpy leaves, so that every case has the same types under jit."""
    return jax.tree.map(lambda x: np.asarray(x, np.float32), jax.device_get(tree))
