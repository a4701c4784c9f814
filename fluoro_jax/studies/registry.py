"""Every study as data: who is drawn, which kinds of cases each split has, how many.

A new study is a new entry of `STUDIES`. The modules of `studies` never compare a
study's name.

The paper's ranges: tumour diameter 20-40 mm, left or right lung, upper, middle or lower
part. It says that test tumours "could be smaller or bigger" and their places "more
challenging"; the numbers for that are ours, and so are all numbers of the studies that
are not the paper's. Validation has every kind of case that the test set has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from fluoro_jax.sim.body.anatomy import Population

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Kind:
    """Constrains the tumour of a case of a group study.

    Attributes:
        diameter_mm: range of the tumour's diameter.
        nearest_midline: of the places tried, take the one nearest the midline, over
            heart and spine.
        heart: True: the heart lies over the tumour; False: it never does; None: either.
    """

    diameter_mm: tuple[float, float] = (20.0, 40.0)
    nearest_midline: bool = False
    heart: bool | None = None


KINDS: Mapping[str, Kind] = {
    "population": Kind(),  # as trained on
    "smaller": Kind((12.0, 18.0)),  # than any trained on
    "larger": Kind((42.0, 48.0)),
    "hard": Kind(nearest_midline=True),
    "large": Kind((30.0, 40.0)),
    "small": Kind((15.0, 25.0)),
    "tiny": Kind((8.0, 15.0)),
    "heart": Kind(heart=True),
    "no_heart": Kind(heart=False),
}
USUAL = ("population",)
SIZES = ("smaller", "small", "population", "hard")  # in turn over clinic's cases
USUAL_POPULATION = Population()
GROUP_TEST = ("smaller", "larger", "hard", "population")  # in turn over the test set


@dataclass(frozen=True)
class Motion:
    """Quiet breathing at any phase, the tumour carried by the lung around it.

    Diaphragm motion is normal, cut at its limits; all other values are drawn evenly.
    A lower tumour then moves 12 +- 6 mm SI with a tail to 30, an upper one 2 mm, as
    Seppenwoolde et al. 2002 measured (doi:10.1016/S0360-3016(02)02803-1); the chest's
    delay gives the hysteresis of 1 to 5 mm.

    Attributes:
        si_mm: (mean, SD, least, most) of the diaphragm's motion, mm.
        ap_mm: range of the chest's motion, mm.
        ap_lag: range of the chest's delay against the diaphragm, cycles.
        period_s: range of a breath's length, s.
    """

    si_mm: tuple[float, float, float, float] = (14.0, 6.0, 5.0, 32.0)
    ap_mm: tuple[float, float] = (2.0, 10.0)
    ap_lag: tuple[float, float] = (0.0, 0.2)
    period_s: tuple[float, float] = (2.5, 6.0)


@dataclass(frozen=True)
class Sets:
    """Defines the sets of a study; a set is one patient with many tumour amplitudes.

    Attributes:
        count: sets.
        factors: amplitudes of a set.
        si_mm: diaphragm motion, mm.
        ap_mm: range of the chest's motion, mm; the tumour's is the same.
        diameter_mm: range of the tumour's diameter.
        site: (side, part) of the lung, or None for any.
        tested: first and last number (from 0) of the factors that test.
        shuffled: random amplitudes train.
        num_val_per_set: validation cases of each set.
        patient: added to the number of a set, so that studies have other patients.
    """

    count: int
    factors: int
    si_mm: float
    ap_mm: tuple[float, float]
    diameter_mm: tuple[float, float]
    site: tuple[str, str] | None
    tested: tuple[int, int]
    shuffled: bool = False
    num_val_per_set: int = 1
    patient: int = 0

    @property
    def numbers(self) -> dict[str, int]:
        """Cases of every split."""
        test = self.tested[1] - self.tested[0]
        each = {"train": self.factors - test, "val": self.num_val_per_set, "test": test}
        return {split: self.count * number for split, number in each.items()}


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        train: kinds of its training cases, in turn; of each, one patient.
        val: likewise; `test` likewise. Unused in a study of sets.
        cases: of every split; in a study of sets they follow from the sets.
        population: of the patients.
        irregular: uneven breaths; a clip is then not periodic.
        motion: of tumours that ride on the lung; None for the paper's amplitudes, in
            which the tumour moves as far as the diaphragm wherever it lies.
        gantry_deg: least and most angle to either side, drawn for every case; None
            for the config's angle.
        exposed: a panel with spectrum, scatter, blur and quanta takes the frames.
        recorded: its network is also run on the recorded breathing clip.
        sets: given in a study of sets.
    """

    train: tuple[str, ...] = USUAL
    val: tuple[str, ...] = USUAL
    test: tuple[str, ...] = USUAL
    cases: Mapping[str, int] = field(
        default_factory=lambda: {"train": 110, "val": 16, "test": 30}
    )
    population: Population = USUAL_POPULATION
    irregular: bool = False
    motion: Motion | None = None
    gantry_deg: tuple[float, float] | None = None
    exposed: bool = False
    recorded: bool = False
    sets: Sets | None = None

    @property
    def of_sets(self) -> bool:
        """Returns whether one patient gives many cases."""
        return self.sets is not None

    @property
    def periodic(self) -> bool:
        """Whether every clip is exactly one breath."""
        return not self.irregular and self.motion is None

    @property
    def numbers(self) -> Mapping[str, int]:
        """Cases of every split at full size."""
        return self.sets.numbers if self.sets else self.cases

    def kinds(self, split: str) -> tuple[str, ...]:
        """The kinds of a split's cases, in turn; see `KINDS`."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


SUBGROUP = Sets(15, 20, 16.0, (8.0, 20.0), (20.0, 40.0), None, (10, 20))
PATIENT = Sets(
    *(1, 100, 8.0, (8.0, 8.0), (30.0, 30.0), ("right", "upper"), (40, 60)),
    num_val_per_set=10,
    patient=100,
)
BEYOND = Population(
    bmi=(31.0, 36.0), mediastinum_mm=(4.0, 6.0), heart_scale=(1.05, 1.1)
)
CLINIC = Study(
    val=SIZES,
    test=SIZES,
    cases={"train": 110, "val": 32, "test": 60},
    motion=Motion(),
    recorded=True,
)
STUDIES: Mapping[str, Study] = {
    # The paper's group study: many patients, one tumour each.
    "group": Study(val=GROUP_TEST, test=GROUP_TEST, recorded=True),
    # Ours: tumours that move as measured in patients.
    "clinic": CLINIC,
    # Ours: the same with uneven breaths, for networks that read the past alone.
    "stream": dataclasses.replace(CLINIC, irregular=True, recorded=False),
    # Size transfer (the paper's discussion).
    "large_to_small": Study(train=("large",), val=("small", "large"), test=("small",)),
    "small_to_large": Study(train=("small",), val=("large", "small"), test=("large",)),
    # Trained without, tested with the heart over the tumour.
    "no_overlap": Study(("no_heart",), ("heart", "no_heart"), ("heart",)),
    # Ours, held out from every choice.
    "small": Study(("tiny",), ("tiny",), ("tiny",)),
    "irregular": Study(irregular=True),
    "gantry": Study(gantry_deg=(15.0, 60.0)),
    "population": Study(population=BEYOND),
    "exposed": Study(exposed=True),
    # The paper's sub-group (table 1) and patient (table 2) studies.
    "subgroup": Study(sets=SUBGROUP),
    "subgroup_shuffled": Study(sets=dataclasses.replace(SUBGROUP, shuffled=True)),
    "patient": Study(sets=PATIENT),
    "patient_left": Study(sets=dataclasses.replace(PATIENT, site=("left", "upper"))),
    "patient_other": Study(sets=dataclasses.replace(PATIENT, patient=200)),
}
