"""Random appearance of training clips: what a chest can hold beside the phantom's.

A network that has only seen the phantom answers with whatever part of a real chest
looks least like it. Here every clip gets its own clutter, deformation and exposure, so
that what all clips share is the tumour: a chord's profile that moves. All ranges are
ours.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float

from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.fluoroscope import add_quantum_noise
from fluoro_jax.sim.xray.blur import blur
from fluoro_jax.sim.xray.scatter import Scatter, scatter_signal

Array = jax.Array
Scalar = Any

PARTS = ("clutter", "texture", "warp", "mirror", "exposure")
ELLIPSES = 16  # of a clip
SEMI_MM = (2.0, 90.0)  # the longer semi-axis, even in its logarithm
ASPECT = (1.6, 8.0)  # longer over shorter axis: a tumour's is 1
# From here on an ellipse may be round: it is no tumour (those have up to 48 mm).
BROAD_MM = 35.0
LINE = (0.03, 1.2)  # line integral in an ellipse's middle [1], even in the logarithm
BRIGHT = 0.25  # of the ellipses that take tissue away
SHIFT_MM = (-5.0, 30.0)  # of an ellipse or a texture over a whole breath, downwards
LATERAL_MM = 3.0  # largest, to either side
GRAINS_MM = (1.5, 4.0, 10.0)  # widths of the Gaussians between which a texture lies
TEXTURE = (0.01, 0.12)  # standard deviation of a texture [1], even in the logarithm
BEND_MM = 12.0  # largest displacement of the deformation, and
BEND_WIDTH_MM = (35.0, 80.0)  # the width of the Gaussian that smooths it
SCALE = (0.85, 1.2)  # of the frame, about its middle
CONTRAST = (0.7, 1.4)  # gain of the line integrals, even in the logarithm
QUANTA = (1e4, 1e6)  # unattenuated quanta a pixel, even in the logarithm
SPR = (0.0, 2.0)  # scatter over primary behind the mediastinum
BLUR_PX = (0.0, 1.2)


def randomise(
    frames: Float[Array, "t h w"],
    mask: Float[Array, "t h w"],
    breath: Float[Array, " t"],
    key: Array,
    *,
    geometry: Geometry,
    parts: str,
) -> tuple[Float[Array, "t h w"], Float[Array, "t h w"]]:
    """Returns a clip and its mask with an appearance drawn for it.

    Args:
        frames: `[T, H, W]` line integrals [1].
        mask: `[T, H, W]` of the tumour, in {0, 1}.
        breath: `[T]` inhaled fraction.
        key: a typed JAX key; the same key draws the same appearance.
        geometry: the view.
        parts: static; names of `PARTS` joined by +; "" changes nothing. They act in
            the order of `PARTS`.

    Returns:
        Frames and mask, of the shapes given.
    """
    names = parts.split("+") if parts else []
    keys = dict(zip(PARTS, jax.random.split(key, len(PARTS)), strict=True))
    # As `iso_pixel_mm`, but traced.
    rows_mm, cols_mm = geometry.pixel_mm
    shrink = geometry.sad_mm / geometry.sdd_mm
    pitch = rows_mm * shrink, cols_mm * shrink
    size = frames.shape[1], frames.shape[2]
    if "clutter" in names:
        frames = frames + clutter(keys["clutter"], breath, size, pitch)
    if "texture" in names:
        frames = frames + texture(keys["texture"], breath, size, pitch)
    if "warp" in names:
        frames, mask = warp(keys["warp"], frames, mask, pitch)
    if "mirror" in names:
        turned = jax.random.bernoulli(keys["mirror"])
        frames, mask = (jnp.where(turned, x[..., ::-1], x) for x in (frames, mask))
    if "exposure" in names:
        frames = expose(keys["exposure"], frames, geometry)
    return frames, mask


def finish(
    clip: tuple[Float[Array, "t h w"], Float[Array, "t h w"]],
    breath: Float[Array, " t"],
    key: Array,
    *,
    geometry: Geometry,
    parts: str,
    shift: Scalar,
) -> tuple[Float[Array, "t h w"], Float[Array, "t h w"]]:
    """Returns frames and mask as training shows them.

    Args:
        clip: frames and mask, each `[T, H, W]`; see `randomise`.
        breath: `[T]` inhaled fraction.
        key: a typed JAX key.
        geometry: the view.
        parts: static; see `randomise`.
        shift: frames by which the clip starts later; only a clip of one whole breath
            may start later than it does.
    """
    frames, mask = clip
    if parts:
        frames, mask = randomise(
            frames, mask, breath, key, geometry=geometry, parts=parts
        )
    # One whole breath, so starting it later is the same as rolling it.
    return jnp.roll(frames, -shift, axis=0), jnp.roll(mask, -shift, axis=0)


def clutter(
    key: Array,
    breath: Float[Array, " t"],
    shape: tuple[int, int],
    pitch_mm: tuple[Scalar, Scalar],
) -> Float[Array, "t h w"]:
    """Returns line integrals of ellipses that are no tumours, each with its own motion.

    Long ones stand for vessels, hila and edges of organs, broad ones for heart, breast
    and bowel, small ones for vessels seen end on and calcified nodes.

    Args:
        key: a typed JAX key.
        breath: `[T]` inhaled fraction.
        shape: rows and columns.
        pitch_mm: pixel height and width in the isocentre plane.
    """
    k = iter(jax.random.split(key, 12))
    draw = lambda low, high: jax.random.uniform(next(k), (ELLIPSES,), None, low, high)
    size_mm = jnp.array(shape) * jnp.stack([jnp.asarray(p) for p in pitch_mm])
    row, col = draw(0.0, 1.0) * size_mm[0], draw(0.0, 1.0) * size_mm[1]
    long = _log_between(draw(0.0, 1.0), SEMI_MM)
    thin = _log_between(draw(0.0, 1.0), ASPECT)
    # Round ones among the broad: half of them.
    aspect = jnp.where((long > BROAD_MM) & (draw(0.0, 1.0) < 0.5), 1.0, thin)
    angle = draw(0.0, jnp.pi)
    line = _log_between(draw(0.0, 1.0), LINE)
    line = jnp.where(draw(0.0, 1.0) < BRIGHT, -line, line)
    power = draw(0.4, 2.0)  # 0.5 is an ellipsoid's chord; more is a softer edge
    down, aside = draw(*SHIFT_MM), draw(-LATERAL_MM, LATERAL_MM)
    rows = (jnp.arange(shape[0]) * pitch_mm[0]).reshape(1, -1, 1)
    cols = (jnp.arange(shape[1]) * pitch_mm[1]).reshape(1, 1, -1)

    def add(total: Array, one: tuple[Array, ...]) -> tuple[Array, None]:
        row, col, long, aspect, angle, line, power, down, aside = one
        y = rows - row - (down * breath).reshape(-1, 1, 1)
        x = cols - col - (aside * breath).reshape(-1, 1, 1)
        u = (x * jnp.cos(angle) + y * jnp.sin(angle)) / long
        v = (y * jnp.cos(angle) - x * jnp.sin(angle)) / long * aspect
        inside = jnp.maximum(1.0 - u * u - v * v, 1e-6)
        return total + line * inside**power, None

    drawn = (row, col, long, aspect, angle, line, power, down, aside)
    empty = jnp.zeros((breath.shape[0], *shape), jnp.float32)
    return jax.lax.scan(add, empty, drawn)[0]


def texture(
    key: Array,
    breath: Float[Array, " t"],
    shape: tuple[int, int],
    pitch_mm: tuple[Scalar, Scalar],
) -> Float[Array, "t h w"]:
    """Returns two random textures [1], one at rest and one that moves with the breath.

    Each is white noise between two Gaussians of `GRAINS_MM`, mixed at random.

    Args:
        key: a typed JAX key.
        breath: `[T]` inhaled fraction.
        shape: rows and columns.
        pitch_mm: pixel height and width in the isocentre plane.
    """
    noise, strength, shift = jax.random.split(key, 3)
    white = jax.random.normal(noise, (2, len(GRAINS_MM), *shape))
    grains = []
    for i, width in enumerate(GRAINS_MM):
        sigma = (width / pitch_mm[0], width / pitch_mm[1])
        wider = (2.5 * sigma[0], 2.5 * sigma[1])
        band = blur(white[:, i], sigma, closed=True) - blur(
            white[:, i], wider, closed=True
        )
        grains.append(band / jnp.std(band, axis=(1, 2), keepdims=True))
    level = jax.random.uniform(strength, (2, len(GRAINS_MM), 1, 1))
    still, moving = jnp.sum(_log_between(level, TEXTURE) * jnp.stack(grains, 1), axis=1)
    # Nothing moves at the top of the chest, and everything at the diaphragm.
    rows, cols = (jnp.arange(n, dtype=jnp.float32) for n in shape)
    whole_px = jax.random.uniform(shift, (), None, *SHIFT_MM) / pitch_mm[0]
    ramp = jnp.clip(rows / (0.6 * shape[0]), 0.0, 1.0)
    place = rows.reshape(1, -1) - (whole_px * breath).reshape(-1, 1) * ramp.reshape(
        1, -1
    )
    at = lambda p: map_coordinates(
        moving, jnp.meshgrid(p, cols, indexing="ij"), order=1, mode="nearest"
    )
    return still[jnp.newaxis] + jax.vmap(at)(place)


def warp(
    key: Array,
    frames: Float[Array, "t h w"],
    mask: Float[Array, "t h w"],
    pitch_mm: tuple[Scalar, Scalar],
) -> tuple[Float[Array, "t h w"], Float[Array, "t h w"]]:
    """Returns a clip and its mask, bent smoothly and scaled, alike in every frame.

    Args:
        key: a typed JAX key.
        frames: `[T, H, W]` line integrals [1].
        mask: `[T, H, W]` in {0, 1}; it is cut at one half again.
        pitch_mm: pixel height and width in the isocentre plane.
    """
    k = jax.random.split(key, 4)
    shape = frames.shape[1:]
    width = jax.random.uniform(k[0], (), None, *BEND_WIDTH_MM)
    smooth = blur(
        jax.random.normal(k[1], (2, *shape)),
        (width / pitch_mm[0], width / pitch_mm[1]),
        closed=True,
    )
    smooth = smooth / jnp.max(jnp.abs(smooth)) * jax.random.uniform(k[2]) * BEND_MM
    scale = jax.random.uniform(k[3], (2,), None, *SCALE)
    index = jnp.meshgrid(
        *(jnp.arange(n, dtype=jnp.float32) for n in shape), indexing="ij"
    )
    middle = [0.5 * (n - 1) for n in shape]
    places = [
        m + (i - m) / s + bend / p
        for i, m, s, bend, p in zip(index, middle, scale, smooth, pitch_mm, strict=True)
    ]
    read = jax.vmap(lambda x: map_coordinates(x, places, order=1, mode="nearest"))
    return read(frames), (read(mask) > 0.5).astype(mask.dtype)


def expose(
    key: Array, frames: Float[Array, "t h w"], geometry: Geometry
) -> Float[Array, "t h w"]:
    """Returns line integrals as a machine with settings drawn for the clip reads them.

    Contrast, scatter (not taken off again), quanta and blur are drawn.

    Args:
        key: a typed JAX key.
        frames: `[T, H, W]` line integrals [1].
        geometry: the view.
    """
    k = jax.random.split(key, 5)
    frames = frames * _log_between(jax.random.uniform(k[0]), CONTRAST)
    frames = jnp.maximum(frames, 0.0)
    primary = jnp.exp(-frames)
    scatter = Scatter(spr=jax.random.uniform(k[1], (), None, *SPR))
    total = primary + scatter_signal(primary, primary, geometry, scatter)
    quanta = _log_between(jax.random.uniform(k[2]), QUANTA)
    frames = add_quantum_noise(-jnp.log(total), k[3], quanta)
    sigma = jax.random.uniform(k[4], (), None, *BLUR_PX)
    return blur(frames, (sigma, sigma), closed=True)


def _log_between(share: Array, ends: tuple[float, float]) -> Array:
    """Returns values between two ends, even in the logarithm if `share` is even."""
    return ends[0] * (ends[1] / ends[0]) ** share
