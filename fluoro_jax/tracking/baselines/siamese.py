"""Siamese correlation: the exemplar of frame 0 is searched for with learned features.

One small network makes features of a square about the tumour in frame 0 (exemplar) and
of one twice as large about the last place (search). Their correlation, channel by
channel, goes to two heads: a score for every displacement, and the rest of the
displacement within a cell. Features outside the mask of frame 0 count for a learned
share. The outline is carried along without changing its shape.

It is trained on pairs of frames of training clips when the tracker is built.

Source:
    The form of Bertinetto et al. 2016, arXiv:1606.09549, with the correlation
    channel by channel of Li et al. 2019, arXiv:1812.11703. Ours: the network's size,
    offsets in place of boxes, and what is varied in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fluoro_jax.clip import Track
from fluoro_jax.geometry import Geometry
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking.baselines.crops import (
    Examples,
    crop,
    even_out,
    fit_network,
    largest_jump_px,
    square_px,
    vary,
)
from fluoro_jax.tracking.baselines.descent import Progress
from fluoro_jax.tracking.baselines.film_fit import check_domain
from fluoro_jax.tracking.baselines.matching import moved_track, need_reference
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame

Array = jax.Array
# Ours, all of these.
EXEMPLAR, SEARCH = 48, 96  # pixels of a side of the two crops
STRIDE = 4  # of the features
CELLS = 13  # a side of the map of scores: displacements of -6 .. 6 cells
MIDDLE = CELLS // 2
FEATURES = (16, 32, 32)
BATCH = 16
SHIFT = 0.4  # largest displacement in training, of the exemplar's side
SCALE = 2.0 ** (1.0 / 6.0)  # of both crops
OTHER_SCALE = 1.05  # of the search crop alone
TARGET_CELLS = 0.7  # SD of the target's Gaussian
NEAR_CELLS = 1.5  # offsets are learned so far from the truth


class Backbone(nn.Module):
    """Three convolutions without padding; the first two have stride 2."""

    @nn.compact
    def __call__(self, part: Array) -> Array:
        """Returns features `[B, h, w, C]` of crops `[B, H, W]`."""
        x = part[..., None]
        for features, stride in zip(FEATURES, (2, 2, 1), strict=True):
            x = nn.Conv(features, (3, 3), strides=stride, padding="VALID")(x)
            # The last without: a correlation of signed features tells more.
            x = nn.leaky_relu(x) if stride == 2 else x
        return x


class SiameseNetwork(nn.Module):
    """From an exemplar and a search crop to scores and offsets."""

    def setup(self) -> None:
        """See `nn.Module.setup`; the heads and what the two crops share."""
        self.backbone = Backbone()
        self.outside = self.param("outside", nn.initializers.zeros, ())
        self.norm = nn.GroupNorm(num_groups=FEATURES[-1])
        self.hidden = nn.Conv(32, (3, 3))
        self.score, self.offset = nn.Conv(1, (1, 1)), nn.Conv(2, (1, 1))

    def __call__(self, exemplar: Array, mask: Array, search: Array) -> Any:
        """Returns what `match` does, of `[B, ...]` crops and mask of the exemplar."""
        return self.match(self.kernel(exemplar, mask), search)

    def kernel(self, exemplar: Array, mask: Array) -> Array:
        """Returns what is searched for, `[B, h, w, C]`; its weighted mean is 0."""
        found = self.backbone(exemplar)
        inside = jax.image.resize(mask, found.shape[:3], "linear")[..., None]
        outside = jax.nn.sigmoid(self.outside)
        weight = outside + (1.0 - outside) * inside
        mean = (weight * found).sum((1, 2), keepdims=True)
        mean = mean / weight.sum((1, 2), keepdims=True)
        return weight * (found - mean)

    def match(self, kernel: Array, search: Array) -> tuple[Array, Array]:
        """Returns scores `[B, CELLS, CELLS]` and offsets `[B, CELLS, CELLS, 2]`.

        A score is a logit over all displacements; an offset is the true displacement
        minus the cell's own, in cells.
        """
        x = self.norm(correlate(self.backbone(search), kernel))
        x = nn.leaky_relu(self.hidden(x))
        return self.score(x)[..., 0], self.offset(x)


def correlate(found: Array, kernel: Array) -> Array:
    """Returns the correlation of every channel with its own kernel.

    r[u, v, c] = sum_(i, j) found[u + i, v + j, c] kernel[i, j, c]

    Args:
        found: `[B, H, W, C]`.
        kernel: `[B, h, w, C]`, not larger.

    Returns:
        `[B, H - h + 1, W - w + 1, C]`. By Fourier transforms: grouped convolutions and
        their derivatives are slow on CPUs.
    """
    size = found.shape[1:3]
    product = jnp.fft.rfft2(found, axes=(1, 2)) * jnp.conj(
        jnp.fft.rfft2(kernel, s=size, axes=(1, 2))
    )
    rows, cols = (a - b + 1 for a, b in zip(size, kernel.shape[1:3], strict=True))
    return jnp.fft.irfft2(product, s=size, axes=(1, 2))[:, :rows, :cols]


@dataclass(frozen=True)
class SiameseState:
    """What is searched for, and where the tumour was last.

    Attributes:
        check: what the check of the next frame needs.
        kernel: `[1, h, w, C]` of the exemplar.
        mask: `[H, W]` of frame 0.
        side_px: of the exemplar.
        shift_px: `[2]` the tumour's displacement from frame 0.
        frame: index of the next frame.
    """

    check: FrameCheck
    kernel: Array
    mask: np.ndarray
    side_px: float
    shift_px: np.ndarray
    frame: int = 0


@dataclass(frozen=True)
class SiameseTracker:
    """Searches around the last place for the tumour of frame 0.

    Attributes:
        params: of the network.
        least_side_px: smallest side of the exemplar: half of it can be searched.
    """

    params: Any
    least_side_px: float = 1.0
    causal: bool = field(default=True, init=False)
    lookahead_frames: int = field(default=0, init=False)

    @classmethod
    def fit(
        cls,
        arrays: Mapping[str, Any],
        *,
        steps: int = 1000,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> SiameseTracker:
        """Trains the network; see docs/rivals.md for the time that it takes.

        The same arrays and settings are trained once in a process.

        Args:
            arrays: frames and mask `[N, T, H, W]`, centroid_px `[N, T, 2]`.
            steps: of the optimizer, 16 pairs each.
            seed: of everything that is drawn.
            progress: called after every step with its number and the loss.

        Raises:
            UserError: no two frames of a clip with a tumour.
        """
        blank = [jnp.zeros((1, side, side)) for side in (EXEMPLAR, EXEMPLAR, SEARCH)]
        params = fit_network(
            pair_loss,
            lambda key: SiameseNetwork().init(key, *blank),
            arrays,
            steps=steps,
            seed=seed,
            progress=progress,
        )
        return cls(params, max(1.0, largest_jump_px(arrays) / SHIFT))

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> SiameseState:
        """See `Tracker.init`; `periodic` changes nothing here.

        Raises:
            UserError: no reference, or frames that hold no line integrals.
        """
        check = begin(geometry, reference, domain=domain)
        check_domain(domain)
        frame, mask = need_reference(reference)
        mask = np.asarray(mask, np.float32)
        side_px = max(square_px(mask), self.least_side_px)
        kernel = _kernel(
            self.params, np.asarray(frame, np.float32), mask, centroid_px(mask), side_px
        )
        return SiameseState(check, kernel, mask, side_px, np.zeros(2))

    def step(
        self, state: SiameseState, frame: np.ndarray, time_s: float
    ) -> tuple[SiameseState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        place = centroid_px(state.mask) + state.shift_px
        found = _find(self.params, state.kernel, frame, place, state.side_px)
        cells, confidence = read_map(*map(np.asarray, found))
        shift = state.shift_px + cells * (STRIDE * state.side_px / EXEMPLAR)
        track = moved_track(
            state.frame, state.mask, shift, check.geometry, confidence=confidence
        )
        return SiameseState(
            check, state.kernel, state.mask, state.side_px, shift, state.frame + 1
        ), track

    def flush(self, state: SiameseState) -> list[Track]:
        """Nothing is owed."""
        return []


def read_map(scores: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the displacement `[2]` in cells, and its confidence in [0, 1].

    The displacement is the mean of the 3 x 3 cells about the best, each with its
    offset, weighted by their probabilities, whose sum is the confidence.

    Args:
        scores: `[CELLS, CELLS]`.
        offsets: `[CELLS, CELLS, 2]`.
    """
    cells = np.moveaxis(np.mgrid[:CELLS, :CELLS], 0, -1) - float(MIDDLE)
    share = np.exp(scores - scores.max())
    share = share / share.sum()
    row, col = np.unravel_index(int(share.argmax()), share.shape)
    near = np.s_[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2]
    weight = share[near][..., None]
    place = ((cells + offsets)[near] * weight).sum((0, 1)) / weight.sum()
    return place, min(float(weight.sum()), 1.0)


def pair_loss(params: Any, key: Array, examples: Examples) -> Array:
    """Returns the loss of a batch of pairs that it draws.

    Cross-entropy of the scores with a Gaussian about the true displacement, and the
    absolute error of the offsets of the cells near it.
    """
    draw, pick = jax.random.split(key)
    chosen = jax.random.randint(pick, (BATCH,), 0, examples.pairs.shape[0])
    one = lambda k, pair: draw_pair(k, pair, examples)
    keys = jax.random.split(draw, BATCH)
    exemplar, mask, search, cells = jax.vmap(one)(keys, examples.pairs[chosen])
    found: Any = SiameseNetwork().apply(params, exemplar, mask, search)
    scores, offsets = found
    grid = jnp.moveaxis(jnp.mgrid[:CELLS, :CELLS], 0, -1) - float(MIDDLE)
    away = cells[:, None, None, :] - grid[None]
    target = jnp.exp(-0.5 * jnp.square(away / TARGET_CELLS).sum(-1))
    target = target / target.sum((1, 2), keepdims=True)
    flat = lambda x: x.reshape(BATCH, -1)
    scoring = optax.softmax_cross_entropy(flat(scores), flat(target)).mean()
    near = (jnp.abs(away).max(-1) <= NEAR_CELLS)[..., None]
    off = (jnp.abs(offsets - away) * near).sum() / (near.sum() + 1e-6)
    return scoring + off


def draw_pair(key: Array, pair: Array, examples: Examples) -> Any:
    """Returns (exemplar, its mask, search crop, true displacement in cells).

    Args:
        key: of what is varied.
        pair: `[3]` of `Examples.pairs`.
        examples: of training.
    """
    keys = jax.random.split(key, 6)
    clip, one, other = pair
    scale = SCALE ** jax.random.uniform(keys[0], minval=-1.0)
    more = OTHER_SCALE ** jax.random.uniform(keys[1], (2,), minval=-1.0)
    side = examples.side_px[clip, one] * scale * jnp.ones(2)
    place = examples.centroid_px[clip, one]
    exemplar = crop(examples.frames[clip, one], place, side, EXEMPLAR)
    mask = crop(examples.mask[clip, one].astype(jnp.float32), place, side, EXEMPLAR)
    shift = SHIFT * side * jax.random.uniform(keys[2], (2,), minval=-1.0)
    middle = examples.centroid_px[clip, other] - shift
    search = crop(examples.frames[clip, other], middle, 2.0 * side * more, SEARCH)
    cells = shift * EXEMPLAR / (STRIDE * side * more)
    exemplar, search = vary(keys[3], exemplar), vary(keys[4], search)
    # Mirrored patients are patients: both crops, or none.
    turned = jax.random.bernoulli(keys[5])
    mirror = lambda x: jnp.where(turned, x[:, ::-1], x)
    cells = cells * jnp.where(turned, jnp.array([1.0, -1.0]), jnp.ones(2))
    return mirror(exemplar), mirror(mask), mirror(search), cells


@jax.jit
def _kernel(
    params: Any, frame: Array, mask: Array, place_px: Array, side_px: Array
) -> Array:
    side = side_px * jnp.ones(2)
    exemplar = even_out(crop(frame - frame.mean(), place_px, side, EXEMPLAR))
    inside = crop(mask, place_px, side, EXEMPLAR)
    method = SiameseNetwork.kernel
    found: Any = SiameseNetwork().apply(
        params, exemplar[None], inside[None], method=method
    )
    return found


@jax.jit
def _find(
    params: Any, kernel: Array, frame: Array, place_px: Array, side_px: Array
) -> tuple[Array, Array]:
    side = 2.0 * side_px * jnp.ones(2)
    search = even_out(crop(frame - frame.mean(), place_px, side, SEARCH))
    found: Any = SiameseNetwork().apply(
        params, kernel, search[None], method=SiameseNetwork.match
    )
    return found[0][0], found[1][0]
