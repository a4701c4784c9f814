"""Numbers that a user states for a clip; they win over what its files say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fluoro_jax.errors import refuse

# Ours, as `sidecar.KEYS`: outside of these lies no fluoroscopy.
RANGES = {
    "pixel_mm": (1e-3, 100.0),
    "sad_mm": (1.0, 10_000.0),
    "sdd_mm": (1.0, 10_000.0),
    "gantry_deg": (-360.0, 360.0),
    "kv_offset_deg": (-360.0, 360.0),
    "fps": (1e-3, 1e3),
    "open_beam": (1e-6, 1e12),
}
# Without these there are no millimetres; `pixels_only` does without them.
SCALE = ("sad_mm", "sdd_mm", "pixel_mm")
DOMAINS = ("line_integral", "log", "counts", "display")  # as `clip.DOMAINS`


@dataclass(frozen=True)
class Overrides:
    """What was stated beside the files; None takes the files' value.

    Attributes:
        pixel_mm: (row, column) pitch at the detector, mm.
        sad_mm: source to isocentre, mm.
        sdd_mm: source to detector, mm.
        gantry_deg: IEC gantry angle of the imaging source, degrees.
        kv_offset_deg: added to the angle of the file, degrees.
        fps: frames a second.
        domain: what the frames hold, one of `DOMAINS`.
        open_beam: reading of the unattenuated beam; counts become -ln(counts / it).
        invert: the file's polarity is wrong: bone bright for bone dark.
        pixels_only: numbers of `SCALE` may be unknown; they are then NaN in the view.
        offset_mm: (row, column) of the panel's centre, as `geometry.json` states it;
            has no option.
        origins: by name, the file that a value was read from; others are options of the
            command line.
    """

    pixel_mm: tuple[float, float] | None = None
    sad_mm: float | None = None
    sdd_mm: float | None = None
    gantry_deg: float | None = None
    kv_offset_deg: float | None = None
    fps: float | None = None
    domain: str | None = None
    open_beam: float | None = None
    invert: bool = False
    pixels_only: bool = False
    offset_mm: tuple[float, float] | None = None
    origins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            given = () if value is None else value if name == "pixel_mm" else (value,)
            for one in given:
                if not (math.isfinite(one) and low <= one <= high):
                    flag = flag_of(name)
                    refuse(
                        f"{flag} {one:g}",
                        f"from {low:g} to {high:g}",
                        "every millimetre and second of the answer comes from it",
                        f"correct {flag}",
                    )
        if self.domain is not None and self.domain not in DOMAINS:
            refuse(
                f"--domain {self.domain}",
                "one of " + ", ".join(DOMAINS),
                "it says what a pixel's number means",
                "correct --domain",
            )

    def given(self) -> dict[str, object]:
        """Returns the stated values by name."""
        names = [name for name in self.__dataclass_fields__ if name != "origins"]
        every = {name: getattr(self, name) for name in names}
        return {k: v for k, v in every.items() if v is not None and v is not False}

    def source(self, name: str) -> str:
        """Returns where a stated value comes from.

        >>> Overrides(sad_mm=1000.0).source("sad_mm")
        'flag --sad-mm'
        """
        return self.origins.get(name, f"flag {flag_of(name)}")


def flag_of(name: str) -> str:
    """Returns the option that states a value.

    >>> flag_of("pixel_mm")
    '--pixel-mm'
    """
    return f"--{name.replace('_', '-')}"
