"""Studies of many people with one tumour each: the paper's group study and relatives.

110 training and 30 test cases as published, and 16 of ours to watch while training.
Ranges from the paper: tumour diameter 20-40 mm, left or right lung, upper, middle or
lower part, chest expansion (AP) 8-20 mm, diaphragm (SI) 16-40 mm, body sizes vary. The
tumour follows its own curve with the body's amplitudes (factor 1.0). The paper says
that test tumours "could be smaller or bigger" and their places "more challenging";
the numbers for that, `TEST_KINDS`, are ours, and so are all other studies' numbers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.body.anatomy import Anatomy, Population, sample_anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.sim.fluoroscope import Case
from fluoro_jax.sim.placement import LOBES, lobe_edges_mm, sample_tumor, to_numpy
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.studies.spec import STREAMS, StudySpec

DIAMETER_MM = {  # by kind of case
    "population": (20.0, 40.0),
    "smaller": (12.0, 18.0),
    "larger": (42.0, 48.0),
    "hard": (20.0, 40.0),
    "large": (30.0, 40.0),
    "small": (15.0, 25.0),
    "tiny": (8.0, 15.0),
    "heart": (20.0, 40.0),
    "no_heart": (20.0, 40.0),
}
TEST_KINDS = ("smaller", "larger", "hard", "population")  # in turn over the test set
KINDS = {  # study: kinds of (training and validation, test) cases, each in turn
    "group": (("population",), TEST_KINDS),
    "large_to_small": (("large",), ("small",)),
    "small_to_large": (("small",), ("large",)),
    "no_overlap": (("no_heart",), ("heart",)),
    "small": (("tiny",), ("tiny",)),
    "irregular": (("population",), ("population",)),
    "gantry": (("population",), ("population",)),
    "population": (("population",), ("population",)),
    "exposed": (("population",), ("population",)),
}
SI_MM = (16.0, 40.0)
AP_MM = (8.0, 20.0)
AP_LAG_CYCLES = (0.0, 0.1)  # ours: the chest a little behind the diaphragm
GANTRY_DEG = (-60.0, 60.0)  # of the held-out study, without the trained angle
GANTRY_LEAST_DEG = 15.0
OTHER_POPULATION = Population(
    bmi=(31.0, 36.0), mediastinum_mm=(4.0, 6.0), heart_scale=(1.05, 1.1)
)
HEART_SHARE = (0.01, 0.3)  # of the shadow: at most, without; at least, with overlap
OVERLAP_VOXEL_MM = 8.0
OVERLAP_DRAWS = 60


def group_case(spec: StudySpec, split: str, index: int) -> tuple[Case, dict[str, Any]]:
    """Case `index` of a split and its labels, whatever the number of cases."""
    rng = np.random.default_rng([spec.seed, STREAMS[split], index])
    kinds = KINDS[spec.name][split == "test"]
    kind = kinds[index % len(kinds)]
    draw = lambda: sample_group_case(rng, spec, kind=kind)
    case = draw()
    if kind in ("heart", "no_heart"):
        case = _until_overlap(case, draw, spec.geometry(), wanted=kind == "heart")
    return case, {**case_labels(case), "kind": kind}


def group_view(spec: StudySpec, split: str, index: int) -> Geometry:
    """The view of a case: the study's, or the held-out study's angle of its own."""
    if spec.name != "gantry":
        return spec.geometry()
    rng = np.random.default_rng([spec.seed, STREAMS["breath"], STREAMS[split], index])
    low, high = GANTRY_DEG
    angle = rng.uniform(low + GANTRY_LEAST_DEG, high - GANTRY_LEAST_DEG)
    angle += np.copysign(GANTRY_LEAST_DEG, angle)
    return dataclasses.replace(spec.geometry(), gantry_deg=float(angle))


def sample_group_case(
    rng: np.random.Generator, spec: StudySpec, *, kind: str = "population"
) -> Case:
    """A body, its breath and a tumour in its lung.

    Args:
        rng: where the random numbers come from.
        spec: gives frame times and, by its name, who breathes how.
        kind: "population" as trained on; "smaller" or "larger" tumours than any of
            those; "hard": of the places tried, the one nearest the midline, over
            heart and spine; the others are other diameters (`DIAMETER_MM`).

    Returns:
        The case, numpy float32 leaves.
    """
    body_key = jax.random.key(np.uint32(rng.integers(2**32)))
    draw = _sample_other if spec.name == "population" else _sample_anatomy
    anatomy = draw(body_key)
    breathing = Breathing(
        period_s=spec.num_frames * spec.frame_s,
        si_mm=rng.uniform(*SI_MM),
        ap_mm=rng.uniform(*AP_MM),
        ap_lag=rng.uniform(*AP_LAG_CYCLES),
    )
    time_s = np.arange(spec.num_frames) * spec.frame_s
    if spec.name == "irregular":
        breathing = sample_breathing(
            body_key, time_s[-1], si_mm=breathing.si_mm, ap_mm=breathing.ap_mm
        )
    anatomy, breathing, time_s = to_numpy((anatomy, breathing, time_s))
    diameter_mm = rng.uniform(*DIAMETER_MM[kind])
    tumor = sample_tumor(
        rng, anatomy, breathing, time_s, diameter_mm=diameter_mm, medial=kind == "hard"
    )
    return Case(
        anatomy=anatomy,
        breathing=breathing,
        tumor=tumor,
        time_s=time_s,
        periodic=spec.periodic,
    )


def fresh_tumor(
    rng: np.random.Generator, case: Case, *, diameter_mm: tuple[float, float]
) -> Tumor:
    """Another tumour for a case's body and breath, its diameter drawn evenly, mm."""
    return sample_tumor(
        rng,
        case.anatomy,
        case.breathing,
        case.time_s,
        diameter_mm=rng.uniform(*diameter_mm),
    )


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


def _sampler(population: Population) -> Any:
    draw = jax.jit(lambda key: sample_anatomy(key, population))

    def sample(key: jax.Array) -> Anatomy:
        return draw(key)

    return sample


_sample_anatomy = _sampler(Population())
_sample_other = _sampler(OTHER_POPULATION)
