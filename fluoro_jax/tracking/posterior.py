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

Given frame 0 with the tumour's outline (`init(reference=...)`), a hypothesis starts at
its centroid and answers, whatever the evidence of others, until it is forgotten. Where
the sequence begins later (`told_before`), it is predicted from then to the first frame.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import ndimage

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.tracking.baselines.matching import at_place
from fluoro_jax.tracking.checks import Reference
from fluoro_jax.tracking.confidence import Calibration, Features, roundness
from fluoro_jax.tracking.hypotheses import (
    Hypothesis,
    MotionRules,
    answering,
    components,
    follow,
    given,
    moved_whole,
)
from fluoro_jax.tracking.tracker import OPTIONAL, Tracker, make_track


@dataclass(frozen=True)
class PosteriorState:
    """The wrapped tracker's state, and the hypotheses after the newest answer.

    Attributes:
        inner: state of the wrapped tracker.
        geometry: the view.
        hypotheses: a given one and then most evidence first.
        times_s: of the frames that are not answered yet.
        answered_s: time of the newest answer; None before the first.
        told_s: time from an outline that was given to the first frame.
    """

    inner: Any
    geometry: Geometry
    hypotheses: tuple[Hypothesis, ...] = ()
    times_s: tuple[float, ...] = ()
    answered_s: float | None = None
    told_s: float = 0.0


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
        """See `Tracker.init`; the reference's outline is the first hypothesis."""
        inner = self.inner.init(geometry, reference, periodic=periodic, domain=domain)
        if reference is None:
            return PosteriorState(inner, geometry)
        pixel_mm = np.array(iso_pixel_mm(geometry))
        return PosteriorState(
            inner, geometry, (given(reference[1], pixel_mm, self.rules),)
        )

    def told_before(self, state: PosteriorState, told_s: float) -> PosteriorState:
        """See the optional members of `Tracker`."""
        return dataclasses.replace(state, told_s=told_s)

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
        before_s, held = state.answered_s, state.hypotheses
        if before_s is None:  # the time of an outline that was given
            before_s = now_s - state.told_s
            held = tuple(dataclasses.replace(one, seen_s=before_s) for one in held)
        pixel_mm = np.array(iso_pixel_mm(state.geometry))
        parts = components(np.asarray(found.probability), self.threshold, pixel_mm)
        held = follow(held, parts, now_s - before_s, now_s, self.rules)
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
        roundness=roundness(inside),
    )
