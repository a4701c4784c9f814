"""A clip that was read from files, and where each of its numbers comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.errors import refuse
from fluoro_jax.io.overrides import Overrides, flag_of


@dataclass(frozen=True)
class ReadClip:
    """A clip and where its numbers come from.

    Attributes:
        clip: the clip.
        kind: "trackrad", "mha", "npz", "png", or "dicom" and the kind of image.
        files: what was read.
        sources: by name of a value, the file, tag or flag it was read from, or
            "default".
        notes: assumptions and warnings, each with what to do next.
        about: further facts, as the patient's position; no name and no ID.
    """

    clip: Clip
    kind: str
    files: tuple[Path, ...]
    sources: dict[str, str]
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def apply_overrides(read: ReadClip, stated: Overrides) -> ReadClip:
    """Returns a clip of image files with the stated numbers in place of the files'.

    Raises:
        UserError: for what only DICOM files have, or a detector before the isocentre.
    """
    sources, view = dict(read.sources), read.clip.geometry
    given = stated.given()
    for name in ("kv_offset_deg", "invert", "open_beam"):
        if name in given:
            refuse(
                f"{flag_of(name)} with a clip of kind {read.kind}",
                "a DICOM clip",
                "these files state it in geometry.json",
                f"leave {flag_of(name)} out, and correct geometry.json",
            )
    for name in given:
        sources["time_s" if name == "fps" else name] = f"flag {flag_of(name)}"
    names = ("pixel_mm", "sad_mm", "sdd_mm", "gantry_deg")
    view = dataclasses.replace(view, **{n: given[n] for n in names if n in given})
    if float(view.sdd_mm) < float(view.sad_mm):
        refuse(
            f"SID {float(view.sdd_mm):g} mm below SAD {float(view.sad_mm):g} mm",
            "a detector at or behind the isocentre",
            "every millimetre depends on SAD / SID",
            "correct --sad-mm or --sdd-mm",
        )
    clip = dataclasses.replace(read.clip, geometry=view)
    if stated.fps is not None:
        times = np.arange(len(read.clip.time_s)) / stated.fps
        clip = dataclasses.replace(clip, time_s=times)
        sources.pop("frame_s", None)
    if stated.domain is not None:
        clip = dataclasses.replace(clip, domain=stated.domain)
    return dataclasses.replace(read, clip=clip, sources=sources)
