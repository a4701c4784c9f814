"""Cases of studies of many patients with one tumour each: the paper's group study.

Ranges from the paper: chest expansion (AP) 8-20 mm, diaphragm (SI) 16-40 mm, body sizes
vary. The tumour follows its own curve with the body's amplitudes (factor 1.0). Which
tumours each split of each study has is data: `registry.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.body.anatomy import Anatomy, Population, sample_anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.sim.fluoroscope import Case
from fluoro_jax.sim.placement import (
    LOBES,
    check_breath,
    lobe_edges_mm,
    sample_tumor,
    to_numpy,
)
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.studies.registry import KINDS, Kind
from fluoro_jax.studies.spec import STREAMS, StudySpec

SI_MM = (16.0, 40.0)
AP_MM = (8.0, 20.0)
AP_LAG_CYCLES = (0.0, 0.1)  # ours: the chest a little behind the diaphragm
# Share of the tumour's shadow under the heart: at most 0.01 in any frame "without"
# overlap, at least 0.3 on average over the frames "with" it. Cases between the two are
# of neither kind, so that the kinds are distinct.
HEART_SHARE = (0.01, 0.3)
OVERLAP_VOXEL_MM = 8.0
OVERLAP_DRAWS = 60
BREATH_DRAWS = 20  # of uneven breaths; about one of thirty is deeper than a body takes


def group_case(spec: StudySpec, split: str, index: int) -> tuple[Case, dict[str, Any]]:
    """Case `index` of a split and its labels, whatever the number of cases."""
    rng = np.random.default_rng([spec.seed, STREAMS[split], index])
    kinds = spec.study.kinds(split)
    name = kinds[index % len(kinds)]
    kind = KINDS[name]
    draw = lambda: sample_group_case(rng, spec, kind=kind)
    case = draw()
    if kind.heart is not None:
        case = _until_overlap(case, draw, spec.geometry(), wanted=kind.heart)
    return case, {**case_labels(case), "kind": name}


def group_view(spec: StudySpec, split: str, index: int) -> Geometry:
    """Returns the view of a case: the study's, or an angle of its own."""
    if spec.study.gantry_deg is None:
        return spec.geometry()
    rng = np.random.default_rng([spec.seed, STREAMS["view"], STREAMS[split], index])
    least, most = spec.study.gantry_deg
    angle = rng.uniform(least - most, most - least)
    angle += np.copysign(least, angle)
    return dataclasses.replace(spec.geometry(), gantry_deg=float(angle))


def sample_group_case(
    rng: np.random.Generator, spec: StudySpec, *, kind: Kind = KINDS["population"]
) -> Case:
    """A body, its breath and a tumour in its lung.

    Args:
        rng: where the random numbers come from.
        spec: gives frame times and, by its study, the population and its breath.
        kind: what is special about the tumour.

    Returns:
        The case, numpy float32 leaves.
    """
    body_key = jax.random.key(np.uint32(rng.integers(2**32)))
    anatomy = draw_anatomy(body_key, spec.study.population)
    breathing = _breathing(rng, spec)
    time_s = np.arange(spec.num_frames) * spec.frame_s
    if spec.study.irregular:
        breathing = _uneven(body_key, anatomy, breathing, time_s)
    anatomy, breathing, time_s = to_numpy((anatomy, breathing, time_s))
    diameter_mm = rng.uniform(*kind.diameter_mm)
    tumor = sample_tumor(
        rng,
        anatomy,
        breathing,
        time_s,
        diameter_mm=diameter_mm,
        medial=kind.nearest_midline,
        rides=spec.study.motion is not None,
    )
    return Case(
        anatomy=anatomy,
        breathing=breathing,
        tumor=tumor,
        time_s=time_s,
        periodic=spec.periodic,
    )


def _breathing(rng: np.random.Generator, spec: StudySpec) -> Breathing:
    """Returns the breath of one patient: the paper's ranges, or the study's motion."""
    motion = spec.study.motion
    if motion is None:
        return Breathing(
            period_s=spec.num_frames * spec.frame_s,
            si_mm=rng.uniform(*SI_MM),
            ap_mm=rng.uniform(*AP_MM),
            ap_lag=rng.uniform(*AP_LAG_CYCLES),
        )
    mean, spread, least, most = motion.si_mm
    return Breathing(
        period_s=rng.uniform(*motion.period_s),
        si_mm=float(np.clip(rng.normal(mean, spread), least, most)),
        ap_mm=rng.uniform(*motion.ap_mm),
        ap_lag=rng.uniform(*motion.ap_lag),
        start=rng.uniform(),
    )


def _uneven(
    key: jax.Array, anatomy: Anatomy, breathing: Breathing, time_s: np.ndarray
) -> Breathing:
    """Returns uneven breaths of these amplitudes in the mean, as the body can take."""
    sizes = dict(si_mm=breathing.si_mm, ap_mm=breathing.ap_mm)
    drawn = breathing
    for draw in range(BREATH_DRAWS):
        drawn_by = jax.random.fold_in(key, draw) if draw else key
        drawn = to_numpy(sample_breathing(drawn_by, time_s[-1], **sizes))
        with contextlib.suppress(UserError):
            check_breath(anatomy, drawn, time_s)
            break
    return drawn  # the last one even if too deep: `sample_tumor` says why it is


def draw_anatomy(key: jax.Array, population: Population) -> Anatomy:
    """Returns a patient of a population; compiled once a population."""
    return _sampler(population)(key)


def fresh_tumor(
    rng: np.random.Generator,
    case: Case,
    *,
    diameter_mm: tuple[float, float],
    even_in: str = "diameter",
    midline_share: float = 0.0,
) -> Tumor:
    """Returns another tumour for a case's body and breath.

    Args:
        rng: where the random numbers come from.
        case: gives body, breath, and whether the tumour rides on the lung.
        diameter_mm: range of its diameter, mm.
        even_in: see `draw_diameter`.
        midline_share: chance that it lies nearest the midline of all places tried.
    """
    # No draw at a share of 0: runs from before there was one keep their tumours.
    medial = midline_share > 0.0 and rng.random() < midline_share
    return sample_tumor(
        rng,
        case.anatomy,
        case.breathing,
        case.time_s,
        diameter_mm=draw_diameter(rng, diameter_mm, even_in),
        medial=medial,
        rides=case.tumor.rides,
    )


def draw_diameter(
    rng: np.random.Generator, diameter_mm: tuple[float, float], even_in: str
) -> float:
    """Returns a diameter within a range, mm.

    Args:
        rng: where the random number comes from.
        diameter_mm: the range, mm.
        even_in: "diameter", or "log_diameter" for as many from 10 to 20 mm as from 20
            to 40 mm.
    """
    if even_in == "log_diameter":
        return float(np.exp(rng.uniform(*np.log(diameter_mm))))
    return rng.uniform(*diameter_mm)


def case_labels(case: Case) -> dict[str, Any]:
    """Strata of a case: sizes in mm, and the side and part of the lung."""
    x, _, z = (float(c) for c in case.tumor.centre_mm)
    side = "left" if x > 0.0 else "right"
    inner_edges = lobe_edges_mm(case.anatomy, side)[1:-1]
    return {
        "diameter_mm": float(case.tumor.diameter_mm),
        "si_mm": float(case.tumor.si_mm),
        "ap_mm": float(case.tumor.ap_mm),
        "factor": float(case.tumor.si_mm) / float(case.breathing.si_mm),
        "side": side,
        "lobe": LOBES[::-1][int(np.searchsorted(inner_edges, z))],
    }


def _until_overlap(case: Case, draw: Any, view: Geometry, *, wanted: bool) -> Case:
    """Draws on until the heart lies over the tumour, or never does."""
    most, least = HEART_SHARE
    for _ in range(OVERLAP_DRAWS):
        share = np.asarray(overlap(case, view, voxel_mm=OVERLAP_VOXEL_MM)["heart"])
        if share.mean() >= least if wanted else share.max() <= most:
            return case
        case = draw()
    raise UserError(
        f"no tumour {'over' if wanted else 'clear of'} the heart in {OVERLAP_DRAWS}",
        needed="one that is, in the population of the study",
        why="the study separates cases by what lies over the tumour",
        fix="take another study.seed",
    )


@functools.cache
def _sampler(population: Population) -> Any:
    return jax.jit(lambda key: sample_anatomy(key, population))
