"""Predicts where a tracked tumour will be, over the delay of a treatment system.

One protocol: `update(time_s, place_mm)` takes the newest tracked place and returns the
places predicted a few horizons ahead. Every forecaster starts from the last place, sees
differences to it alone (a shift of the trace shifts the forecast), treats the two axes
apart and repeats the last place until it has seen enough. Times may be uneven: places
between them are read linearly.

The adaptive forecasters predict y = x(t + h) - x(t) from the taps
f_k = x(t - k d) - x(t), k = 1 .. K - 1, by y = w.f, and learn w from the trace's past.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from fluoro_jax.tracking import forecast_lstm

AXES = 2  # superior, right of image
ENOUGH = 2  # pairs a tap before a forecaster with weights is trusted


class Forecaster(Protocol):
    """Predicts a trace from its own past."""

    def update(self, time_s: float, place_mm: np.ndarray) -> np.ndarray:
        """Takes the newest place; returns the predicted ones.

        Args:
            time_s: later than at the call before, s.
            place_mm: `[2]` (superior, right of image), mm in the isocentre plane;
                finite.

        Returns:
            `[H, 2]` mm, the place after each horizon.
        """
        ...


@dataclass(frozen=True)
class ForecastSettings:
    """The numbers that the forecasters read.

    Attributes:
        window_s: how much of the past ridge and kernel density learn from, s.
        tap_s: d, time between two taps, s.
        taps: K, places that a prediction reads, the newest included.
        line_s: length of the past that a line is fitted to, s.
        ridge: weight of |w|^2, relative to the mean square of the taps [1].
        forgetting: factor by which RLS discounts its past at every frame [1].
        step: of nLMS, in (0, 2) [1].
        kernel_mm: standard deviation of the kernel, root mean square over taps, mm.
    """

    window_s: float = 20.0
    tap_s: float = 0.25
    taps: int = 6
    line_s: float = 0.5
    ridge: float = 0.01
    forgetting: float = 0.99
    step: float = 0.2
    kernel_mm: float = 1.0


class RepeatLast:
    """Predicts that the tumour stays; its error on a ramp is speed times horizon."""

    def __init__(self, horizons_s: Sequence[float], settings: ForecastSettings) -> None:
        self.horizons_s = np.asarray(horizons_s, float)

    def update(self, time_s: float, place_mm: np.ndarray) -> np.ndarray:
        """See `Forecaster.update`."""
        return np.tile(np.asarray(place_mm, float), (len(self.horizons_s), 1))


class _WithHistory:
    """Keeps the trace's past and reads it at any time."""

    def __init__(self, horizons_s: Sequence[float], settings: ForecastSettings) -> None:
        self.horizons_s = np.asarray(horizons_s, float)
        self.settings = settings
        span_s = settings.window_s + settings.taps * settings.tap_s
        self._kept_s = max(span_s + self.horizons_s.max(), settings.line_s)
        self.times = np.zeros(0)
        self.places = np.zeros((0, AXES))

    def _take(self, time_s: float, place_mm: np.ndarray) -> None:
        kept = self.times >= time_s - self._kept_s
        self.times = np.append(self.times[kept], time_s)
        place = np.asarray(place_mm, float).reshape(1, AXES)
        self.places = np.concatenate([self.places[kept], place])

    def _read(self, time_s: np.ndarray) -> np.ndarray:
        """Returns places at any times within the past, `[..., 2]`."""
        axes = [np.interp(time_s, self.times, self.places[:, a]) for a in range(AXES)]
        return np.stack(axes, axis=-1)

    def _features(self, time_s: np.ndarray) -> np.ndarray:
        """Returns the taps before each time `[N]`, `[N, 2, K - 1]`."""
        back_s = self.settings.tap_s * np.arange(self.settings.taps)
        places = self._read(time_s[:, None] - back_s)
        return np.moveaxis(places[:, 1:] - places[:, :1], 1, 2)

    def _anchors(self, horizon_s: float, *, after_s: float) -> np.ndarray:
        """Returns the past frames whose taps and whose future are both known, s."""
        first_s = self.times[0] + self.settings.tap_s * (self.settings.taps - 1)
        # 1e-9: a future that is exactly now counts, whatever its rounding.
        last_s = self.times[-1] - horizon_s + 1e-9
        chosen = (self.times >= first_s - 1e-9) & (self.times <= last_s)
        return self.times[chosen & (self.times > after_s)]

    def _pairs(
        self, horizon_s: float, *, after_s: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns anchors `[N]`, taps `[N, 2, K - 1]` and targets `[N, 2]`."""
        at_s = self._anchors(horizon_s, after_s=after_s)
        target = self._read(at_s + horizon_s) - self._read(at_s)
        return at_s, self._features(at_s), target


class Linear(_WithHistory):
    """Extrapolates the line fitted to the last `line_s` seconds."""

    def update(self, time_s: float, place_mm: np.ndarray) -> np.ndarray:
        """See `Forecaster.update`."""
        self._take(time_s, place_mm)
        recent = self.times >= time_s - self.settings.line_s - 1e-9
        recent[-2:] = True  # two points, however far apart
        since, places = self.times[recent] - time_s, self.places[recent]
        if len(since) < 2:
            return np.tile(places[-1], (len(self.horizons_s), 1))
        slope, level = np.polyfit(since, places, 1)
        return level + self.horizons_s[:, None] * slope


class Ridge(_WithHistory):
    """Refits w to the last `window_s` seconds at every frame.

    w = (F'F + r N s^2 I)^-1 F'y over the N pairs of the window, r `ridge` and s^2 the
    mean square of the taps.
    """

    def update(self, time_s: float, place_mm: np.ndarray) -> np.ndarray:
        """See `Forecaster.update`."""
        self._take(time_s, place_mm)
        now = self._features(np.array([time_s]))[0]
        moved = [self._moved(now, float(h)) for h in self.horizons_s]
        return self.places[-1] + np.stack(moved)

    def _moved(self, now: np.ndarray, horizon_s: float) -> np.ndarray:
        """Returns the predicted displacement after one horizon, `[2]` mm."""
        after_s = self.times[-1] - self.settings.window_s
        _, taps, target = self._pairs(horizon_s, after_s=after_s)
        if len(target) < ENOUGH * taps.shape[-1]:
            return np.zeros(AXES)
        moved = np.zeros(AXES)
        for axis in range(AXES):
            f, y = taps[:, axis], target[:, axis]
            # The floor keeps a trace that has not moved at a forecast of no motion.
            weight = self.settings.ridge * np.square(f).sum() / f.shape[1] + 1e-12
            gram = f.T @ f + weight * np.eye(f.shape[1])
            moved[axis] = now[axis] @ np.linalg.solve(gram, f.T @ y)
        return moved


class KernelDensity(_WithHistory):
    """Averages what followed the pasts that were most like the present one.

    The mean of p(y | f) under a Gaussian kernel density of the window's pairs:
    y = sum_i k_i y_i / sum_i k_i, k_i = exp(-|f - f_i|^2 / (2 (K - 1) sigma^2)), with
    both axes in f.

    Source:
        Ruan 2010, doi:10.1088/0031-9155/55/5/004. Departure: differences to the last
        place, so that a baseline that drifts needs no second model.
    """

    def update(self, time_s: float, place_mm: np.ndarray) -> np.ndarray:
        """See `Forecaster.update`."""
        self._take(time_s, place_mm)
        now = self._features(np.array([time_s]))[0]
        after_s = time_s - self.settings.window_s
        spread = 2.0 * now.shape[-1] * self.settings.kernel_mm**2
        moved = np.zeros((len(self.horizons_s), AXES))
        for i, horizon_s in enumerate(self.horizons_s):
            _, taps, target = self._pairs(float(horizon_s), after_s=after_s)
            if len(target) < ENOUGH * now.shape[-1]:
                continue
            far = np.square(taps - now).sum(axis=(1, 2)) / spread
            # Relative to the nearest past, so that a strange present has a weight too.
            like = np.exp(far.min() - far)
            moved[i] = like @ target / like.sum()
        return self.places[-1] + moved


class SmallLstm(_WithHistory):
    """Forecasts with an LSTM trained on simulated breaths (`forecast_lstm`).

    It learns nothing from the trace, and of the settings it reads none.
    """

    def __init__(self, horizons_s: Sequence[float], settings: ForecastSettings) -> None:
        own = replace(settings, tap_s=forecast_lstm.TAP_S, taps=forecast_lstm.TAPS)
        super().__init__(horizons_s, own)

    def update(self, time_s: float, place_mm: np.ndarray) -> np.ndarray:
        """See `Forecaster.update`."""
        self._take(time_s, place_mm)
        span_s = self.settings.tap_s * (self.settings.taps - 1)
        if self.times[0] > time_s - span_s + 1e-9:
            return np.tile(self.places[-1], (len(self.horizons_s), 1))
        before = self._features(np.array([time_s]))[0][:, ::-1]
        places = np.concatenate([before, np.zeros((AXES, 1))], axis=1)
        moved = forecast_lstm.displacements_mm(places, self.horizons_s)
        return self.places[-1] + moved.T


class _Recursive(_WithHistory):
    """Learns from each pair once, when its future is known."""

    def __init__(self, horizons_s: Sequence[float], settings: ForecastSettings) -> None:
        super().__init__(horizons_s, settings)
        shape = (len(self.horizons_s), AXES, settings.taps - 1)
        self.weights = np.zeros(shape)
        self.seen = np.zeros(len(self.horizons_s), int)
        self._learned_s = np.full(len(self.horizons_s), -np.inf)

    def update(self, time_s: float, place_mm: np.ndarray) -> np.ndarray:
        """See `Forecaster.update`."""
        self._take(time_s, place_mm)
        moved = np.zeros((len(self.horizons_s), AXES))
        now = self._features(np.array([time_s]))[0]
        for i, horizon_s in enumerate(self.horizons_s):
            pairs = self._pairs(float(horizon_s), after_s=self._learned_s[i])
            for at_s, taps, target in zip(*pairs, strict=True):
                self._learn(i, taps, target)
                self._learned_s[i], self.seen[i] = at_s, self.seen[i] + 1
            if self.seen[i] >= ENOUGH * now.shape[-1]:
                moved[i] = np.sum(self.weights[i] * now, axis=-1)
        return self.places[-1] + moved

    def _learn(self, i: int, taps: np.ndarray, target: np.ndarray) -> None:
        raise NotImplementedError


class RecursiveLeastSquares(_Recursive):
    """Ridge by recursion, with an exponentially forgotten past.

    k = P f / (l + f'P f),  w += k (y - w.f),  P = (P - k f'P) / l

    Source:
        Haykin, Adaptive Filter Theory, 4th edition, table 9.1.
    """

    def __init__(self, horizons_s: Sequence[float], settings: ForecastSettings) -> None:
        super().__init__(horizons_s, settings)
        # The prior on w: weak beside taps of a millimetre.
        start = np.eye(settings.taps - 1) / max(settings.ridge, 1e-9)
        self._spread = np.tile(start, (len(self.horizons_s), AXES, 1, 1))

    def _learn(self, i: int, taps: np.ndarray, target: np.ndarray) -> None:
        keep = self.settings.forgetting
        for axis in range(AXES):
            spread, f = self._spread[i, axis], taps[axis]
            gain = spread @ f / (keep + f @ spread @ f)
            missed = target[axis] - self.weights[i, axis] @ f
            self.weights[i, axis] += gain * missed
            spread = (spread - np.outer(gain, f @ spread)) / keep
            # Symmetric again: rounding would make it indefinite in time.
            self._spread[i, axis] = 0.5 * (spread + spread.T)


class NormalisedLms(_Recursive):
    """Moves w along the newest pair: w += m (y - w.f) f / (e + f.f)."""

    def _learn(self, i: int, taps: np.ndarray, target: np.ndarray) -> None:
        for axis in range(AXES):
            f = taps[axis]
            missed = target[axis] - self.weights[i, axis] @ f
            size = 1e-3 + f @ f  # mm^2: a trace that rests teaches nothing
            self.weights[i, axis] += self.settings.step * missed * f / size


FORECASTERS: Mapping[str, Callable[[Sequence[float], ForecastSettings], Forecaster]] = (
    MappingProxyType(
        {
            "repeat_last": RepeatLast,
            "linear": Linear,
            "ridge": Ridge,
            "rls": RecursiveLeastSquares,
            "nlms": NormalisedLms,
            "kernel_density": KernelDensity,
            "lstm": SmallLstm,
        }
    )
)


def forecast_trace(
    forecaster: Forecaster, time_s: np.ndarray, place_mm: np.ndarray
) -> np.ndarray:
    """Runs a forecaster over a tracked trace.

    Args:
        forecaster: a fresh one.
        time_s: `[T]` s, increasing.
        place_mm: `[T, 2]` mm; NaN where the tracker has no answer, in whose place its
            last one is repeated.

    Returns:
        `[T, H, 2]` mm, what was predicted at each frame; NaN before the first answer.
    """
    held, answers = np.full(AXES, np.nan), []
    for now_s, place in zip(time_s, place_mm, strict=True):
        held = place if np.isfinite(place).all() else held
        answers.append(
            forecaster.update(float(now_s), held) if np.isfinite(held).all() else None
        )
    known = [answer for answer in answers if answer is not None]
    if not known:
        return np.full((len(answers), 1, AXES), np.nan)
    nothing = np.full_like(known[0], np.nan)
    return np.stack([nothing if answer is None else answer for answer in answers])


def forecast_errors(
    predicted_mm: np.ndarray,
    time_s: np.ndarray,
    horizon_s: float,
    truth: tuple[np.ndarray, np.ndarray],
    *,
    unscored_s: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the errors of one horizon where they can be scored.

    Args:
        predicted_mm: `[T, 2]` mm, predicted at each frame for `horizon_s` later.
        time_s: `[T]` s.
        horizon_s: how far ahead, s; 0 scores the tracked places themselves.
        truth: times `[M]` s and places `[M, 2]` mm, read linearly between.
        unscored_s: frames before this time after the first are left out, for every
            forecaster alike.

    Returns:
        (distance from the truth mm `[N]`, true place `[N, 2]` mm) of the N frames that
        are late enough, whose future the truth holds, and that have a prediction.
    """
    then_s = np.asarray(time_s) + horizon_s
    true_s, true_mm = truth
    there = np.stack([np.interp(then_s, true_s, true_mm[:, a]) for a in range(2)], -1)
    scored = (time_s >= time_s[0] + unscored_s) & (then_s <= true_s[-1] + 1e-6)
    scored &= np.isfinite(predicted_mm).all(axis=-1)
    miss = np.linalg.norm(predicted_mm - there, axis=-1)
    return miss[scored], there[scored]
