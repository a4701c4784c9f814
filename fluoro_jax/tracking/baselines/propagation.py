"""Mask propagation: a small U-Net takes a frame and the mask of the frame before it.

Both are cropped about the last place. The prediction becomes the next frame's previous
mask, from the true mask of frame 0 on, so that errors may add up; in training the
previous masks are corrupted, some to nothing, so that the network repairs them and can
begin again without one. After an empty prediction the place stays.

Source:
    The form of Perazzi et al. 2017, arXiv:1612.02646: mask of the frame before as an
    input, deformed in training. Ours: the network's size and all numbers.
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
    uncrop,
    vary,
)
from fluoro_jax.tracking.baselines.descent import Progress
from fluoro_jax.tracking.baselines.film_fit import check_domain
from fluoro_jax.tracking.baselines.matching import need_reference
from fluoro_jax.tracking.checks import FrameCheck, Reference, begin, next_frame
from fluoro_jax.tracking.tracker import make_track

Array = jax.Array
# Ours, all of these.
PIXELS = 64  # of a side of the crop
AROUND = 2.0  # the crop's side, of the square of `square_px`
FEATURES = (16, 32, 48)
BATCH = 16
STRETCH = 0.1  # of the previous mask, along each axis
JITTER = 0.1  # its shift, of its box
WIDEN = 3  # largest dilation, pixels of the crop: about a fifth of the box
BLANK = 0.1  # share of the previous masks that are taken away
STRAY = 0.2  # shift of the crop's middle, of the square's side
ANSWER = 0.5  # probability from which a pixel is tumour


class PropagationNetwork(nn.Module):
    """A U-Net with one level a number of `FEATURES`, on cells of 2 x 2 pixels."""

    @nn.compact
    def __call__(self, frame: Array, before: Array) -> Array:
        """Returns logits `[B, h, w]` of frames and previous masks `[B, h, w]`."""
        x, skips = to_cells(jnp.stack([frame, before], -1)), []
        for level, features in enumerate(FEATURES):
            if level:
                skips.append(x)
                # Pooling's derivative is slow on CPUs.
                x = nn.Conv(features, (2, 2), strides=2)(x)
            x = _block(features, x)
        for features, skip in zip(FEATURES[-2::-1], skips[::-1], strict=True):
            finer = from_cells(nn.Conv(4 * features, (1, 1))(x))
            x = _block(features, jnp.concatenate([finer, skip], -1))
        return from_cells(nn.Conv(4, (1, 1))(x))[..., 0]


def _block(features: int, x: Array) -> Array:
    for _ in range(2):
        x = nn.relu(nn.GroupNorm(num_groups=4)(nn.Conv(features, (3, 3))(x)))
    return x


def to_cells(x: Array) -> Array:
    """Returns `[B, h / 2, w / 2, 4 C]` of `[B, h, w, C]`: four pixels are a cell."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def from_cells(x: Array) -> Array:
    """Returns `[B, 2 h, 2 w, C]` of `[B, h, w, 4 C]`, the inverse of `to_cells`."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, 2 * h, 2 * w, c // 4)


@dataclass(frozen=True)
class PropagationState:
    """The previous mask, and where the tumour was last.

    Attributes:
        check: what the check of the next frame needs.
        before: `[H, W]` mask in {0, 1} of the frame before; frame 0's to begin with.
        place_px: `[2]` the last centroid.
        side_px: of the crop.
        frame: index of the next frame.
    """

    check: FrameCheck
    before: np.ndarray
    place_px: np.ndarray
    side_px: float
    frame: int = 0


@dataclass(frozen=True)
class PropagationTracker:
    """Segments every frame, given its own answer for the frame before.

    Attributes:
        params: of the network.
        least_side_px: smallest side of the crop.
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
        steps: int = 600,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> PropagationTracker:
        """Trains the network; see docs/rivals.md for the time that it takes.

        The same arrays and settings are trained once in a process.

        Args:
            arrays: frames and mask `[N, T, H, W]`, centroid_px `[N, T, 2]`.
            steps: of the optimizer, 16 pairs of frames each.
            seed: of everything that is drawn.
            progress: called after every step with its number and the loss.

        Raises:
            UserError: no two neighbouring frames with a tumour.
        """
        blank = jnp.zeros((1, PIXELS, PIXELS))
        params = fit_network(
            mask_loss,
            lambda key: PropagationNetwork().init(key, blank, blank),
            arrays,
            apart=1,  # neighbours
            steps=steps,
            seed=seed,
            progress=progress,
        )
        # The tumour stays in the crop, a quarter of its side from the border.
        return cls(params, max(1.0, 4.0 * largest_jump_px(arrays)))

    def init(
        self,
        geometry: Geometry,
        reference: Reference | None = None,
        *,
        periodic: bool = False,
        domain: str = "line_integral",
    ) -> PropagationState:
        """See `Tracker.init`; `periodic` changes nothing here.

        Raises:
            UserError: no reference, or frames that hold no line integrals.
        """
        check = begin(geometry, reference, domain=domain)
        check_domain(domain)
        mask = (np.asarray(need_reference(reference)[1]) >= ANSWER).astype(np.float32)
        side_px = max(AROUND * square_px(mask), self.least_side_px)
        return PropagationState(check, mask, centroid_px(mask), side_px)

    def step(
        self, state: PropagationState, frame: np.ndarray, time_s: float
    ) -> tuple[PropagationState, Track]:
        """See `Tracker.step`: answers for the frame it is given."""
        check, frame = next_frame(state.check, frame, time_s)
        probability = np.clip(
            _segment(self.params, frame, state.before, state.place_px, state.side_px),
            0.0,
            1.0,
        )
        track = make_track(
            state.frame,
            probability,
            check.geometry,
            threshold=ANSWER,
            one_component=True,
        )
        before = (np.asarray(track.probability) >= ANSWER).astype(np.float32)
        seen = track.status != "missed"
        place = np.asarray(track.centroid_px) if seen else state.place_px
        index = state.frame + 1
        return PropagationState(check, before, place, state.side_px, index), track

    def flush(self, state: PropagationState) -> list[Track]:
        """Nothing is owed."""
        return []


def mask_loss(params: Any, key: Array, examples: Examples) -> Array:
    """Returns the loss of a batch that it draws: cross-entropy, and 1 - Dice."""
    draw, pick = jax.random.split(key)
    chosen = jax.random.randint(pick, (BATCH,), 0, examples.pairs.shape[0])
    one = lambda k, pair: draw_step(k, pair, examples)
    keys = jax.random.split(draw, BATCH)
    frame, before, mask = jax.vmap(one)(keys, examples.pairs[chosen])
    logits: Any = PropagationNetwork().apply(params, frame, before)
    cross = optax.sigmoid_binary_cross_entropy(logits, mask).mean()
    share = jax.nn.sigmoid(logits)
    both, either = (share * mask).sum((1, 2)), (share + mask).sum((1, 2))
    return cross + (1.0 - (2.0 * both + 1.0) / (either + 1.0)).mean()


def draw_step(
    key: Array, pair: Array, examples: Examples
) -> tuple[Array, Array, Array]:
    """Returns (frame, corrupted previous mask, mask), crops `[PIXELS, PIXELS]`.

    Args:
        key: of what is varied.
        pair: `[3]` of `Examples.pairs`.
        examples: of training.
    """
    keys = jax.random.split(key, 5)
    clip, now, last = pair
    square = examples.side_px[clip, now]
    side = AROUND * square * 2.0 ** (jax.random.uniform(keys[0], minval=-1.0) / 6.0)
    side = side * jnp.ones(2)
    stray = STRAY * square * jax.random.uniform(keys[1], (2,), minval=-1.0)
    middle = examples.centroid_px[clip, last] + stray
    frame = crop(examples.frames[clip, now], middle, side, PIXELS)
    mask = crop(examples.mask[clip, now].astype(jnp.float32), middle, side, PIXELS)
    old = examples.mask[clip, last].astype(jnp.float32)
    before = corrupt(keys[2], old, middle, side, 0.5 * square)
    turned = jax.random.bernoulli(keys[4])
    mirror = lambda x: jnp.where(turned, x[:, ::-1], x)
    return mirror(vary(keys[3], frame)), mirror(before), mirror(mask)


def corrupt(
    key: Array, mask: Array, middle_px: Array, side_px: Array, box_px: Array
) -> Array:
    """Returns a crop of a mask stretched, shifted, in half the cases dilated, or blank.

    Args:
        key: of what is drawn.
        mask: `[H, W]`.
        middle_px: `[2]` of the crop.
        side_px: `[2]` of the crop.
        box_px: side of the mask's bounding box.
    """
    keys = jax.random.split(key, 4)
    stretch = 1.0 + STRETCH * jax.random.uniform(keys[0], (2,), minval=-1.0)
    shift = JITTER * box_px * jax.random.uniform(keys[1], (2,), minval=-1.0)
    before = crop(mask, middle_px + shift, side_px * stretch, PIXELS)
    widest = [before]
    for _ in range(WIDEN):
        # The largest of 3 x 3; pooling is slow on CPUs.
        edged = jnp.pad(widest[-1], 1)
        rows = jnp.maximum(jnp.maximum(edged[:-2], edged[1:-1]), edged[2:])
        widest.append(
            jnp.maximum(jnp.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
        )
    # Half of them are not dilated.
    by = jnp.maximum(jax.random.randint(keys[2], (), 1 - WIDEN, WIDEN + 1), 0)
    before = jnp.stack(widest)[by]
    return jnp.where(jax.random.bernoulli(keys[3], BLANK), 0.0, before)


@jax.jit
def _segment(
    params: Any, frame: Array, before: Array, place_px: Array, side_px: Array
) -> Array:
    """Returns the probability `[H, W]`, 0 outside the crop."""
    side = side_px * jnp.ones(2)
    seen = even_out(crop(frame - frame.mean(), place_px, side, PIXELS))
    old = crop(before, place_px, side, PIXELS)
    logits: Any = PropagationNetwork().apply(params, seen[None], old[None])
    height, width = frame.shape
    return uncrop(jax.nn.sigmoid(logits[0]), place_px, side, (height, width))
