"""The paper's studies and our held-out ones, each a list of cases with its split.

Every case is a function of (study, seed, split, index) alone, so asking for more cases
never changes the ones before, and no two splits share a random number.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fluoro_jax.devices import on_host
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.fluoroscope import Case
from fluoro_jax.studies.group import (
    case_labels,
    draw_diameter,
    fresh_tumor,
    group_case,
    group_view,
    sample_group_case,
)
from fluoro_jax.studies.registry import KINDS, SPLITS, STUDIES, Kind, Sets, Study
from fluoro_jax.studies.sets import (
    collimated,
    displaced,
    fresh_factor,
    set_case,
    set_patient,
    sets_of,
    with_factor,
)
from fluoro_jax.studies.spec import (
    PRESETS,
    SET_STUDIES,
    STREAMS,
    StudyCase,
    StudySpec,
)

__all__ = [
    "KINDS",
    "PRESETS",
    "SET_STUDIES",
    "SPLITS",
    "STREAMS",
    "STUDIES",
    "Kind",
    "Sets",
    "Study",
    "StudyCase",
    "StudySpec",
    "build_study",
    "case_labels",
    "draw_diameter",
    "draw_rng",
    "fresh_case",
    "fresh_tumor",
    "pool_patient",
    "sample_group_case",
    "study_case",
]


def build_study(spec: StudySpec) -> dict[str, list[StudyCase]]:
    """All cases of a study by split, without rendering anything.

    Ids count from 0 over train, then val, then test.
    """
    study, first = {}, 0
    for split, number in spec.num_cases().items():
        study[split] = [
            dataclasses.replace(study_case(spec, split, index), id=first + index)
            for index in range(number)
        ]
        first += number
    return study


def study_case(spec: StudySpec, split: str, index: int) -> StudyCase:
    """Case `index` of a split (id = index), whatever the number of cases.

    Raises:
        UserError: for more cases than the study has.
    """
    with on_host():
        return _study_case(spec, split, index)


def _study_case(spec: StudySpec, split: str, index: int) -> StudyCase:
    if spec.study.of_sets:
        case, labels = set_case(spec, split, index)
        view = _view(spec, set_patient(spec, labels["set"]))
        return StudyCase(
            index, split, index, case, view, f"set {labels['set']}", labels
        )
    case, labels = group_case(spec, split, index)
    view = group_view(spec, split, index)
    if spec.collimate:
        view = collimated(spec, case)
    labels["set"] = index
    return StudyCase(index, split, index, case, view, f"{split} {index}", labels)


def pool_patient(spec: StudySpec, seed: int, number: int) -> tuple[Case, Geometry]:
    """Returns patient `number` of the endless list that run `seed` simulates from.

    From the training population, with random numbers that no split uses; in a study of
    sets the training patients themselves, in turn.
    """
    if spec.study.of_sets:
        case = set_patient(spec, number % sets_of(spec).count)
        return case, _view(spec, case)
    rng = np.random.default_rng([spec.seed, STREAMS["pool"], seed, number])
    case = sample_group_case(rng, spec)
    return case, _view(spec, case)


def fresh_case(
    rng: np.random.Generator,
    spec: StudySpec,
    case: Case,
    *,
    number: int,
    diameter_mm: tuple[float, float],
    even_in: str = "diameter",
    midline_share: float = 0.0,
    displaced_mm: float = 0.0,
) -> Case:
    """Returns another training case of patient `number` of the pool.

    Args:
        rng: where the random numbers come from.
        spec: the study.
        case: the patient.
        number: of the patient in the pool.
        diameter_mm: range of a new tumour; in a study of sets the tumour stays and
            moves by another amplitude near the trained ones.
        even_in: how the diameter is drawn, see `fresh_tumor`.
        midline_share: of tumours nearest the midline, see `fresh_tumor`.
        displaced_mm: of a tumour of a set from its place, see `displaced`.
    """
    if spec.study.of_sets:
        patient = number % sets_of(spec).count
        case = with_factor(case, fresh_factor(rng, spec, patient))
        return displaced(rng, case, displaced_mm) if displaced_mm else case
    how: dict[str, Any] = dict(even_in=even_in, midline_share=midline_share)
    tumor = fresh_tumor(rng, case, diameter_mm=diameter_mm, **how)
    return dataclasses.replace(case, tumor=tumor)


def draw_rng(spec: StudySpec, seed: int, number: int) -> np.random.Generator:
    """Random numbers of simulated training example `number` of run `seed`."""
    return np.random.default_rng([spec.seed, STREAMS["draw"], seed, number])


def _view(spec: StudySpec, case: Case) -> Geometry:
    return collimated(spec, case) if spec.collimate else spec.geometry()
