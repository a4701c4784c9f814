"""Studies of one patient at a time: one breath, one tumour, many tumour amplitudes.

Sub-group (the paper's table 1): 15 patients ("sets"), the tumour's amplitude 1.0 to 2.9
times the diaphragm's in steps of 0.1; the first ten of each set train, the last ten
test, which extrapolates. "subgroup_shuffled" takes a random ten of each set instead.

Patient (table 2): one patient with a 30 mm tumour in the right upper lung, 1.0 to 10.9
times, of which the first and the last forty train and the middle twenty (numbers 41 to
60) test. "patient_left" and "patient_other" move the tumour and change the patient.

The paper gives no amplitude: the diaphragm moves 16 mm (sub-group) or 8 mm (patient),
and the factor is of the superior-inferior motion alone, as ten times the chest's motion
would leave the lung. Amplitudes up to 87 mm (10.9 times 8 mm) follow the paper's
factors and are not physiological. Every tumour stays in the lung at its set's largest
amplitude. Validation cases lie half a step above a trained and above a tested amplitude
in turn, so that they have both kinds, interpolated and as far from training as the
test; they are other cases than the test's, but of the same patients. A set's clip
without tumour is the same in all of its cases; its quanta are drawn anew for each.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry, project_point
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.fluoroscope import Case, lung_clearance_mm
from fluoro_jax.sim.placement import sample_tumor, to_numpy
from fluoro_jax.sim.tumor.tumor import tumor_path_mm
from fluoro_jax.studies.group import AP_LAG_CYCLES, case_labels, draw_anatomy
from fluoro_jax.studies.registry import STUDIES, Sets
from fluoro_jax.studies.spec import STREAMS, StudySpec, refuse

STEP = 0.1  # between two amplitude factors
BETWEEN = 0.05  # of a validation case above its trained neighbour
DISPLACEMENTS = 8  # tried of a tumour that training displaces
PATIENTS = 40  # drawn until one has room for the tumour's longest path


def set_case(spec: StudySpec, split: str, index: int) -> tuple[Case, dict[str, Any]]:
    """Case `index` of a split and its labels; a set's cases follow each other.

    Raises:
        UserError: for more cases than the study's sets and amplitudes give.
    """
    most = sets_of(spec).numbers[split]
    if index >= most:
        refuse(f"num_{split}", index + 1, f"at most {most}")
    number, place = divmod(index, most // sets_of(spec).count)
    factors = set_factors(spec, number)
    factor = factors[split][place]
    case = with_factor(set_patient(spec, number), factor)
    beside = factor - BETWEEN if split == "val" else factor
    kind = "trained" if np.isclose(factors["train"], beside).any() else "tested"
    return case, {**case_labels(case), "kind": kind, "set": number}


def sets_of(spec: StudySpec) -> Sets:
    """Returns what a study of sets fixes."""
    sets = spec.study.sets
    assert sets is not None, f"{spec.name} is no study of sets"
    return sets


def set_factors(spec: StudySpec, number: int) -> dict[str, np.ndarray]:
    """Returns the amplitude factors [1] of set `number` by split, in order."""
    study = sets_of(spec)
    every = 1.0 + STEP * np.arange(study.factors)
    order = np.arange(study.factors)
    if study.shuffled:
        rng = np.random.default_rng([spec.seed, STREAMS["shuffle"], number])
        order = rng.permutation(study.factors)
    first, last = study.tested
    test = np.sort(order[first:last])
    train = np.sort(np.delete(order, np.s_[first:last]))
    beside = _validation_numbers(train, test, number, study.num_val_per_set)
    return {
        "train": every[train],
        "val": every[beside] + BETWEEN,
        "test": every[test],
    }


def _validation_numbers(
    train: np.ndarray, test: np.ndarray, number: int, count: int
) -> np.ndarray:
    """Returns amplitude numbers, from `train` and from `test` in turn over all sets.

    Each is another place of its range, never the last, above which nothing was checked
    to have room.

    Args:
        train: amplitude numbers that train, sorted; `test` likewise.
        test: see `train`.
        number: of the set.
        count: validation cases of each set.
    """
    chosen = []
    for place in range(number * count, (number + 1) * count):
        source = (train, test)[place % 2]
        room = len(source) - 1
        # With one case a set, steps of 4 visit all 9 places of the sub-group's ten
        # amplitudes over the sets (4 and 9 have no common factor). With several, half
        # of them come from this source: steps of room / (count / 2), rounded up.
        step = 4 if count == 1 else -(-2 * room // count)
        chosen.append(source[(step * (place // 2)) % room])
    return np.array(chosen)


def with_factor(case: Case, factor: float) -> Case:
    """Returns the case with another tumour amplitude.

    Args:
        case: any.
        factor: SI amplitude of the tumour over the diaphragm's [1].
    """
    si_mm = np.float32(factor * float(case.breathing.si_mm))
    return dataclasses.replace(case, tumor=dataclasses.replace(case.tumor, si_mm=si_mm))


def fresh_factor(rng: np.random.Generator, spec: StudySpec, number: int) -> float:
    """An amplitude factor near the trained ones of a set, drawn evenly."""
    trained = set_factors(spec, number)["train"]
    return float(rng.choice(trained) + rng.uniform(-0.5, 0.5) * STEP)


def displaced(rng: np.random.Generator, case: Case, most_mm: float) -> Case:
    """Returns the case with its tumour elsewhere in the lung, near its place.

    Args:
        rng: where the random numbers come from.
        case: any.
        most_mm: farthest along the body, drawn evenly; a quarter of it sideways
            and in depth. The tumour stays where it is if `DISPLACEMENTS` have no room.
    """
    most = most_mm * np.array([0.25, 0.25, 1.0])
    for _ in range(DISPLACEMENTS):
        place = case.tumor.centre_mm + rng.uniform(-most, most)
        tumor = dataclasses.replace(case.tumor, centre_mm=np.float32(place))
        clear_mm = lung_clearance_mm(case.anatomy, case.breathing, tumor, case.time_s)
        if clear_mm >= 0.0:
            return dataclasses.replace(case, tumor=tumor)
    return case


def set_patient(spec: StudySpec, number: int) -> Case:
    """Returns the patient of set `number`, whose tumour moves as far as in any case."""
    return _set_patient(
        spec.name, spec.seed, spec.num_frames, frame_s=spec.frame_s, number=number
    )


@functools.lru_cache(maxsize=64)
def _set_patient(
    name: str, seed: int, num_frames: int, *, frame_s: float, number: int
) -> Case:
    study, population = STUDIES[name].sets, STUDIES[name].population
    assert study is not None
    rng = np.random.default_rng([seed, STREAMS["set"], study.patient + number])
    time_s = np.arange(num_frames) * frame_s
    for _ in range(PATIENTS):
        key = jax.random.key(np.uint32(rng.integers(2**32)))
        anatomy = draw_anatomy(key, population)
        breathing = Breathing(
            period_s=num_frames * frame_s,
            si_mm=study.si_mm,
            ap_mm=rng.uniform(*study.ap_mm),
            ap_lag=rng.uniform(*AP_LAG_CYCLES),
        )
        anatomy, breathing, time_s = to_numpy((anatomy, breathing, time_s))
        diameter_mm = rng.uniform(*study.diameter_mm)
        most = 1.0 + STEP * (study.factors - 1)
        try:
            tumor = sample_tumor(
                rng,
                anatomy,
                breathing,
                time_s,
                diameter_mm=diameter_mm,
                si_mm=most * study.si_mm,
                site=study.site,
            )
        except UserError:  # no room in this patient
            continue
        return Case(anatomy, breathing, tumor, time_s, periodic=True)
    raise UserError(
        f"study.seed = {seed} of the study {name}: no room in {PATIENTS} patients",
        needed=f"a lung in which the tumour can move {most * study.si_mm:.0f} mm",
        why="the whole sphere must stay in the lung at every phase of the breath",
        fix="take another study.seed",
    )


def collimated(spec: StudySpec, case: Case) -> Geometry:
    """The study's view with the panel's middle on the middle of the tumour's path.

    Args:
        spec: the study.
        case: its tumour moving as far as in any case of its set.
    """
    view = spec.geometry()
    path = tumor_path_mm(case.tumor, case.breathing, case.time_s, case.anatomy)
    places = np.asarray(project_point(view, path))
    middle = 0.5 * (places.min(axis=0) + places.max(axis=0))
    centre = np.array([(view.rows - 1) / 2, (view.cols - 1) / 2])
    offset = (middle - centre) * np.array(view.pixel_mm)
    return dataclasses.replace(view, offset_mm=(float(offset[0]), float(offset[1])))
