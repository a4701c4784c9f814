"""Detector readings: from areal densities of tissue, or line integrals, to frames.

In order: spectrum, motion blur, collimator, focal spot, scatter, grid, quanta, optical
blur, gain, lag, electronic noise, saturation, binning, output. Each stage can be off;
with all off the line integrals are returned unchanged.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import AnyArray, Geometry, pixel_positions_mm
from fluoro_jax.sim.xray import spectrum
from fluoro_jax.sim.xray.blur import blur
from fluoro_jax.sim.xray.exposure import (
    Display,
    Exposure,
    Jaws,
    Lag,
    exposure_beam,
    quanta_per_pixel,
    validate,
)
from fluoro_jax.sim.xray.photon_noise import draw_quanta
from fluoro_jax.sim.xray.scatter import scatter_signal

Array = jax.Array
Scalar = Any

FLOOR = 1e-8  # of the open beam: darker reads as this, where there are no quanta


def acquire(
    areal_density_g_cm2: Float[AnyArray, "m *moments t h w"],
    geometry: Geometry,
    exposure: Exposure,
    key: Array | None = None,
) -> Float[AnyArray, "t rows cols"]:
    """Returns the frames of a clip from the areal density of tissue on every ray.

    Args:
        areal_density_g_cm2: `[M, T, H, W]` integral of density along the ray, g/cm^2,
            of the first M of soft tissue, bone and adipose; the tumour is already in
            the soft tissue. Or `[M, S, T, H, W]`: S moments within each exposure,
            averaged.
        geometry: the view of the areal densities; with binning, finer than that of
            the frames.
        exposure: the machine's setting.
        key: a typed JAX key; needed for noise.

    Returns:
        `[T, H, W]` (divided by the binning) in the unit of `exposure.output`.

    Raises:
        UserError: for settings out of range.
    """
    validate(exposure)
    return read_out(_lines(areal_density_g_cm2, exposure), geometry, exposure, key)


@jax.jit
def _lines(areal_density_g_cm2: Array, exposure: Exposure) -> Array:
    if exposure.tube is None:
        beam = spectrum.make_beam(spectrum.mono_spectrum(), nodes=1)
    else:
        beam = exposure_beam(exposure)
    line = spectrum.line_integral(areal_density_g_cm2, beam)
    return expose(line) if line.ndim == 4 else line


def expose(line_sub: Float[Array, " s *shape"]) -> Float[Array, "*shape"]:
    """Returns line integrals `[...]` of the mean signal of moments `[S, ...]`."""
    return jnp.log(line_sub.shape[0]) - jax.nn.logsumexp(-line_sub, axis=0)


def read_out(
    line: Float[AnyArray, "t h w"],
    geometry: Geometry,
    exposure: Exposure,
    key: Array | None = None,
) -> Float[AnyArray, "t rows cols"]:
    """Returns the frames of a clip from the line integrals of its primary radiation.

    Args:
        line: `[T, H, W]` [1], of whatever spectrum.
        geometry: the view of `line`.
        exposure: the machine's setting; its tube only counts quanta here.
        key: a typed JAX key; needed for noise.

    Returns:
        `[T, H, W]` (divided by the binning) in the unit of `exposure.output`.

    Raises:
        UserError: for settings out of range, for noise without a key, and for
            frames that the binning does not divide.
    """
    validate(exposure)
    step = exposure.panel.binning
    if line.shape[-2] % step or line.shape[-1] % step:
        raise UserError(
            f"{line.shape[-2]} x {line.shape[-1]} pixels with binning {step}",
            needed="rows and columns that the binning divides",
            why="whole blocks of pixels are added up",
            fix="change the frame size or panel.binning",
        )
    if exposure.is_ideal or exposure.output == "line_integral":
        return line if step == 1 else _mean_line(line, step)
    counted = exposure.mas is not None or exposure.quanta is not None
    if counted and exposure.noise != "none" and key is None:
        raise UserError(
            "noise without a key",
            needed="a typed JAX key",
            why="every clip's noise is drawn from its key, so that it can be repeated",
            fix='pass jax.random.key(0), or set noise="none"',
        )
    return _read_out(line, geometry, exposure, key)


@jax.jit
def _read_out(
    line: Array, geometry: Geometry, exposure: Exposure, key: Array | None
) -> Array:
    signal, passed = _before_panel(line, geometry, exposure)
    quanta = quanta_per_pixel(geometry, exposure)
    full = 1.0 if quanta is None else quanta
    noise = "none" if quanta is None else exposure.noise
    counts = _panel(signal * full, geometry, exposure, (noise, key))
    return _output(counts, full * passed * exposure.panel.binning**2, exposure)


def _before_panel(
    line: Array, geometry: Geometry, exposure: Exposure
) -> tuple[Array, Scalar]:
    """Returns signal at the panel `[T, H, W]` and of the open beam (1 without grid)."""
    bare = jnp.exp(-line)
    primary = bare
    if exposure.jaws is not None:
        primary = bare * _field(geometry, exposure.jaws)[None]
    if exposure.focal_spot_mm is not None:
        enlarged = geometry.sdd_mm / geometry.sad_mm - 1.0
        width = exposure.focal_spot_mm * enlarged / 12.0**0.5
        primary = _blur_mm(primary, geometry, width)
    through, veiled = 1.0, 1.0
    if exposure.grid is not None:
        through, veiled = exposure.grid.primary, exposure.grid.scatter
    signal = through * primary
    if exposure.scatter is not None:
        bare = primary if exposure.jaws is None else bare
        veil = scatter_signal(primary, bare, geometry, exposure.scatter)
        signal = signal + veiled * veil
    return signal, through


def _panel(
    signal: Array,
    geometry: Geometry,
    exposure: Exposure,
    random: tuple[str, Array | None],
) -> Array:
    """Returns quanta as read `[T, H, W]`, binned, for those expected."""
    panel = exposure.panel
    noise, key = random
    counts = draw_quanta(signal, key, noise)
    if panel.blur_mm is not None:
        counts = _blur_mm(counts, geometry, panel.blur_mm)
    own = geometry.pixel_mm[0] * geometry.pixel_mm[1] / panel.native_mm**2
    if panel.gain_sd is not None:
        counts = counts * gain_map(geometry, panel.gain_sd / own**0.5, panel.gain_seed)
    if panel.lag is not None:
        counts = add_lag(counts, panel.lag)
    if panel.electronic_quanta is not None and noise != "none":
        assert key is not None  # `read_out` refuses noise without one
        draw = jax.random.normal(jax.random.fold_in(key, 1), counts.shape)
        counts = counts + panel.electronic_quanta * own**0.5 * draw
    if panel.saturation_quanta is not None:
        counts = jnp.clip(counts, 0.0, panel.saturation_quanta * own)
    return bin_frames(counts, panel.binning)


def gain_map(geometry: Geometry, spread: Scalar, seed: Scalar) -> Float[Array, "1 h w"]:
    """Returns the gain pattern `[1, H, W]` of a seed, mean 1, fixed for all clips."""
    draw = jax.random.normal(jax.random.key(seed), (1, geometry.rows, geometry.cols))
    return 1.0 + spread * jnp.clip(draw, -3.0, 3.0)


def add_lag(frames: Float[Array, "t h w"], lag: Lag) -> Float[Array, "t h w"]:
    """Returns frames with the image lag of the panel.

    With the trapped charge r, a frame x reads (1 - held) x + (1 - kept) r, and leaves
    kept r + held x trapped: charge is conserved, and no frame depends on a later
    one. Before frame 0 the panel is in equilibrium with frame 0.

    Args:
        frames: `[T, H, W]`.
        lag: its two shares.

    Returns:
        `[T, H, W]`.
    """

    def step(trapped: Array, frame: Array) -> tuple[Array, Array]:
        read = (1.0 - lag.held) * frame + (1.0 - lag.kept) * trapped
        return lag.kept * trapped + lag.held * frame, read

    steady = frames[0] * (lag.held / (1.0 - lag.kept))
    return jax.lax.scan(step, steady, frames)[1]


def bin_frames(
    frames: Float[Array, "*lead h w"], binning: int
) -> Float[Array, "*lead rows cols"]:
    """Returns sums of blocks of `binning` squared pixels of `[..., H, W]`."""
    if binning == 1:
        return frames
    rows, cols = frames.shape[-2] // binning, frames.shape[-1] // binning
    lead = frames.shape[:-2]
    return frames.reshape(*lead, rows, binning, cols, binning).sum((-3, -1))


def refine(geometry: Geometry, binning: int) -> Geometry:
    """Returns the view whose frames, binned, are those of `geometry`: finer pixels."""
    if binning == 1:
        return geometry
    row_mm, col_mm = geometry.pixel_mm
    return dataclasses.replace(
        geometry,
        rows=geometry.rows * binning,
        cols=geometry.cols * binning,
        pixel_mm=(row_mm / binning, col_mm / binning),
    )


def to_display(
    log_frames: Float[AnyArray, "*shape"], display: Display
) -> Float[Array, "*shape"]:
    """Returns grey levels in [0, 1] of log frames, any shape, by a fixed window."""
    level = (log_frames - display.low) / (display.high - display.low)
    level = jnp.clip(level, 0.0, 1.0)
    level = level if display.bone == "white" else 1.0 - level
    lit = level > 0.0
    return jnp.where(lit, jnp.where(lit, level, 1.0) ** display.gamma, 0.0)


def _output(counts: Array, full: Scalar, exposure: Exposure) -> Array:
    """Returns frames in the unit of `exposure.output`; `full` is the open beam's."""
    if exposure.output == "counts":
        return counts
    counted = exposure.mas is not None or exposure.quanta is not None
    floor = 0.5 if counted else FLOOR  # half a quantum, as no pixel can tell
    log = -jnp.log(jnp.maximum(counts, floor) / full)
    return log if exposure.output == "log" else to_display(log, exposure.display)


def _mean_line(line: AnyArray, binning: int) -> Array:
    return -jnp.log(bin_frames(jnp.exp(-line), binning) / binning**2)


def _field(geometry: Geometry, jaws: Jaws) -> Array:
    """Returns the beam's share at each pixel `[H, W]`: `leak` behind the jaws."""
    down, right = pixel_positions_mm(geometry)
    enlarged = geometry.sdd_mm / geometry.sad_mm
    inside = lambda margin: jnp.clip(0.5 + margin / jaws.penumbra_mm, 0.0, 1.0)
    rows = inside(down + jaws.up_mm * enlarged)
    rows = rows * inside(jaws.down_mm * enlarged - down)
    cols = inside(right + jaws.left_mm * enlarged)
    cols = cols * inside(jaws.right_mm * enlarged - right)
    share = rows.reshape(-1, 1) * cols.reshape(1, -1)
    return jaws.leak + (1.0 - jaws.leak) * share


def _blur_mm(frames: Array, geometry: Geometry, sigma_mm: Scalar) -> Array:
    row_mm, col_mm = geometry.pixel_mm
    return blur(frames, (sigma_mm / row_mm, sigma_mm / col_mm), closed=True)
