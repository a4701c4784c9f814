"""A recurrent network on the centroids alone: the next place from the true past ones.

It looks at no frame. Of the true path of the clip's tumour it reads what lies `AHEAD_S`
or more before a frame, and predicts the place at that frame: the delay of the machine
that it was published for. Either all of the path becomes known with that delay, or only
its first `LABELLED_S`; after these its own answers, held within the places that were
known, stand for the truth, and errors add up.

Source:
    The form that Peng et al. 2022 describe as Wang et al.'s: seven bidirectional
    layers, 400 ms ahead, true places of the first cycles needed. 8 s of places at 4 Hz,
    15 features a layer and batches of 64 are those of a study of forecasts
    (PMC8433855). Ours: all other numbers, the training
    on simulated breaths (`forecast_lstm_fit`), and each axis by itself.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fluoro_jax.clip import Track
from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.tracking.baselines.descent import Progress, descend
from fluoro_jax.tracking.baselines.matching import moved_track
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame
from fluoro_jax.tracking.forecast_lstm import FLOOR_MM, forecast
from fluoro_jax.tracking.forecast_lstm_fit import FLOOR, examples, simulated_traces

Array = jax.Array
AHEAD_S = 0.4
LAYERS, HIDDEN = 7, 15
TAP_S, TAPS = 0.25, 32  # 8 s of places
BACK_S = tuple(TAP_S * n for n in range(TAPS - 1, -1, -1))
BATCH = 64
# Ours, all of these.
LABELLED_S = 6.0  # of breaths of 3 to 8 s
ROUNDING_S = 1e-3  # of the times of frames, which are float32
SHORT = 0.5  # share of the training pasts that begin less than 8 s ago
LEARNING_RATE = 3e-3
CONFIDENCE = 0.0  # nothing was looked at


class CentroidNetwork(nn.Module):
    """Bidirectional LSTMs over places, and a dense layer on their last state."""

    @nn.compact
    def __call__(self, places: Array) -> Array:
        """Returns the displacement `[B, 1]` after `AHEAD_S` of places `[B, TAPS]`."""
        x: Any = places[..., None]
        for _ in range(LAYERS):
            ahead, back = (nn.RNN(nn.OptimizedLSTMCell(HIDDEN)) for _ in range(2))
            x = nn.Bidirectional(ahead, back)(x)
        return nn.Dense(1)(x[:, -1])


@dataclass(frozen=True)
class TruePath:
    """Where a clip's tumour truly is.

    Attributes:
        time_s: `[M]` s, rising, on the clip's clock.
        place_mm: `[M, 2]` its centroid (superior, right of image), mm in the isocentre
            plane.

    Raises:
        UserError: shapes that do not fit, no place, times that do not rise, or numbers
            that are not finite.
    """

    time_s: np.ndarray
    place_mm: np.ndarray

    def __post_init__(self) -> None:
        time_s = np.asarray(self.time_s, float)
        place_mm = np.asarray(self.place_mm, float)
        if time_s.ndim != 1 or not len(time_s) or place_mm.shape != (len(time_s), 2):
            _refuse_path(f"times {time_s.shape} and places {place_mm.shape}")
        if not (np.isfinite(time_s).all() and np.isfinite(place_mm).all()):
            _refuse_path("a number that is not finite")
        if not (np.diff(time_s) > 0.0).all():
            _refuse_path("times that do not rise")
        # Assignment to a frozen dataclass would raise.
        object.__setattr__(self, "time_s", time_s)
        object.__setattr__(self, "place_mm", place_mm)


@dataclass(frozen=True)
class CentroidState:
    """The outline of frame 0, and the answers since the truth ended.

    Attributes:
        check: what the check of the next frame needs.
        mask: `[H, W]` of frame 0.
        start_s: time of frame 0; None before it.
        answered_s: times of the answers that stand for truth.
        answered_mm: their places, as in `TruePath`.
        frame: index of the next frame.
    """

    check: FrameCheck
    mask: np.ndarray
    start_s: float | None = None
    answered_s: tuple[float, ...] = ()
    answered_mm: tuple[np.ndarray, ...] = ()
    frame: int = 0


@dataclass(frozen=True)
class CentroidTracker:
    """Predicts where the tumour is from where it truly was; uses no image.

    Attributes:
        params: of the network.
        truth: of the clip that is to be tracked.
        labelled_s: seconds of the path that become known; None for all of it.
    """

    params: Any
    truth: TruePath
    labelled_s: float | None = None
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> CentroidState:
        """See `Tracker.init`; `periodic` and `domain` change nothing here.

        Raises:
            UserError: no reference.
        """
        check = begin(geometry, reference, domain=domain)
        if reference is None:
            refuse(
                "no reference",
                "frame 0 and its mask",
                why="the tracker moves the mask of frame 0",
                fix="pass reference=(frame, mask)",
            )
        return CentroidState(check, np.asarray(reference[1]))

    def step(
        self, state: CentroidState, frame: np.ndarray, time_s: float
    ) -> tuple[CentroidState, Track]:
        """See `Tracker.step`; the frame is checked and not used.

        Raises:
            UserError: a first frame before or after the true path.
        """
        check, _ = next_frame(state.check, frame, time_s)
        view = check.geometry
        start_s = time_s if state.start_s is None else state.start_s
        self._check_start(start_s)
        known_s, known_mm = self._known(state, start_s, time_s - AHEAD_S)
        place_mm = predict_mm(self.params, known_s, known_mm, time_s)
        labelled_s = np.inf if self.labelled_s is None else self.labelled_s
        alone = time_s - start_s > labelled_s + ROUNDING_S
        if alone:
            # Else its errors, read as places, run away.
            place_mm = np.clip(place_mm, known_mm.min(axis=0), known_mm.max(axis=0))
        # Rows count downwards, superior is up.
        shift_px = (place_mm - known_mm[0]) * (-1.0, 1.0) / iso_pixel_mm(view)
        track = moved_track(
            *(state.frame, state.mask, shift_px, view), confidence=CONFIDENCE
        )
        state = replace(state, check=check, start_s=start_s, frame=state.frame + 1)
        if alone:
            state = replace(
                state,
                answered_s=(*state.answered_s, time_s),
                answered_mm=(*state.answered_mm, place_mm),
            )
        return state, track

    def flush(self, state: CentroidState) -> list[Track]:
        """Nothing is owed."""
        return []

    def _known(
        self, state: CentroidState, start_s: float, until_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns times `[N]` and places `[N, 2]` that are known, frame 0 first.

        Args:
            state: with the answers since the truth ended.
            start_s: time of frame 0.
            until_s: nothing later is read, but frame 0's.
        """
        last_s = start_s + (np.inf if self.labelled_s is None else self.labelled_s)
        time_s, place_mm = self.truth.time_s, self.truth.place_mm
        late_s = min(until_s, last_s) + ROUNDING_S
        read = (time_s > start_s + ROUNDING_S) & (time_s <= late_s)
        first = [np.interp(start_s, time_s, axis) for axis in place_mm.T]
        own = [n for n, at in enumerate(state.answered_s) if at <= until_s + ROUNDING_S]
        return (
            np.array([start_s, *time_s[read], *(state.answered_s[n] for n in own)]),
            np.array([first, *place_mm[read], *(state.answered_mm[n] for n in own)]),
        )

    def _check_start(self, start_s: float) -> None:
        first_s, last_s = self.truth.time_s[[0, -1]]
        if not first_s - ROUNDING_S <= start_s <= last_s + ROUNDING_S:
            refuse(
                f"frame 0 at {start_s:g} s, the true path from {first_s:g} to "
                f"{last_s:g} s",
                "a path that begins with the clip",
                why="the path and the clip are on one clock",
                fix="shift the path's times to those of the clip",
            )


def _refuse_path(found: str) -> None:
    refuse(
        found,
        "times [M], rising, and places [M, 2] in mm, all finite",
        why="it is the true path that the tracker reads",
        fix="pass the times and places of the clip's centroid",
    )


def predict_mm(
    params: Any, known_s: np.ndarray, known_mm: np.ndarray, time_s: float
) -> np.ndarray:
    """Returns the place at a time, `[2]` mm, predicted from places until `AHEAD_S` ago.

    Args:
        params: of the network.
        known_s: `[N]` rising; before the first and after the last the place is held.
        known_mm: `[N, 2]`.
        time_s: to predict for.
    """
    taps_s = time_s - AHEAD_S - np.array(BACK_S)
    past = np.stack([np.interp(taps_s, known_s, axis) for axis in known_mm.T])
    newest = past[:, -1:]
    moved = _moved(params, jnp.asarray(past - newest, jnp.float32))
    return newest[:, 0] + np.asarray(moved, float)[:, 0]


@jax.jit
def _moved(params: Any, places_mm: Array) -> Array:
    return forecast(CentroidNetwork(), params, places_mm, FLOOR_MM)


@functools.cache
def fit(*, steps: int = 1500, seed: int = 0, progress: Progress | None = None) -> Any:
    """Returns parameters trained on simulated breaths; once in a process.

    Args:
        steps: of Adam.
        seed: of everything that is drawn.
        progress: called after every step with its number and the loss.
    """
    params = CentroidNetwork().init(jax.random.key(seed), jnp.zeros((1, TAPS)))
    rate = optax.cosine_decay_schedule(LEARNING_RATE, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    traces = simulated_traces()
    return descend(
        _loss, params, traces, optimizer, steps=steps, seed=seed, progress=progress
    )


def _loss(params: Any, key: Array, traces: Array) -> Array:
    """Returns the mean squared error of a batch, in amplitudes of a breath."""
    draw, shorten = jax.random.split(key)
    places, moved = examples(draw, traces, BACK_S, (AHEAD_S,), BATCH)
    places = held(shorten, places)
    found = forecast(CentroidNetwork(), params, places, FLOOR)
    return jnp.mean(jnp.square(found - moved))


def held(key: Array, places: Array) -> Array:
    """Returns places `[B, TAPS]` of which some are held before a first known one.

    At the beginning of a clip no place before frame 0's is known.
    """
    short, when = jax.random.split(key)
    count = places.shape[0]
    first = jax.random.randint(when, (count, 1), 0, TAPS)
    first = jnp.where(jax.random.bernoulli(short, SHORT, (count, 1)), first, 0)
    known = jnp.maximum(jnp.arange(TAPS)[None], first)
    return jnp.take_along_axis(places, known, axis=1)
