"""Settings of the X-ray machine: every stage is a number, or None where it is off.

`ideal()` has every stage off and gives the noiseless line integral at 60 keV.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import struct
from jax.core import Tracer

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.sim.xray.scatter import AntiscatterGrid, Scatter
from fluoro_jax.sim.xray.spectrum import KVP_RANGE, Beam, make_beam, tube_spectrum

Array = jax.Array
Scalar = Any

CHOICES = {
    "output": ("log", "counts", "display", "line_integral"),
    "noise": ("poisson", "gaussian", "none"),
    "display.bone": ("white", "black"),
}
LIMITS = {  # (least, most, why)
    "tube.kvp": (*KVP_RANGE, "the spectra are tabulated there"),
    "tube.added_al_mm": (0.0, 50.0, "it is a thickness"),
    "tube.nodes": (1, 1000, "a beam has at least one energy"),
    "mas": (1e-6, 1e3, "it is the charge of one frame, and noise needs quanta"),
    "quanta": (1e-3, 1e30, "noise needs quanta"),
    "focal_spot_mm": (0.0, 5.0, "it is a width; tubes have 0.3 to 1.2"),
    "pulse_s": (0.0, 10.0, "it is the time of one exposure"),
    "sub_phases": (1, 100, "each costs a projection of the body"),
    "scatter.spr": (0.0, 20.0, "it is a ratio; the thickest patients reach 9"),
    "scatter.sigma_mm": (1.0, 500.0, "it is the width of the scatter kernel"),
    "scatter.power": (0.0, 4.0, "scatter grows with thickness, about in proportion"),
    "scatter.gap_mm": (0.0, 2000.0, "it is a distance"),
    "grid.primary": (1e-3, 1.0, "it is a share, and without primary is no image"),
    "grid.scatter": (0.0, 1.0, "it is a share"),
    "jaws.leak": (0.0, 1.0, "it is a share"),
    "jaws.penumbra_mm": (0.01, 100.0, "it is the width of an edge"),
    "panel.native_mm": (0.01, 10.0, "it is the pitch of a pixel"),
    "panel.csi_mm": (0.01, 5.0, "it is a thickness; panels have 0.4 to 1"),
    "panel.blur_mm": (0.0, 50.0, "it is a width"),
    "panel.lag.held": (0.0, 0.9, "it is a share of a frame's signal"),
    "panel.lag.kept": (0.0, 0.99, "all that is trapped must come out some day"),
    "panel.gain_sd": (0.0, 0.3, "a gain must stay positive"),
    "panel.electronic_quanta": (0.0, 1e9, "it is a spread"),
    "panel.saturation_quanta": (1.0, 1e30, "a panel must hold a quantum"),
    "panel.binning": (1, 64, "pixels are added up, never split"),
    "display.gamma": (0.05, 20.0, "grey levels must rise"),
}


@struct.dataclass
class Tube:
    """Tungsten tube with 3.7 mm aluminium.

    Attributes:
        kvp: voltage, 60 to 120 kV.
        added_al_mm: further aluminium, mm.
        nodes: static; energies the spectrum is gathered into (1: effective energy).
    """

    kvp: Scalar = 80.0
    added_al_mm: Scalar = 0.0
    nodes: int = struct.field(pytree_node=False, default=12)


@struct.dataclass
class Jaws:
    """Collimator jaws: distances of their edges from the central ray, mm at isocentre.

    Attributes:
        up_mm: superior edge.
        down_mm: inferior edge.
        left_mm: edge at the image's left.
        right_mm: edge at the image's right.
        leak: share of the beam that passes the jaws [1].
        penumbra_mm: width of the soft edge at the detector, mm.
    """

    up_mm: Scalar
    down_mm: Scalar
    left_mm: Scalar
    right_mm: Scalar
    leak: Scalar = 0.001
    penumbra_mm: Scalar = 2.0


@struct.dataclass
class Lag:
    """Signal that a frame hands to later frames.

    Attributes:
        held: share of a frame's signal that is not read at once [1].
        kept: share of what is held that stays on after each further frame [1].
    """

    held: Scalar = 0.03
    kept: Scalar = 0.6


@struct.dataclass
class Panel:
    """Flat panel of caesium iodide on silicon; a frame's pixel may cover several.

    Attributes:
        native_mm: pitch of the panel's own pixels.
        csi_mm: thickness of the scintillator.
        blur_mm: standard deviation of the optical blur, or None.
        lag: from frame to frame, or None.
        gain_sd: spread of gain over own pixels after flat-field correction [1], or
            None.
        gain_seed: which fixed pattern.
        electronic_quanta: read-out noise of one own pixel, quanta, or None.
        saturation_quanta: most that one own pixel holds, quanta, or None.
        binning: static; rows and columns of a frame summed at the end.
    """

    native_mm: Scalar = 0.388
    csi_mm: Scalar = 0.6
    blur_mm: Scalar | None = None
    lag: Lag | None = None
    gain_sd: Scalar | None = None
    gain_seed: Scalar = 0
    electronic_quanta: Scalar | None = None
    saturation_quanta: Scalar | None = None
    binning: int = struct.field(pytree_node=False, default=1)


@struct.dataclass
class Display:
    """From line integrals to grey levels in [0, 1].

    Attributes:
        low: line integral shown as 0 (before the polarity).
        high: line integral shown as 1.
        gamma: exponent of the grey level.
        bone: static; "white" (radiograph) or "black" (fluoroscopy as lit by X-rays).
    """

    low: Scalar = 0.5
    high: Scalar = 5.5
    gamma: Scalar = 1.0
    bone: str = struct.field(pytree_node=False, default="white")


@struct.dataclass
class Exposure:
    """Settings of one exposure; stages that are None are off.

    Attributes:
        tube: its spectrum; None is 60 keV.
        mas: charge of a frame, mAs, for which `tube` gives quanta.
        quanta: absorbed quanta of an unattenuated pixel before `panel.binning`, instead
            of `mas`.
        focal_spot_mm: width of the focal spot.
        pulse_s: length of the exposure, during which the body moves, s.
        scatter: scattered radiation.
        grid: anti-scatter grid.
        jaws: collimator.
        panel: the flat panel.
        display: used by the output "display".
        sub_phases: static; moments averaged over `pulse_s`.
        noise: static; "poisson", "gaussian" (quicker; has a gradient) or "none".
        output: static; "log" (bone bright: minus the logarithm of the reading over
            the open beam's), "counts" (bone dark: quanta as read), "display" ([0, 1],
            see `Display`) or "line_integral" (bone bright: the primary alone, without
            scatter, jaws and panel).
    """

    tube: Tube | None = None
    mas: Scalar | None = None
    quanta: Scalar | None = None
    focal_spot_mm: Scalar | None = None
    pulse_s: Scalar | None = None
    scatter: Scatter | None = None
    grid: AntiscatterGrid | None = None
    jaws: Jaws | None = None
    panel: Panel = Panel()
    display: Display = Display()
    sub_phases: int = struct.field(pytree_node=False, default=3)
    noise: str = struct.field(pytree_node=False, default="poisson")
    output: str = struct.field(pytree_node=False, default="log")

    @property
    def is_ideal(self) -> bool:
        """Whether every stage is off, so that the reading is the line integral."""
        panel = self.panel
        parts = (self.tube, self.mas, self.quanta, self.focal_spot_mm, self.pulse_s)
        parts += (self.scatter, self.grid, self.jaws, panel.blur_mm, panel.lag)
        parts += (panel.gain_sd, panel.electronic_quanta, panel.saturation_quanta)
        off = all(part is None for part in parts) and panel.binning == 1
        return off and self.output in ("log", "line_integral")


def ideal() -> Exposure:
    """Returns settings with every stage off: noiseless line integrals at 60 keV."""
    return Exposure()


def varian_fluoro(kvp: Scalar = 80.0, mas: Scalar = 0.4) -> Exposure:
    """Returns settings of a Varian on-board imager: a fixed grid, SDD 1500.

    Typical values; no machine was measured for them (docs/xray.md gives sources).
    """
    panel = Panel(
        native_mm=0.388,
        blur_mm=0.22,
        lag=Lag(),
        gain_sd=0.005,
        electronic_quanta=5.0,
        saturation_quanta=1.5e5,
    )
    return Exposure(
        tube=Tube(kvp),
        mas=mas,
        focal_spot_mm=0.6,
        scatter=Scatter(spr=2.5),
        grid=AntiscatterGrid(),
        panel=panel,
    )


def elekta_fluoro(kvp: Scalar = 100.0, mas: Scalar = 0.4) -> Exposure:
    """Returns settings of an Elekta XVI: no grid, SDD 1536, coarser own pixels.

    Typical values; no machine was measured for them (docs/xray.md gives sources).
    """
    panel = Panel(
        native_mm=0.4,
        blur_mm=0.25,
        lag=Lag(held=0.04),
        gain_sd=0.005,
        electronic_quanta=8.0,
        saturation_quanta=2.0e5,
    )
    return Exposure(
        tube=Tube(kvp),
        mas=mas,
        focal_spot_mm=0.8,
        scatter=Scatter(spr=2.5, gap_mm=416.0),
        panel=panel,
    )


def exposure_beam(exposure: Exposure) -> Beam:
    """Returns the tube's beam as this panel reads it; `exposure.tube` must be set."""
    tube = exposure.tube
    assert tube is not None
    spectrum = tube_spectrum(tube.kvp, added_al_mm=tube.added_al_mm)
    return make_beam(spectrum, exposure.panel.csi_mm, nodes=tube.nodes)


def quanta_per_pixel(geometry: Geometry, exposure: Exposure) -> Scalar | None:
    """Returns absorbed quanta of an unattenuated pixel without grid; None: no noise.

    Args:
        geometry: the view; its pixel's area and distance count.
        exposure: its `quanta`, or its `tube` at its `mas`.
    """
    if exposure.quanta is not None or exposure.mas is None:
        return exposure.quanta
    area_cm2 = 0.01 * geometry.pixel_mm[0] * geometry.pixel_mm[1]
    distance_m = 1e-3 * geometry.sdd_mm
    return exposure_beam(exposure).quanta * exposure.mas * area_cm2 / distance_m**2


def validate(exposure: Exposure) -> None:
    """Refuses settings out of range; values under `jit` are not checked.

    Raises:
        UserError: on the first setting out of its range, or stages that exclude or
            need each other.
    """
    for name, (low, high, why) in LIMITS.items():
        value = _setting(exposure, name)
        if value is None or isinstance(value, Tracer):
            continue
        values = np.asarray(value)
        if not np.all((values >= low) & (values <= high)):
            raise UserError(
                f"{name} = {value}",
                needed=f"{low:g} to {high:g}",
                why=why,
                fix=f"set {name} inside that range",
            )
    for name, allowed in CHOICES.items():
        value = _setting(exposure, name)
        if value not in allowed:
            raise UserError(
                f'{name} = "{value}"',
                needed="one of " + ", ".join(allowed),
                why="nothing else is simulated",
                fix=f'for example {name}="{allowed[0]}"',
            )
    _check_stages(exposure)


def _setting(exposure: Exposure, name: str) -> Any:
    """Returns the value of a dotted name; None if its stage is off."""
    value = exposure
    for part in name.split("."):
        value = None if value is None else getattr(value, part)
    return value


def _check_stages(exposure: Exposure) -> None:
    panel, display = exposure.panel, exposure.display
    counted = exposure.mas is not None or exposure.quanta is not None
    if exposure.mas is not None and exposure.quanta is not None:
        raise UserError(
            "mas and quanta are both set",
            needed="one of them",
            why="each alone says how many quanta a pixel gets",
            fix="leave one of them None",
        )
    if exposure.mas is not None and exposure.tube is None:
        raise UserError(
            "mas is set without a tube",
            needed="a tube, whose output per mAs is known",
            why="60 keV has no tube that makes it",
            fix="set tube=Tube(80.0), or quanta=... instead of mas",
        )
    needs = exposure.output == "counts" or panel.electronic_quanta is not None
    if (needs or panel.saturation_quanta is not None) and not counted:
        raise UserError(
            "counts, electronic noise or saturation without mas or quanta",
            needed="mas (with a tube) or quanta",
            why="they are numbers of quanta, and none were made",
            fix="set mas=0.4, or leave these stages None",
        )
    if exposure.grid is not None and exposure.scatter is None and not counted:
        raise UserError(
            "a grid without scatter or quanta",
            needed="scatter, mas or quanta",
            why="to a noiseless primary image a grid does nothing",
            fix="set scatter=Scatter(), or leave grid None",
        )
    ends = (display.low, display.high)
    if any(isinstance(end, Tracer) for end in ends):
        return
    if not np.all(np.asarray(ends[0]) < np.asarray(ends[1])):
        raise UserError(
            f"display.low = {ends[0]} and display.high = {ends[1]}",
            needed="low below high",
            why="the window maps low to 0 and high to 1",
            fix='swap them, or set display.bone="black" for the other polarity',
        )
