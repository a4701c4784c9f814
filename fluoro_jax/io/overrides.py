"""Numbers that a user states for a clip; they win over what its files say."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
DOMAINS = ("line_integral", "log", "counts", "display")  # as `clip.DOMAINS`


@dataclass(frozen=True)
class Overrides:
    """What was stated on the command line; None takes the files' value.

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
        every = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v for k, v in every.items() if v is not None and v is not False}


def flag_of(name: str) -> str:
    """Returns the option that states a value.

    >>> flag_of("pixel_mm")
    '--pixel-mm'
    """
    return f"--{name.replace('_', '-')}"
