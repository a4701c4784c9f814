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
import jax.numpy as jnp
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.anatomy import Anatomy, Population, sample_anatomy
from fluoro_jax.sim.breathing import Breathing
from fluoro_jax.sim.fluoroscope import Case, displacement_mm, lung_clearance_mm
from fluoro_jax.sim.motion import pose_at
from fluoro_jax.sim.solids import lung_distance, to_reference
from fluoro_jax.sim.tumor import Tumor, tumor_path_mm

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
SIDES = ("right", "left")
LOBES = ("upper", "middle", "lower")
SITES = [(side, lobe) for side in SIDES for lobe in LOBES]
SPLITS = ("train", "val", "test")
STREAMS = {"train": 0, "val": 1, "test": 2, "pool": 3, "draw": 4}  # second seed word
STUDIES = ("group",)
_CUBE = np.array([v for v in np.ndindex(3, 3, 3) if v != (1, 1, 1)]) - 1.0
ROUGH_SURFACE = _CUBE / np.linalg.norm(_CUBE, axis=1, keepdims=True)  # 26 directions
LUNG_BOX_MM = ((4.0, 125.0), (-95.0, 85.0), (-60.0, 127.0))  # |x|, y, z, reference
CANDIDATES = 256  # places looked at together
ROUNDS = 8  # times so many before a site counts as full


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
    return StudyCase(index, split, case, {**_labels(case), "kind": kind})


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
    anatomy, breathing, time_s = _to_numpy((anatomy, breathing, time_s))
    diameter_mm = rng.uniform(*DIAMETER_MM[kind])
    tumor = sample_tumor(
        rng, anatomy, breathing, time_s, diameter_mm=diameter_mm, medial=kind == "hard"
    )
    return Case(
        anatomy=anatomy, breathing=breathing, tumor=tumor, time_s=time_s, periodic=True
    )


def fresh_tumor(rng: np.random.Generator, case: Case) -> Tumor:
    """Another tumour of the training population for a case's body and breath."""
    diameter_mm = rng.uniform(*DIAMETER_MM["population"])
    return sample_tumor(
        rng, case.anatomy, case.breathing, case.time_s, diameter_mm=diameter_mm
    )


def sample_tumor(
    rng: np.random.Generator,
    anatomy: Anatomy,
    breathing: Breathing,
    time_s: np.ndarray,
    *,
    diameter_mm: float,
    medial: bool = False,
) -> Tumor:
    """A tumour anywhere in the lung that it never leaves, moving as far as the body.

    Side and lobe are drawn first, then places within them, until the whole sphere
    stays in the lung at every time; a site without room gives way to the next.

    Args:
        rng: where the random numbers come from.
        anatomy: whose lung; numpy leaves.
        breathing: gives the tumour's amplitudes (factor 1.0).
        time_s: `[T]` when the sphere must be inside, s.
        diameter_mm: of the sphere.
        medial: take, of the places tried, the one nearest the midline.

    Returns:
        The tumour, numpy float32 leaves.

    Raises:
        UserError: for a diameter or amplitude no tumour can have, or if there is no
            room in either lung.
    """
    _check_motion(diameter_mm, breathing)
    tumor = _to_numpy(
        Tumor(np.zeros(3), diameter_mm, si_mm=breathing.si_mm, ap_mm=breathing.ap_mm)
    )
    best = -np.inf
    for site in rng.permutation(len(SITES)):
        low, high = _site_box(anatomy, *SITES[site])
        for _ in range(ROUNDS):
            places = rng.uniform(low, high, (CANDIDATES, 3)).astype(np.float32)
            room = np.asarray(_rough_room(anatomy, breathing, tumor, time_s, places))
            best = max(best, room.max())
            places = places[room >= 0.0]
            if medial:
                places = places[np.argsort(np.abs(places[:, 0]))]
            for place in places:
                found = tumor.replace(centre_mm=place)
                if lung_clearance_mm(anatomy, breathing, found, time_s) >= 0.0:
                    return found
    raise UserError(
        f"a tumour of {diameter_mm:.1f} mm is larger than the lung has room for, "
        f"moving {breathing.si_mm:.1f} mm down and {breathing.ap_mm:.1f} mm forward",
        needed=f"at most about {max(diameter_mm + 2.0 * best, 0.0):.0f} mm here",
        why="the whole sphere must stay in the lung at every phase of the breath",
        fix="take a smaller diameter or amplitude, or a larger body",
    )


def _site_box(anatomy: Anatomy, side: str, lobe: str) -> tuple[np.ndarray, np.ndarray]:
    """Opposite corners `[3]` mm of the box around one third of one lung at exhale."""
    (inner, outer), (front, back), (bottom, top) = LUNG_BOX_MM
    third = (top - bottom) / len(LOBES)
    low = bottom + third * (len(LOBES) - 1 - LOBES.index(lobe))
    across = (inner, outer) if side == "left" else (-outer, -inner)
    scale = (anatomy.scale_lateral, anatomy.scale_ap, anatomy.scale_height)
    box = (
        np.array([across, (front, back), (low, low + third)]) * np.stack(scale)[:, None]
    )
    return box[:, 0], box[:, 1]


def _labels(case: Case) -> dict[str, Any]:
    """Strata of a case: sizes in mm, and the side and third of the lung."""
    x, _, z = (float(c) for c in case.tumor.centre_mm)
    low, high = LUNG_BOX_MM[2]
    rise = (z / float(case.anatomy.scale_height) - low) / (high - low)
    return {
        "diameter_mm": float(case.tumor.diameter_mm),
        "si_mm": float(case.tumor.si_mm),
        "ap_mm": float(case.tumor.ap_mm),
        "side": "left" if x > 0.0 else "right",
        "lobe": LOBES[int(np.clip(len(LOBES) * (1.0 - rise), 0, len(LOBES) - 1))],
    }


@jax.jit
def _rough_room(
    anatomy: Anatomy,
    breathing: Breathing,
    tumor: Tumor,
    time_s: jax.Array,
    places_mm: jax.Array,
) -> jax.Array:
    """Clearance of a tumour at each of `[N, 3]` places, `[N]` mm, never too small.

    Only at the two ends of the breath and at a few points of the sphere: a hundredth
    of the work of `lung_clearance_mm`, which has the last word.
    """
    si, ap = displacement_mm(breathing, time_s)
    path = tumor_path_mm(tumor.replace(centre_mm=jnp.zeros(3)), breathing, time_s)
    surface = jnp.asarray(ROUGH_SURFACE) * (0.5 * tumor.diameter_mm)

    def deepest(end: jax.Array) -> jax.Array:
        reach = (surface + path[end].reshape(1, 3)).reshape(1, -1, 3)
        points = places_mm.reshape(-1, 1, 3) + reach
        place = to_reference(anatomy, tuple(points[..., i] for i in range(3)))
        return lung_distance(pose_at(anatomy, si[end], ap[end]), place).max(axis=1)

    return -jnp.maximum(deepest(jnp.argmin(si)), deepest(jnp.argmax(si)))


_sample_anatomy = jax.jit(lambda key: sample_anatomy(key, Population()))


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
                why="it is a length; directions are fixed (down and forward to inhale)",
                fix="give its size without a sign",
            )


def _to_numpy(tree: Any) -> Any:
    """Float32 numpy leaves, so that every case has the same types under jit."""
    return jax.tree.map(lambda x: np.asarray(x, np.float32), jax.device_get(tree))


def _refuse(field: str, value: Any, needed: str) -> None:
    raise UserError(
        f"study.{field} = {value}",
        needed=needed,
        why="no study can be built from it",
        fix=f"correct study.{field}, or leave it out to take the config's own",
    )
