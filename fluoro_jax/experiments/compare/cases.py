"""Draws the cases of a scenario: the patient of the day and the planning scan.

Every case is a function of (scenario, seed, index, clip length) alone. A scenario with
`cases_of` takes the patients of another one and changes what its entry says, so that
the two are paired. Trackers that are given the planning phases get those of another
day: the same patient stretched, the diaphragm and the tumour shifted (`DAY_*`),
breathing regularly.
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare.scenarios import (
    SCENARIOS,
    SEEDS,
    TRACES,
    Scenario,
)
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.body.anatomy import Anatomy, fitted
from fluoro_jax.sim.body.breathing import Breathing, breathing_signal, load_trace
from fluoro_jax.sim.body.irregular_breathing import sample_breathing
from fluoro_jax.sim.fluoroscope import Case, lung_clearance_mm
from fluoro_jax.sim.placement import sample_tumor, to_numpy
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.studies import StudySpec, study_case

ATTEMPTS = 200  # patients drawn until one has a tumour as the scenario asks for
SITES = 12  # tumours tried in each
DEPTHS = 12  # depths of breath at which a tumour's room is checked
OVERLAP_VOXEL_MM = 8.0
# Ours: half ranges of what differs between the planning scan and the day.
DAY_SCALE = 0.02  # of the body's width, depth and height
DAY_DOME_MM = 3.0  # of the diaphragm at exhale
DAY_TUMOR_MM = 2.0  # of the tumour, along each axis
# Ours: a tumour that moves less SI would drift mostly along other axes.
LEAST_DRIFTING_SI_MM = 5.0
TRACE_HZ = 20.0


@dataclass(frozen=True)
class ScenarioCase:
    """One case of a scenario.

    Attributes:
        case: the patient on the day; `time_s` are the clip's frames.
        geometry: the view.
        tumor_breathing: what moves the tumour, where that is not the body's breath.
        planning: the same patient when the planning phases were scanned: regular
            breathing, the day's differences undone.
        rng: random numbers for what is drawn later (noise, dropped frames).
        shared: what it has of the case of `cases_of`: "tumour" (and patient), "patient"
            (the tumour had no room there and is placed anew), or "" (neither).
    """

    case: Case
    geometry: Geometry
    tumor_breathing: Breathing | None
    planning: Case
    rng: np.random.Generator
    shared: str = ""


def draw_case(name: str, scenario: Scenario, clips: Any, index: int) -> ScenarioCase:
    """Returns case `index` of a scenario of the phantom.

    Args:
        name: of the scenario.
        scenario: its entry.
        clips: the config's section: seeds, seconds, most_frames,
            frames_per_s, rows, detector_mm.
        index: from 0.

    Raises:
        UserError: if no patient of `ATTEMPTS` has a tumour as the scenario asks for.
    """
    rng = np.random.default_rng(_entropy(clips, name, index))
    if scenario.cases_of:
        paired = _paired_case(rng, scenario, clips, index)
        if paired is not None:
            return paired
    time_s = _frame_times_s(scenario, clips)
    spec = StudySpec(
        name=scenario.study,
        seed=int(rng.integers(2**32)),
        rows=clips.rows,
        cols=clips.rows,
        detector_mm=clips.detector_mm,
    )
    # Kinds follow each other in a study: every attempt keeps that of its index.
    turn = len(spec.study.kinds("test"))
    view = _turned(rng, spec.geometry(), scenario)
    # Placed anew where the breath or the diameter is not the study's own.
    own = scenario.breath == "regular" and scenario.diameter_mm is None
    keep, sites = own and not scenario.drift_mm, SITES if scenario.overlap else 1
    for attempt in range(ATTEMPTS):
        drawn = study_case(spec, "test", index % turn + turn * attempt).case
        case = _breathe(rng, drawn, scenario, time_s, index)
        case = _with_tumor(rng, case, scenario, view, keep=keep, sites=sites)
        if case is not None:
            entropy = _entropy(clips, name, index)
            return _whole(entropy, case, drawn, scenario, view)
    raise UserError(
        f"no tumour as scenario {name} asks for in {ATTEMPTS} patients",
        needed=f"one that is: {scenario.title}",
        why="a scenario keeps its cases apart from the others' by it",
        fix="widen the ranges of its entry in experiments/compare/scenarios.py",
    )


def _entropy(clips: Any, name: str, index: int) -> list[int]:
    return [SEEDS[clips.seeds], zlib.crc32(name.encode()), index]


def _frame_times_s(scenario: Scenario, clips: Any) -> np.ndarray:
    rate = scenario.frames_per_s or clips.frames_per_s
    frames = min(round(clips.seconds * rate), clips.most_frames)
    return np.arange(frames, dtype=np.float32) / np.float32(rate)


def _turned(rng: np.random.Generator, view: Geometry, scenario: Scenario) -> Geometry:
    angle = rng.uniform(*scenario.gantry_deg)
    return dataclasses.replace(view, gantry_deg=float(angle))


def _paired_case(
    rng: np.random.Generator, scenario: Scenario, clips: Any, index: int
) -> ScenarioCase | None:
    """Returns the case of `cases_of` with what the scenario changes in it.

    The tumour is placed anew in the same patient, with the same diameter, where it has
    no room for the scenario's motion; None if there is no room at all.
    """
    base_of = SCENARIOS[scenario.cases_of]
    base = draw_case(scenario.cases_of, base_of, clips, index)
    # The planning scan has the study's own regular breath.
    drawn = dataclasses.replace(base.case, breathing=base.planning.breathing)
    view = _turned(rng, base.geometry, scenario)
    case = _breathe(rng, drawn, scenario, _frame_times_s(scenario, clips), index)
    moves = lambda s: (s.breath, s.irregularity, s.drift_mm, s.lag_cycles)
    if moves(scenario) != moves(base_of):
        moved = _with_tumor(rng, case, scenario, view, keep=True, sites=SITES)
        if moved is None:
            return None
        case = moved
    # Planning scan and noise are the base's: they would differ in the pair otherwise.
    entropy = _entropy(clips, scenario.cases_of, index)
    whole = _whole(entropy, case, drawn, scenario, view)
    same = np.array_equal(case.tumor.centre_mm, drawn.tumor.centre_mm)
    return dataclasses.replace(whole, shared="tumour" if same else "patient")


def _whole(
    entropy: list[int], case: Case, drawn: Case, scenario: Scenario, view: Geometry
) -> ScenarioCase:
    """Returns a case with its drift, planning scan and random numbers.

    Args:
        entropy: of the patient.
        case: the patient on the day.
        drawn: the same breathing regularly, its tumour moving as the study says.
        scenario: its entry.
        view: of the clip.
    """
    moved = _drifting(case, scenario.drift_mm) if scenario.drift_mm else None
    # Drift and phase shift are in the clip alone.
    tumor = dataclasses.replace(case.tumor, rides=drawn.tumor.rides)
    planned = dataclasses.replace(case, tumor=tumor)
    scan, later = (np.random.default_rng([*entropy, use]) for use in (1, 2))
    planning = _planning(scan, planned, drawn.breathing)
    return ScenarioCase(case, view, moved, planning, later)


def _breathe(
    rng: np.random.Generator,
    case: Case,
    scenario: Scenario,
    time_s: np.ndarray,
    index: int,
) -> Case:
    """Returns the patient breathing as the scenario says, at the clip's times."""
    breathing = case.breathing
    sizes = dict(si_mm=breathing.si_mm, ap_mm=breathing.ap_mm)
    if scenario.breath == "irregular":
        key = jax.random.key(np.uint32(rng.integers(2**32)))
        breathing = to_numpy(
            sample_breathing(
                key, float(time_s[-1]), irregularity=scenario.irregularity, **sizes
            )
        )
    elif scenario.breath == "recorded":
        displacement_mm, rate_hz = load_trace(TRACES[index % len(TRACES)])
        # The 95th percentile, as in the report's recorded clip: one deep sigh would
        # flatten every other breath.
        fraction = displacement_mm / np.percentile(displacement_mm, 95)
        # As many samples for every start, so that one program serves all.
        count = int(np.ceil(time_s[-1] * rate_hz)) + 2
        start = int(rng.integers(max(len(fraction) - count, 1)))
        breathing = to_numpy(
            dataclasses.replace(
                breathing,
                trace=fraction[start : start + count],
                trace_rate_hz=rate_hz,
                start=0.0,
            )
        )
    return dataclasses.replace(case, breathing=breathing, time_s=time_s, periodic=False)


def _with_tumor(
    rng: np.random.Generator,
    case: Case,
    scenario: Scenario,
    view: Geometry,
    *,
    keep: bool,
    sites: int,
) -> Case | None:
    """Returns the case with a tumour as the scenario asks for, None if none is found.

    Args:
        rng: of the case.
        case: with the tumour of the study.
        scenario: its entry.
        view: of the clip.
        keep: try the tumour where it is first.
        sites: places tried.
    """
    times = _depths(case)
    lag = np.float32(rng.uniform(*scenario.lag_cycles))
    for site in range(sites):
        tumor = case.tumor
        if site or not keep:
            low, high = scenario.diameter_mm or (tumor.diameter_mm, tumor.diameter_mm)
            diameter_mm = float(rng.uniform(low, high))
            try:
                # A drifting tumour is placed with room for its drift.
                tumor = sample_tumor(
                    rng,
                    case.anatomy,
                    case.breathing,
                    times,
                    diameter_mm=diameter_mm + 2.0 * scenario.drift_mm,
                    rides=tumor.rides,
                )
            except UserError:  # no room in this patient
                return None
            tumor = dataclasses.replace(tumor, diameter_mm=np.float32(diameter_mm))
        if scenario.drift_mm or scenario.lag_cycles[1] > 0.0:
            # By its own amplitudes, so that the drift is `drift_mm` wherever it lies.
            tumor = dataclasses.replace(tumor, rides=False, lag=lag)
        found = dataclasses.replace(case, tumor=tumor)
        if _accepted(found, scenario, view, times):
            return found
    return None


def _accepted(case: Case, scenario: Scenario, view: Geometry, times: Any) -> bool:
    """Whether the tumour has room and what lies over it is as the scenario says."""
    if scenario.drift_mm and case.tumor.si_mm < LEAST_DRIFTING_SI_MM:
        return False
    room_mm = lung_clearance_mm(case.anatomy, case.breathing, case.tumor, times)
    if room_mm < scenario.drift_mm:
        return False
    if not scenario.overlap:
        return True
    over = overlap(
        dataclasses.replace(case, time_s=times), view, voxel_mm=OVERLAP_VOXEL_MM
    )
    return all(
        low <= float(np.mean(over[part])) <= high
        for part, (low, high) in scenario.overlap.items()
    )


def _depths(case: Case) -> np.ndarray:
    """Times `[DEPTHS]` s of the clip, evenly from the deepest to the shallowest."""
    # The lung's place depends on the depth of breath alone.
    depth = np.argsort(np.asarray(breathing_signal(case.breathing, case.time_s)[0]))
    return np.asarray(case.time_s)[
        depth[np.linspace(0, len(depth) - 1, DEPTHS).astype(int)]
    ]


def _drifting(case: Case, drift_mm: float) -> Breathing:
    """Returns the breath of a tumour whose exhale position drifts, body unmoved.

    As a trace of the tumour's own displacement, so that only the tumour follows it.
    """
    seconds = np.arange(0.0, float(case.time_s[-1]) + 1.0, 1.0 / TRACE_HZ)
    half_s = 0.5 * float(case.time_s[-1])
    fraction = np.asarray(breathing_signal(case.breathing, seconds)[0])
    drift = drift_mm * np.minimum(seconds / half_s, 1.0) / float(case.tumor.si_mm)
    return to_numpy(
        dataclasses.replace(
            case.breathing,
            trace=fraction + drift,
            trace_rate_hz=TRACE_HZ,
            start=0.0,
            breaths=None,
        )
    )


def _planning(rng: np.random.Generator, case: Case, regular: Breathing) -> Case:
    """Returns the patient of the planning scan: another day, breathing regularly.

    The body's scales differ by up to `DAY_SCALE`, the dome by `DAY_DOME_MM` and the
    tumour by `DAY_TUMOR_MM` along each axis; the tumour keeps its size and motion.
    """
    names = ("scale_lateral", "scale_ap", "scale_height")
    stretch = 1.0 + rng.uniform(-DAY_SCALE, DAY_SCALE, 3)
    scales = {
        name: float(getattr(case.anatomy, name)) * factor
        for name, factor in zip(names, stretch, strict=True)
    }
    dome_mm = float(case.anatomy.dome_right_mm) + rng.uniform(-1.0, 1.0) * DAY_DOME_MM
    anatomy: Anatomy = to_numpy(
        fitted(dataclasses.replace(case.anatomy, dome_right_mm=dome_mm, **scales))
    )
    factors = [
        float(getattr(anatomy, name)) / float(getattr(case.anatomy, name))
        for name in names
    ]
    shift_mm = rng.uniform(-DAY_TUMOR_MM, DAY_TUMOR_MM, 3)
    centre_mm = np.asarray(case.tumor.centre_mm) * factors + shift_mm
    tumor: Tumor = dataclasses.replace(
        case.tumor, centre_mm=centre_mm.astype(np.float32), lag=np.float32(0.0)
    )
    period_s = float(regular.period_s)
    time_s = (np.arange(10) * period_s / 10).astype(np.float32)
    return Case(anatomy, regular, tumor, time_s, periodic=True)
