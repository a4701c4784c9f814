"""The paper's group study as a list of cases: who breathes how, with which tumour.

110 training and 30 test cases as published, and 16 of ours to watch while training.
Every case is a function of (study seed, split, index) alone, so asking for more cases
never changes the ones before, and no two splits share a random number.

Ranges from the paper: tumour diameter 20-40 mm, left or right lung, upper, middle or
lower part, chest expansion (AP) 8-20 mm, diaphragm (SI) 16-40 mm, body sizes vary. The
tumour follows its own curve with the body's amplitudes (factor 1.0). The paper says
that test tumours "could be smaller or bigger" and their places "more challenging";
the numbers for that, `TEST_KINDS`, are ours.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.placement import LOBES, lobe_edges_mm, sample_tumor, to_numpy
from fluoro_jax.sim.anatomy import Population, sample_anatomy
from fluoro_jax.sim.breathing import Breathing
from fluoro_jax.sim.fluoroscope import Case
from fluoro_jax.sim.tumor import Tumor

DIAMETER_MM = {  # by kind of case
    "population": (20.0, 40.0),
    "smaller": (12.0, 18.0),
    "larger": (42.0, 48.0),
    "hard": (20.0, 40.0),
}
TEST_KINDS = ("smaller", "larger", "hard", "population")  # in turn over the test set
SI_MM = (16.0, 40.0)
AP_MM = (8.0, 20.0)
AP_LAG_CYCLES = (0.0, 0.1)  # ours: the chest a little behind the diaphragm
SPLITS = ("train", "val", "test")
STREAMS = {  # second word of every seed
    "train": 0,
    "val": 1,
    "test": 2,
    "pool": 3,
    "draw": 4,
    "simulate": 5,
}
STUDIES = ("group",)


@dataclass(frozen=True)
class StudySpec:
    """A study at a size: everything that decides what its stored cases look like.

    Attributes:
        name: one of `STUDIES`.
        seed: of the cases.
        num_train: training cases; num_val, num_test likewise.
        rows: detector rows; cols likewise.
        detector_mm: width and height of the panel.
        gantry_deg: IEC gantry angle.
        collimate: the panel's middle follows the tumour of each set, so that a small
            panel of fine pixels holds its whole path.
        voxel_mm: of the body when it is rendered.
        photons: unattenuated quanta a pixel; 0 gives noiseless line integrals.
        num_frames: of a clip; together they are exactly one breath.
        frame_s: time between frames.

    Raises:
        UserError: for values that no study can have.
    """

    name: str = "group"
    seed: int = 2020
    num_train: int = 110
    num_val: int = 16
    num_test: int = 30
    rows: int = 256
    cols: int = 256
    detector_mm: float = 480.0
    gantry_deg: float = 0.0
    collimate: bool = False
    voxel_mm: float = 2.0
    photons: float = 0.0
    num_frames: int = 10
    frame_s: float = 0.5

    def __post_init__(self) -> None:
        if self.name not in STUDIES:
            _refuse("name", self.name, "one of " + ", ".join(STUDIES))
        for field in ("num_train", "num_val", "num_test", "rows", "cols", "num_frames"):
            if getattr(self, field) < 1:
                _refuse(field, getattr(self, field), "at least 1")
        for field in ("detector_mm", "voxel_mm", "frame_s"):
            if not 0.0 < getattr(self, field) < np.inf:
                _refuse(field, getattr(self, field), "more than 0")
        if not 0.0 <= self.photons < np.inf:
            _refuse("photons", self.photons, "0 (noiseless) or more")
        if not np.isfinite(self.gantry_deg):
            _refuse("gantry_deg", self.gantry_deg, "an angle in degrees")
        if not 0 <= self.seed < 2**32:
            _refuse("seed", self.seed, "from 0 to 4294967295")

    @classmethod
    def from_config(cls, study: Any) -> StudySpec:
        """From `cfg.study`, whose keys are the attributes.

        Raises:
            UserError: for values that no study can have.
        """
        types = typing.get_type_hints(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: types[name](study[name]) for name in names})

    def geometry(self) -> Geometry:
        """The studies' view: SAD 1000, SDD 1500, centred square panel."""
        pitch = (self.detector_mm / self.rows, self.detector_mm / self.cols)
        return Geometry(1000.0, 1500.0, self.gantry_deg, self.rows, self.cols, pitch)

    def num_cases(self) -> dict[str, int]:
        """Cases of every split."""
        return {split: getattr(self, f"num_{split}") for split in SPLITS}

    def to_json(self) -> str:
        """The attributes as JSON, always in the same order."""
        return json.dumps(dataclasses.asdict(self))

    def slug(self) -> str:
        """Folder name: study, size and a hash of every attribute."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()[:8]
        return f"{self.name}_{self.rows}x{self.cols}_{digest}"


PRESETS = {  # the scales of the configs, as named dataset configs
    "group_smoke": StudySpec(
        rows=32, cols=32, voxel_mm=8.0, num_train=4, num_val=2, num_test=3
    ),
    "group_quickstart": StudySpec(rows=64, cols=64, voxel_mm=4.0),
    "group_cpu": StudySpec(rows=96, cols=96, voxel_mm=4.0),
    "group_peer": StudySpec(rows=128, cols=128, voxel_mm=3.0),
    "group_full": StudySpec(),
}


@dataclass
class StudyCase:
    """One case of a study.

    Attributes:
        id: unique over the splits.
        split: "train", "val" or "test".
        case: what is simulated; numpy float32 leaves.
        labels: diameter_mm, si_mm, ap_mm (floats); side, lobe, kind (words).
    """

    id: int
    split: str
    case: Case
    labels: dict[str, Any]


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
    """Case `index` of a split (id = index), whatever the number of cases."""
    rng = np.random.default_rng([spec.seed, STREAMS[split], index])
    kind = TEST_KINDS[index % len(TEST_KINDS)] if split == "test" else "population"
    case = sample_group_case(rng, spec, kind=kind)
    return StudyCase(index, split, case, {**case_labels(case), "kind": kind})


def pool_body(spec: StudySpec, seed: int, number: int) -> Case:
    """Body `number` of the endless list that run `seed` trains on when simulating.

    From the training population, with random numbers that no split uses.
    """
    rng = np.random.default_rng([spec.seed, STREAMS["pool"], seed, number])
    return sample_group_case(rng, spec)


def draw_rng(spec: StudySpec, seed: int, number: int) -> np.random.Generator:
    """Random numbers of simulated training example `number` of run `seed`."""
    return np.random.default_rng([spec.seed, STREAMS["draw"], seed, number])


def sample_group_case(
    rng: np.random.Generator, spec: StudySpec, *, kind: str = "population"
) -> Case:
    """A body, its breath and a tumour in its lung.

    Args:
        rng: where the random numbers come from.
        spec: gives frame times; one breath is exactly `num_frames` of them.
        kind: "population" as trained on; "smaller" or "larger" tumours than any of
            those; "hard": of the places tried, the one nearest the midline, over
            heart and spine.

    Returns:
        The case, numpy float32 leaves.
    """
    body_key = jax.random.key(np.uint32(rng.integers(2**32)))
    anatomy = _sample_anatomy(body_key)
    breathing = Breathing(
        period_s=spec.num_frames * spec.frame_s,
        si_mm=rng.uniform(*SI_MM),
        ap_mm=rng.uniform(*AP_MM),
        ap_lag=rng.uniform(*AP_LAG_CYCLES),
    )
    time_s = np.arange(spec.num_frames) * spec.frame_s
    anatomy, breathing, time_s = to_numpy((anatomy, breathing, time_s))
    diameter_mm = rng.uniform(*DIAMETER_MM[kind])
    tumor = sample_tumor(
        rng, anatomy, breathing, time_s, diameter_mm=diameter_mm, medial=kind == "hard"
    )
    return Case(
        anatomy=anatomy, breathing=breathing, tumor=tumor, time_s=time_s, periodic=True
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
        "side": side,
        "lobe": LOBES[::-1][int(np.searchsorted(inner_edges, z))],
    }


_sample_anatomy = jax.jit(lambda key: sample_anatomy(key, Population()))


def _refuse(field: str, value: Any, needed: str) -> None:
    raise UserError(
        f"study.{field} = {value}",
        needed=needed,
        why="no study can be built from it",
        fix=f"correct study.{field}, or leave it out to take the config's own",
    )
