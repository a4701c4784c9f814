"""A small network from a radiograph to the weights of the patient's motion model.

It is trained for one patient, on projections of the planning volume deformed by weights
drawn around those of the phases. Gain, scatter and noise vary from film to film. Per
frame it costs one forward pass; the contours are deformed and projected as in
`projection_fit.py`.

Source:
    The form of Wei et al. 2019 and 2020: a convolutional network from one projection to
    3 principal components. Ours: the network's size and what is varied in training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fluoro_jax.clip import Track
from fluoro_jax.errors import refuse
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.xray import projector
from fluoro_jax.tracking.baselines.descent import descend
from fluoro_jax.tracking.baselines.film_fit import (
    check_domain,
    make_film,
    moved_track,
    small_film,
)
from fluoro_jax.tracking.baselines.motion_model import MotionModel, make_model
from fluoro_jax.tracking.baselines.phases import PatientPhases
from fluoro_jax.tracking.baselines.projection_fit import moved_by
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame

Array = jax.Array
# Ours, all of these.
FEATURES = (16, 32, 32, 64)
AROUND = 0.3  # standard deviation of weights about a point between two phases
DEEPER = (0.8, 1.2)  # factor on the weights
SCATTER_LINES = 0.3  # standard deviation of a smooth field added to line integrals
SCATTER_CELLS = 4  # a side of the field's grid
NOISE_LINES = 0.02  # standard deviation of noise a film pixel
LEARNING_RATE = 1e-3
BATCH = 32


class WeightsNetwork(nn.Module):
    """Convolutions with stride 2, then a dense layer to the weights.

    Attributes:
        modes: number of weights.
    """

    modes: int

    @nn.compact
    def __call__(self, film: Array) -> Array:
        """Returns weights `[B, modes]` of films `[B, rows, cols]`."""
        mean = film.mean(axis=(1, 2), keepdims=True)
        x = film - mean
        x = x / (x.std(axis=(1, 2), keepdims=True) + 1e-6)
        x = x[..., None]
        for features in FEATURES:
            x = nn.Conv(features, (3, 3), strides=2)(x)
            x = nn.relu(nn.GroupNorm(num_groups=8)(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(self.modes)(x)


@dataclass(frozen=True)
class NetworkState:
    """What the check of the next frame needs, and the index of the next frame."""

    check: FrameCheck
    frame: int = 0


@dataclass(frozen=True)
class PcaNetworkTracker:
    """Reads the weights of a patient's motion model off every frame.

    It was given the planning phases; a reference is checked and not used. Frames must
    be of the view that it was trained for, and hold line integrals up to a gain and an
    offset.

    Attributes:
        model: the patient's motion model.
        view: that it was trained for.
        params: of the network.
    """

    model: MotionModel
    view: Geometry
    params: Any
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    @classmethod
    def fit(
        cls,
        phases: PatientPhases,
        *,
        modes: int = 3,
        films: int = 640,
        steps: int = 800,
        seed: int = 0,
        progress: Callable[[int, float], None] | None = None,
    ) -> PcaNetworkTracker:
        """Trains a network for one patient; about two minutes on two cores.

        Args:
            phases: of the patient, with the view of the clips.
            modes: principal components.
            films: drawn once; gain, scatter and noise are drawn anew every step.
            steps: of the optimiser, 32 films each.
            seed: of everything that is drawn.
            progress: called after every step with its number and the loss, the mean
                squared error of the weights.

        Raises:
            UserError: for more components than the phases have.
        """
        model = make_model(phases, modes=modes)
        drawn = draw_weights(np.random.default_rng(seed), model, films)
        view = phases.view
        _, small = small_film(np.zeros((view.rows, view.cols), np.float32), view)
        quarter = projector.quarter_turn(view)
        take = lambda w: make_film(*moved_by(model, w, small), small, quarter=quarter)
        pictures = jnp.stack([take(weights) for weights in jnp.asarray(drawn)])
        network, key = WeightsNetwork(modes), jax.random.key(seed)
        params = network.init(jax.random.fold_in(key, 0), pictures[:1])
        optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))
        params = descend(
            functools.partial(_loss, network),
            params,
            (pictures, jnp.asarray(drawn)),
            optimizer,
            steps=steps,
            seed=seed,
            first=1,  # 0 is the key of the parameters
            progress=progress,
        )
        return cls(model, view, params)

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> NetworkState:
        """See `Tracker.init`; `periodic` changes nothing here.

        Raises:
            UserError: another view, or frames that hold no line integrals.
        """
        check = begin(geometry, reference, domain=domain)
        check_domain(domain)
        _check_view(geometry, self.view)
        return NetworkState(check)

    def step(
        self, state: NetworkState, frame: np.ndarray, time_s: float
    ) -> tuple[NetworkState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        film, small = small_film(frame, check.geometry)
        weights = _answer(self.model.modes_mm.shape[0], self.params, film)
        patient, field_mm = moved_by(self.model, weights, self.view)
        track = moved_track(state.frame, patient, field_mm, film, small, self.view)
        return NetworkState(check, state.frame + 1), track

    def flush(self, state: NetworkState) -> list[Track]:
        """Nothing is owed."""
        return []


def draw_weights(
    rng: np.random.Generator, model: MotionModel, count: int
) -> np.ndarray:
    """Returns weights around those of the planning phases, `[count, K]` float32.

    A point between two phases that follow each other, times a factor, plus noise.
    """
    scores = np.asarray(model.scores)
    first = rng.integers(len(scores), size=count)
    share = rng.uniform(size=(count, 1))
    between = scores[first] * (1.0 - share) + scores[(first + 1) % len(scores)] * share
    deeper = rng.uniform(*DEEPER, size=(count, 1))
    noise = AROUND * rng.standard_normal((count, scores.shape[1]))
    return (between * deeper + noise).astype(np.float32)


def vary(key: Array, films: Array) -> Array:
    """Returns films `[B, rows, cols]` with scatter and noise drawn for each."""
    smooth, fine = jax.random.split(key)
    cells = (films.shape[0], SCATTER_CELLS, SCATTER_CELLS)
    field_lines = SCATTER_LINES * jax.random.normal(smooth, cells)
    scatter = jax.image.resize(field_lines, films.shape, "cubic")
    return films + scatter + NOISE_LINES * jax.random.normal(fine, films.shape)


def _loss(
    network: WeightsNetwork, params: Any, key: Array, data: tuple[Array, Array]
) -> Array:
    """Returns the mean squared error of the weights of films drawn with a key."""
    films, weights = data
    pick, varied = jax.random.split(key)
    chosen = jax.random.randint(pick, (BATCH,), 0, films.shape[0])
    found: Any = network.apply(params, vary(varied, films[chosen]))
    return jnp.mean(jnp.square(found - weights[chosen]))


@functools.partial(jax.jit, static_argnums=0)
def _answer(modes: int, params: Any, film: Array) -> Array:
    found: Any = WeightsNetwork(modes).apply(params, film[None])
    return found[0]


def _check_view(geometry: Geometry, view: Geometry) -> None:
    """Refuses another view than that of training; tolerances are ours."""
    grid = lambda v: (int(v.rows), int(v.cols))
    turned_deg = (float(geometry.gantry_deg - view.gantry_deg) + 180.0) % 360.0 - 180.0
    near = lambda name, **off: np.allclose(
        np.asarray(getattr(geometry, name), float),
        np.asarray(getattr(view, name), float),
        **off,
    )
    same = (
        grid(geometry) == grid(view)
        and abs(turned_deg) <= 1.0
        and near("pixel_mm", rtol=0.01, atol=0.0)
        and near("offset_mm", rtol=0.0, atol=1.0)
        and near("sad_mm", rtol=0.01, atol=0.0)
        and near("sdd_mm", rtol=0.01, atol=0.0)
    )
    if not same:
        refuse(
            "a view that the network was not trained for",
            "the view of the planning phases",
            why="its films were projections in that view",
            fix="fit a network to phases with view=clip.geometry",
        )
