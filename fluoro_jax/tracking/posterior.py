"""One tumour out of a probability map over time: components under a motion model.

A network's map may hold the tumour and other blobs, and for moments nothing at all.
Every component of the map is followed by a Kalman filter of constant velocity, and
gathers evidence: the sum of its probabilities, forgotten over a few seconds. The
hypothesis with the most evidence is the tumour. It uses the past alone, so the answer
may change hypothesis when another has gathered more; that is how it recovers from a
wrong start.

Where the answering hypothesis has no component in a frame, its place is predicted for a
moment ("held"); after that the best hypothesis that is seen answers, and if none is,
the frame is "missed".
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.tracking.baselines.matching import at_place
from fluoro_jax.tracking.checks import Reference
from fluoro_jax.tracking.confidence import Calibration, Features
from fluoro_jax.tracking.tracker import Tracker, make_track

# Members that the wrapped tracker may have, see `Tracker`.
OPTIONAL = ("learned", "window_frames", "fills_gaps", "cfg", "card", "warm_up")


@dataclass(frozen=True)
class MotionRules:
    """Constants of the filter; all ours. Millimetres are at the isocentre.

    Attributes:
        acceleration_mm_s2: SD of the tumour's acceleration; breathing of 20 mm in 4 s
            has at most 25.
        measured_mm: SD of a component's centroid about the tumour's.
        speed_mm_s: SD of the speed of a component seen for the first time.
        gate: how many SDs off the prediction a component may lie.
        farthest_mm: and how far at most.
        memory_s: evidence falls to 1 / e in this time.
        hold_s: for so long after it was last seen a place is predicted; after twice
            that time a hypothesis is forgotten.
        most: hypotheses that are kept.
    """

    acceleration_mm_s2: float = 25.0
    measured_mm: float = 1.5
    speed_mm_s: float = 15.0
    gate: float = 4.0
    farthest_mm: float = 20.0
    memory_s: float = 4.0
    hold_s: float = 1.0
    most: int = 8


@dataclass(frozen=True)
class Hypothesis:
    """One component followed over time.

    Attributes:
        place_mm: `[2]` (down, right) in the isocentre plane from the frame's corner.
        speed_mm_s: `[2]`.
        spread: `[2, 2]` covariance of (place, speed) of either axis.
        evidence: sum of probabilities, forgotten over `memory_s`.
        seen_s: when it was last seen.
        age: frames in which it was seen.
        innovation: of the newest measurement, in its SDs.
        probability: `[H, W]`, 0 outside its component, when it was last seen.
    """

    place_mm: np.ndarray
    speed_mm_s: np.ndarray
    spread: np.ndarray
    evidence: float
    seen_s: float
    age: int
    innovation: float
    probability: np.ndarray


@dataclass(frozen=True)
class PosteriorState:
    """The wrapped tracker's state, and the hypotheses after the newest answer."""

    inner: Any
    geometry: Geometry
    hypotheses: tuple[Hypothesis, ...] = ()
    times_s: tuple[float, ...] = ()
    answered_s: float | None = None


@dataclass(frozen=True)
class PosteriorTracker:
    """Chooses one component a frame of another tracker's maps, by its motion.

    Attributes:
        inner: a tracker whose `Track.probability` is its whole map.
        threshold: probability from which a pixel is tumour.
        rules: of the motion.
        calibration: gives the confidence as a probability that the error is under
            `calibration.limit_mm`; None leaves the mean probability inside the mask.
    """

    inner: Tracker
    threshold: float = 0.5
    rules: MotionRules = field(default_factory=MotionRules)
    calibration: Calibration | None = None

    @property
    def causal(self) -> bool:
        """Returns that of the wrapped tracker."""
        return self.inner.causal

    @property
    def lookahead_frames(self) -> int:
        """Returns that of the wrapped tracker."""
        return self.inner.lookahead_frames

    def __getattr__(self, name: str) -> Any:
        # Optional members of the protocol, as the wrapped tracker has them or not.
        if name in OPTIONAL:
            return getattr(self.inner, name)
        raise AttributeError(name)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> PosteriorState:
        """See `Tracker.init`."""
        inner = self.inner.init(geometry, reference, periodic=periodic, domain=domain)
        return PosteriorState(inner, geometry)

    def step(
        self, state: PosteriorState, frame: np.ndarray, time_s: float
    ) -> tuple[PosteriorState, Track | None]:
        """See `Tracker.step`."""
        inner, found = self.inner.step(state.inner, frame, time_s)
        times = (*state.times_s, float(time_s))
        state = dataclasses.replace(state, inner=inner, times_s=times)
        if found is None:
            return state, None
        return self._answer(state, found)

    def flush(self, state: PosteriorState) -> list[Track]:
        """See `Tracker.flush`."""
        answers = []
        for found in self.inner.flush(state.inner):
            state, track = self._answer(state, found)
            answers.append(track)
        return answers

    def _answer(
        self, state: PosteriorState, found: Track
    ) -> tuple[PosteriorState, Track]:
        """Takes one map of the wrapped tracker; answers for its frame."""
        now_s = state.times_s[0]
        gap_s = 0.0 if state.answered_s is None else now_s - state.answered_s
        pixel_mm = np.array(iso_pixel_mm(state.geometry))
        parts = components(np.asarray(found.probability), self.threshold, pixel_mm)
        held = follow(state.hypotheses, parts, gap_s, now_s, self.rules)
        state = dataclasses.replace(
            state, hypotheses=held, times_s=state.times_s[1:], answered_s=now_s
        )
        return state, self._track(state, found, now_s, pixel_mm)

    def _track(
        self, state: PosteriorState, found: Track, now_s: float, pixel_mm: np.ndarray
    ) -> Track:
        make = lambda probability: make_track(
            found.frame, probability, state.geometry, threshold=self.threshold
        )
        best = answering(state.hypotheses, now_s, self.rules)
        if best is None:
            return make(np.zeros_like(found.probability))
        if best.seen_s == now_s:
            track, status = make(best.probability), None
        else:
            track = make(moved_whole(best, self.threshold, pixel_mm))
            status = "held"
            if track.status != "missed":
                # Where it is predicted, also where the frame cuts its outline.
                place_px, said = best.place_mm / pixel_mm, track.confidence
                track = at_place(track, place_px, state.geometry, confidence=said)
        if track.status == "missed":  # moved out of the frame
            return track
        if self.calibration is not None:
            said = self.calibration.probability(
                features_of(best, state.hypotheses, found, now_s, self.threshold)
            )
            usual = "ok" if said >= 0.5 else "low_confidence"
            track = dataclasses.replace(track, confidence=said, status=usual)
        return track if status is None else dataclasses.replace(track, status=status)


def moved_whole(one: Hypothesis, threshold: float, pixel_mm: np.ndarray) -> np.ndarray:
    """Returns a hypothesis's map moved to its predicted place by whole pixels.

    Between pixels the probabilities of a component of few pixels would mix with the 0
    around it and fall below the threshold.

    Args:
        one: its map is where it was last seen, its place where it is now.
        threshold: probability from which a pixel is tumour.
        pixel_mm: (row, column) pitch in the isocentre plane.

    Returns:
        `[H, W]`, cut at the frame's border.
    """
    seen_px = np.argwhere(one.probability >= threshold).mean(axis=0)
    down, right = np.round(one.place_mm / pixel_mm - seen_px).astype(int)
    moved = np.zeros_like(one.probability)
    inside = np.argwhere(one.probability > 0.0)
    there = inside + np.array([down, right])
    shown = ((there >= 0) & (there < moved.shape)).all(axis=1)
    moved[tuple(there[shown].T)] = one.probability[tuple(inside[shown].T)]
    return moved


Component = tuple[np.ndarray, float, np.ndarray]  # place mm, sum of p, map


def components(
    probability: np.ndarray, threshold: float, pixel_mm: np.ndarray
) -> list[Component]:
    """Returns the components of a map cut at `threshold`, largest sum first.

    Args:
        probability: `[H, W]` in [0, 1].
        threshold: probability from which a pixel belongs to a component.
        pixel_mm: (row, column) pitch in the isocentre plane.

    Returns:
        (place `[2]` mm from the frame's corner (down, right), sum of probabilities,
        the map with 0 outside the component) of each.
    """
    # Corners touch too, as in `most_probable_component`.
    found: Any = ndimage.label(probability >= threshold, np.ones((3, 3)))
    labels, count = found
    if count == 0:
        return []
    index = np.arange(1, count + 1)
    sums = np.atleast_1d(ndimage.sum_labels(probability, labels, index))
    ones = np.ones_like(probability)
    middles = np.atleast_2d(ndimage.center_of_mass(ones, labels, index))
    parts = []
    for i in np.argsort(-sums):
        alone = np.where(labels == index[i], probability, np.float32(0.0))
        parts.append((middles[i] * pixel_mm, float(sums[i]), alone))
    return parts


def follow(
    held: tuple[Hypothesis, ...],
    parts: list[Component],
    gap_s: float,
    now_s: float,
    rules: MotionRules,
) -> tuple[Hypothesis, ...]:
    """Returns the hypotheses after a frame, most evidence first.

    Args:
        held: after the frame before, most evidence first.
        parts: of this frame, of `components`.
        gap_s: time between the two frames.
        now_s: time of this frame.
        rules: of the motion.
    """
    forgotten = math.exp(-gap_s / rules.memory_s)
    free, following = list(parts), []
    # One that was not seen for long would reach for any blob in the frame.
    recent = [one for one in held if now_s - one.seen_s <= 2.0 * rules.hold_s]
    for one in (predicted(one, gap_s, rules) for one in recent):
        one = dataclasses.replace(one, evidence=one.evidence * forgotten)
        spread_mm = math.sqrt(one.spread[0, 0] + rules.measured_mm**2)
        off = [float(np.linalg.norm(p[0] - one.place_mm)) for p in free]
        # The hypothesis with most evidence takes its component first.
        if off and min(off) <= min(rules.gate * spread_mm, rules.farthest_mm):
            nearest = int(np.argmin(off))
            one = measured(one, free.pop(nearest), now_s, rules)
        following.append(one)
    new_spread = np.diag([rules.measured_mm**2, rules.speed_mm_s**2])
    following += [
        Hypothesis(place, np.zeros(2), new_spread, mass, now_s, 1, 0.0, alone)
        for place, mass, alone in free
    ]
    following.sort(key=lambda one: -one.evidence)
    return tuple(following[: rules.most])


def predicted(one: Hypothesis, gap_s: float, rules: MotionRules) -> Hypothesis:
    """Returns the hypothesis a moment later, by constant velocity."""
    step = np.array([[1.0, gap_s], [0.0, 1.0]])
    # White acceleration, constant within the gap.
    kick = np.array([0.5 * gap_s**2, gap_s]) * rules.acceleration_mm_s2
    return dataclasses.replace(
        one,
        place_mm=one.place_mm + gap_s * one.speed_mm_s,
        spread=step @ one.spread @ step.T + np.outer(kick, kick),
    )


def measured(
    one: Hypothesis, part: Component, now_s: float, rules: MotionRules
) -> Hypothesis:
    """Returns the hypothesis after its component was seen."""
    place_mm, mass, alone = part
    variance = one.spread[0, 0] + rules.measured_mm**2
    gain = one.spread[:, 0] / variance
    off = place_mm - one.place_mm
    return dataclasses.replace(
        one,
        place_mm=one.place_mm + gain[0] * off,
        speed_mm_s=one.speed_mm_s + gain[1] * off,
        spread=one.spread - np.outer(gain, one.spread[0]),
        evidence=one.evidence + mass,
        seen_s=now_s,
        age=one.age + 1,
        innovation=float(np.linalg.norm(off)) / math.sqrt(variance),
        probability=alone,
    )


def answering(
    held: tuple[Hypothesis, ...], now_s: float, rules: MotionRules
) -> Hypothesis | None:
    """Returns the hypothesis that answers now, or None if nothing was seen for long."""
    for one in held:  # most evidence first
        if now_s - one.seen_s <= rules.hold_s:
            return one
    return None


def features_of(
    best: Hypothesis,
    held: tuple[Hypothesis, ...],
    found: Track,
    now_s: float,
    threshold: float,
) -> Features:
    """Returns what the confidence is judged by; see `Features`."""
    whole = np.asarray(found.probability)
    inside = best.probability >= threshold
    others = [one.evidence for one in held if one is not best]
    total = best.evidence + max(others, default=0.0)
    p = np.clip(best.probability[inside], 1e-6, 1.0 - 1e-6)
    entropy = -(p * np.log2(p) + (1.0 - p) * np.log2(1.0 - p))
    around = np.asarray(ndimage.binary_dilation(inside, iterations=3), bool)
    near = around & ~inside
    return Features(
        mean_probability=float(p.mean()),
        entropy_bits=float(entropy.mean()),
        edge=float(p.mean() - whole[near].mean()) if near.any() else 1.0,
        evidence_share=best.evidence / total if total > 0.0 else 0.0,
        innovation=best.innovation,
        age=best.age,
        unseen_s=now_s - best.seen_s,
        area_px=int(inside.sum()),
    )
