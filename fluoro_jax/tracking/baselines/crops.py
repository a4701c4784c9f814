"""What trackers trained at build time share: crops, pairs of frames, training.

Crops are squares about a place, scaled with the tumour's box, so that a network sees
tumours of every size and frames of any pixel alike. Places are (row, column) px.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fluoro_jax.errors import refuse
from fluoro_jax.tracking.baselines.descent import Progress, descend

Array = jax.Array
T = TypeVar("T")
# Ours, all of these: how crops of training vary.
GAMMA = 2.0  # gamma is drawn between 1/2 and 2, of values between 0 and 1
FIELD = 0.3  # largest SD of a smooth field, of a crop's own SD
FIELD_CELLS = 4  # a side of the field's grid
NOISE = 0.1  # largest SD of noise, of a crop's own SD
LEARNING_RATE = 3e-3
KEPT = 4  # trained networks that a process keeps
_TRAINED: dict[Any, Any] = {}


@flax.struct.dataclass
class Examples:
    """Training clips, and the pairs of their frames that are drawn.

    Attributes:
        frames: `[N, T, H, W]` float32, every clip's mean subtracted.
        mask: `[N, T, H, W]` uint8 in {0, 1}.
        centroid_px: `[N, T, 2]`.
        side_px: `[N, T]` side of the square about the tumour, `square_px`.
        pairs: `[P, 3]` int32 (clip, one frame, another frame), a tumour in both.
    """

    frames: Array
    mask: Array
    centroid_px: Array
    side_px: Array
    pairs: Array


def make_examples(arrays: Mapping[str, Any], apart: int | None = None) -> Examples:
    """Returns the training examples of the arrays of `data.dataset.load_split`.

    Args:
        arrays: frames and mask `[N, T, H, W]`, centroid_px `[N, T, 2]`.
        apart: most frames between the two of a pair, which are then two different
            frames; None allows every pair, and a frame with itself.

    Raises:
        UserError: no two frames with a tumour.
    """
    frames, mask = np.asarray(arrays["frames"], np.float32), np.asarray(arrays["mask"])
    mask = (mask >= 0.5).astype(np.uint8)
    count, length = mask.shape[:2]
    seen = np.asarray(mask.reshape(count, length, -1).any(axis=-1))
    clip, one, other = np.indices((count, length, length)).reshape(3, -1)
    away = np.abs(one - other)
    near = away >= 0 if apart is None else (away >= 1) & (away <= apart)
    chosen = near & seen[clip, one] & seen[clip, other]
    if not chosen.any():
        refuse(
            "training clips without two frames that show a tumour",
            "frames and masks of load_split",
            why="the network learns from pairs of frames of a clip",
            fix="pass training=load_split(spec, data_dir, 'train')",
        )
    side = np.ones((count, length), np.float32)
    for place in np.argwhere(seen):
        side[tuple(place)] = square_px(mask[tuple(place)])
    return Examples(
        frames=jnp.asarray(frames - frames.mean(axis=(1, 2, 3), keepdims=True)),
        mask=jnp.asarray(mask),
        centroid_px=jnp.asarray(arrays["centroid_px"], jnp.float32),
        side_px=jnp.asarray(side),
        pairs=jnp.asarray(np.stack([clip, one, other], 1)[chosen], jnp.int32),
    )


def square_px(mask: np.ndarray) -> float:
    """Returns the side of the square that a tumour is shown in, px.

    side = sqrt((h + p)(w + p))    with    p = (h + w) / 2

    h and w are the sides of the mask's bounding box: twice the box, if it is square.

    Args:
        mask: `[H, W]`, not empty.

    Source:
        Bertinetto et al. 2016, arXiv:1606.09549, section 2.4.
    """
    inside = np.asarray(mask) >= 0.5
    h, w = (int(np.ptp(np.flatnonzero(inside.any(axis=a)))) + 1 for a in (1, 0))
    margin = (h + w) / 2.0
    return float(np.sqrt((h + margin) * (w + margin)))


def crop(image: Array, middle_px: Array, side_px: Array, pixels: int) -> Array:
    """Returns a part of an image on other pixels, `[pixels, pixels]`.

    Args:
        image: `[H, W]`; 0 beyond its border.
        middle_px: `[2]` place of the crop's middle.
        side_px: `[2]` its height and width, px of the image.
        pixels: its rows and columns.

    Returns:
        Bilinear; averaged where its pixels are the larger ones.
    """
    scale = pixels / side_px
    return jax.image.scale_and_translate(
        image,
        (pixels, pixels),
        (0, 1),
        scale,
        # Pixel centres lie at half numbers here, at whole ones in `middle_px`.
        pixels / 2.0 - scale * (middle_px + 0.5),
        "linear",
    )


def uncrop(
    part: Array, middle_px: Array, side_px: Array, shape: tuple[int, int]
) -> Array:
    """Returns a crop put back into an image of `shape` that is 0 elsewhere."""
    pixels = part.shape[0]
    return jax.image.scale_and_translate(
        part, shape, (0, 1), side_px / pixels, middle_px + 0.5 - side_px / 2, "linear"
    )


def even_out(part: Array) -> Array:
    """Returns a crop with mean 0 and SD 1."""
    part = part - part.mean()
    return part / (part.std() + 1e-6)


def vary(key: Array, part: Array) -> Array:
    """Returns a crop with a gamma, a smooth field and noise drawn, mean 0 and SD 1."""
    keys = jax.random.split(key, 5)
    low, high = part.min(), part.max()
    gamma = GAMMA ** jax.random.uniform(keys[0], minval=-1.0)
    share = (part - low) / (high - low + 1e-6)
    # Not at 0 itself, where the slope of the power is infinite.
    part = even_out(jnp.maximum(share, 1e-3) ** gamma)
    cells = jax.random.normal(keys[1], (FIELD_CELLS, FIELD_CELLS))
    field = jax.image.resize(cells, part.shape, "cubic")
    field_sd = FIELD * jax.random.uniform(keys[3])
    noise_sd = NOISE * jax.random.uniform(keys[4])
    noise = jax.random.normal(keys[2], part.shape)
    return even_out(part + field_sd * field + noise_sd * noise)


def train(
    loss_fn: Callable[[Any, Array, Examples], Array],
    params: Any,
    examples: Examples,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    progress: Progress | None = None,
) -> Any:
    """Returns parameters after Adam with a learning rate that falls to 0 as a cosine.

    Args:
        loss_fn: from (parameters, key, examples) to the loss of a batch it draws.
        params: to begin with.
        examples: of training.
        steps: of the optimizer.
        learning_rate: reached after a twentieth of the steps.
        seed: of every batch.
        progress: called after every step with its number and the loss.
    """
    rate = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, 1 + steps // 20, steps + 1
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    how = {"steps": steps, "seed": seed, "progress": progress}
    return descend(loss_fn, params, examples, optimizer, **how)


def fit_network(
    loss_fn: Callable[[Any, Array, Examples], Array],
    init_fn: Callable[[Array], Any],
    arrays: Mapping[str, Any],
    *,
    apart: int | None = None,
    steps: int,
    seed: int,
    progress: Progress | None,
) -> Any:
    """Returns the parameters of a network trained on pairs of frames, once a process.

    Args:
        loss_fn: see `train`.
        init_fn: from a key to parameters.
        arrays: see `make_examples`.
        apart: likewise.
        steps: see `train`.
        seed: of parameters and batches.
        progress: see `train`.

    Raises:
        UserError: no two such frames with a tumour.
    """

    def make() -> Any:
        return train(
            loss_fn,
            init_fn(jax.random.key(seed)),
            make_examples(arrays, apart),
            steps=steps,
            learning_rate=LEARNING_RATE,
            seed=seed,
            progress=progress,
        )

    return trained_once(loss_fn.__name__, arrays, (apart, steps, seed), make)


def largest_jump_px(arrays: Mapping[str, Any]) -> float:
    """Returns how far training tumours moved along an axis between two frames, px."""
    path_px = np.asarray(arrays["centroid_px"], float)
    return float(np.abs(np.diff(path_px, axis=1)).max(initial=0.0))


def trained_once(
    name: str,
    arrays: Mapping[str, Any],
    settings: tuple[Any, ...],
    make: Callable[[], T],
) -> T:
    """Returns `make()`, or what it returned for the same arrays in this process.

    Args:
        name: of what is trained.
        arrays: its training arrays; frames, mask and centroid_px count.
        settings: of its training.
        make: trains it.
    """
    digest = hashlib.sha256()
    for part in ("frames", "mask", "centroid_px"):
        values = np.ascontiguousarray(arrays[part])
        digest.update(repr((part, values.shape, values.dtype)).encode())
        digest.update(values.tobytes())
    key = (name, digest.hexdigest(), settings)
    if key not in _TRAINED:
        trained = make()
        # The oldest goes: dictionaries keep the order in which they were filled.
        while len(_TRAINED) >= KEPT:
            del _TRAINED[next(iter(_TRAINED))]
        _TRAINED[key] = trained
    return _TRAINED[key]
