"""A `geometry.json` beside a DICOM clip: it gives what the tags lack, and no more.

It never wins over a tag (a flag does): where both say a number and differ, the tag's is
used and a note says so.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.io.dicom.geometry import IMAGE_CENTRE, SAME, View
from fluoro_jax.io.dicom.intensity import CREATOR, Intensity
from fluoro_jax.io.dicom.tags import Value
from fluoro_jax.io.overrides import Overrides, flag_of
from fluoro_jax.io.sidecar import NAME, read_some

# Keys of a sidecar that a DICOM clip may take, by the name in `Overrides`.
TAKEN = {
    **{name: name for name in ("sad_mm", "sdd_mm", "gantry_deg", "pixel_mm")},
    **{name: name for name in ("offset_mm", "domain", "open_beam")},
    "fps": "frame_s",
}
SAME_DEG = 0.5
SAME_OFF_MM = 0.05


def sidecar_of(path: Path) -> Path | None:
    """Returns the `geometry.json` of a DICOM file or folder, None without one."""
    # Many DICOM files are named by a UID: what follows its last dot is no suffix.
    stem = path.stem if path.suffix == ".dcm" else path.name
    beside = (path.parent / f"{stem}.{NAME}", path.parent / NAME)
    places = (path / NAME,) if path.is_dir() else beside
    return next((one for one in places if one.is_file()), None)


def supply(
    path: Path,
    view: View,
    time_s: Value | None,
    how: Intensity,
    stated: Overrides,
) -> tuple[Overrides, list[str]]:
    """Returns what is stated with what the file adds, and notes of what it does not.

    Args:
        path: of the `geometry.json`.
        view: as the tags and `stated` give it.
        time_s: times of the frames, None where they lack.
        how: how the pixels are read.
        stated: on the command line; it wins over the file too.

    Raises:
        UserError: no JSON, an unknown key, or a value that is not possible.
    """
    values = read_some(path)
    known = {name: found for name, found in view.values.items()}
    if known.get("offset_mm") and known["offset_mm"].source == IMAGE_CENTRE:
        del known["offset_mm"]
    if time_s is not None:
        known["fps"] = time_s
    # Counts over a stated open beam are read as their logarithm.
    domain = "counts" if "-ln(counts" in how.source else how.domain
    # Grey levels without a unit lack one, unless our own writer says that they do.
    if domain != "display" or f"of {CREATOR}" in how.source:
        known["domain"] = Value(domain, how.source)
    given, notes, added = stated.given(), [], {}
    for name, key in TAKEN.items():
        if key not in values or name in given:
            continue
        value = 1.0 / values[key] if name == "fps" else values[key]
        if name not in known:
            added[name] = tuple(map(float, value)) if np.ndim(value) else value
        elif not _same(name, value, known[name].value):
            notes.append(
                f"{path.name}: {key} {values[key]} is not used, for "
                f"{known[name].source} says otherwise; {_how(name)} to use it"
            )
    left = sorted(set(values) - set(TAKEN.values()))
    if left:
        notes.append(f"{path.name}: {', '.join(left)} not used of a DICOM clip")
    domain = added.get("domain", domain)
    if "open_beam" in added and domain != "counts":
        del added["open_beam"]
        notes.append(f"{path.name}: open_beam not used, frames are {domain}")
    origins = dict.fromkeys(added, str(path))
    return dataclasses.replace(stated, **added, origins=origins), notes


def _how(name: str) -> str:
    return "correct the file" if name == "offset_mm" else f"give {flag_of(name)}"


def _same(name: str, value: Any, known: Any) -> bool:
    if name == "domain":
        return value == known
    if name == "fps":
        gaps = np.diff(np.asarray(known, float))
        value, known = 1.0 / value, float(np.median(gaps)) if len(gaps) else 1.0 / value
    off = np.abs(np.subtract(value, known)).max()
    if name == "gantry_deg":
        return bool(min(off % 360.0, 360.0 - off % 360.0) <= SAME_DEG)
    if name == "offset_mm":
        return bool(off <= SAME_OFF_MM)
    return bool(off <= SAME * np.abs(known).max())
