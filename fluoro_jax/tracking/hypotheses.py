"""Components of probability maps followed over time, each by a Kalman filter.

The parts of `posterior.PosteriorTracker`: pure functions on NumPy arrays. A hypothesis
is one component with constant velocity; its evidence is the sum of its probabilities,
forgotten over a few seconds.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from fluoro_jax.metrics import centroid_px

Component = tuple[np.ndarray, float, np.ndarray]  # place mm, sum of p, map


@dataclass(frozen=True)
class MotionRules:
    """Constants of the filter; all ours. Millimetres are at the isocentre.

    Attributes:
        acceleration_mm_s2: SD of the tumour's acceleration; breathing of 20 mm in 4 s
            has at most 25.
        measured_mm: SD of a component's centroid about the tumour's.
        given_mm: SD of the centroid of an outline that is given.
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
    given_mm: float = 0.5
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
        given: it began with the outline that was given, and answers before others.
    """

    place_mm: np.ndarray
    speed_mm_s: np.ndarray
    spread: np.ndarray
    evidence: float
    seen_s: float
    age: int
    innovation: float
    probability: np.ndarray
    given: bool = False


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
    """Returns the hypotheses after a frame, a given one and then most evidence first.

    Args:
        held: after the frame before, in that order.
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
        # The hypothesis that is given, or has most evidence, takes its component first.
        if off and min(off) <= min(rules.gate * spread_mm, rules.farthest_mm):
            nearest = int(np.argmin(off))
            one = measured(one, free.pop(nearest), now_s, rules)
        following.append(one)
    new_spread = np.diag([rules.measured_mm**2, rules.speed_mm_s**2])
    following += [
        Hypothesis(place, np.zeros(2), new_spread, mass, now_s, 1, 0.0, alone)
        for place, mass, alone in free
    ]
    following.sort(key=lambda one: (not one.given, -one.evidence))
    return tuple(following[: rules.most])


def given(mask: np.ndarray, pixel_mm: np.ndarray, rules: MotionRules) -> Hypothesis:
    """Returns the hypothesis of an outline that is known to be the tumour's.

    Args:
        mask: `[H, W]` in {0, 1}, not empty.
        pixel_mm: (row, column) pitch in the isocentre plane.
        rules: of the motion.
    """
    mask = np.asarray(mask, np.float32)
    place_mm = np.asarray(centroid_px(mask), float) * pixel_mm
    # It is known where the tumour is, not how fast it moves.
    spread = np.diag([rules.given_mm**2, rules.speed_mm_s**2])
    return Hypothesis(
        *(place_mm, np.zeros(2), spread, float(mask.sum()), 0.0, 1, 0.0, mask),
        given=True,
    )


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
    for one in held:  # given, then most evidence first
        if now_s - one.seen_s <= rules.hold_s:
            return one
    return None
