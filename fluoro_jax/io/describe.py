"""Says what a file or folder is: kind, geometry with sources, what is missing.

`DESCRIBERS` holds the functions for DICOM files that are no projections, by modality.
Nothing here prints a name, an ID, or a text of a header; names of ROIs are told.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.geometry import axis_names
from fluoro_jax.io.describe_volumes import MODALITIES, describe_volumes
from fluoro_jax.io.dicom.header import looks_like_dicom, read_header
from fluoro_jax.io.dicom.patient import image_axes, letters
from fluoro_jax.io.dicom.pixels import decode_first
from fluoro_jax.io.dicom.projection import (
    MOST_FILES,
    NUMBERS,
    PROJECTIONS,
    about_of,
    dicom_files,
    look,
    sources_of,
)
from fluoro_jax.io.dicom.tags import Tags
from fluoro_jax.io.files import expand_path
from fluoro_jax.io.overrides import Overrides
from fluoro_jax.io.read_clip import read_clip_with_sources

# By DICOM modality: from the path to what is known of it.
DESCRIBERS: dict[str, Callable[[Path], Mapping[str, Any]]] = dict.fromkeys(
    MODALITIES, describe_volumes
)
OFF_PLANE_MM = 50.0


@dataclass(frozen=True)
class Description:
    """What a path holds.

    Attributes:
        facts: ready for JSON: what, kind, frames, geometry with sources, missing.
        frame: the first frame `[H, W]` of a clip, or None.
        domain: of that frame.
        view: the known numbers of the geometry by name.
    """

    facts: dict[str, Any]
    frame: np.ndarray | None = None
    domain: str = ""
    view: dict[str, Any] = field(default_factory=dict)


def describe(path: str | Path, stated: Overrides | None = None) -> Description:
    """Returns what a file or folder is.

    Args:
        path: any clip that `read_clip` takes, or other DICOM files.
        stated: numbers that win over the files'.

    Raises:
        UserError: a path that is not there, of no known kind, or damaged. What a clip
            merely lacks is listed under "missing".
    """
    path, stated = expand_path(path), stated or Overrides()
    first = _first_dicom(path)
    if first is None:
        return _of_clip(path, stated)
    tags = Tags(first, read_header(first))
    if tags.text("SOPClassUID").strip() in PROJECTIONS:
        return _of_projection(path, stated)
    modality = tags.word("Modality")
    if modality in DESCRIBERS:
        return Description(dict(DESCRIBERS[modality](path)))
    counts = _modalities(path) if path.is_dir() else Counter([modality])
    named = ", ".join(f"{n} {name or 'unstated'}" for name, n in counts.items())
    what = f"DICOM, no projection; files by modality: {named}"
    return Description({"path": str(path), "what": what, "files": counts.total()})


def _modalities(folder: Path) -> Counter[str]:
    """Counts the DICOM files of a folder by modality, most frequent first."""
    found: Counter[str] = Counter()
    for path in dicom_files(folder)[:MOST_FILES]:
        try:
            found[Tags(path, read_header(path)).word("Modality")] += 1
        except UserError:
            found["damaged"] += 1
    return Counter(dict(found.most_common()))


def _first_dicom(path: Path) -> Path | None:
    """The first DICOM file of a path that holds no other kind of clip."""
    if path.is_dir():
        if (path / "images").is_dir():
            return None
        # A damaged file, listed by its name, says nothing of what the folder holds.
        here = next((p for p in dicom_files(path) if looks_like_dicom(p)), None)
        if here or any(path.glob("*.png")):
            return here
        nested = (p for p in sorted(path.glob("*/*")) if p.is_file())
        few = itertools.islice(nested, MOST_FILES)
        return next((p for p in few if looks_like_dicom(p)), None)
    return path if looks_like_dicom(path) or path.suffix == ".dcm" else None


def _of_projection(path: Path, stated: Overrides) -> Description:
    seen = look(path, stated)
    how, turn = seen.intensities[0], seen.view.turn.frame
    frame = decode_first(seen.tags[0], how.convert, turn)
    known = {name: seen.view.get(name) for name in NUMBERS}
    view = {name: value for name, value in known.items() if value is not None}
    times = None if seen.time_s is None else seen.time_s.value
    facts = {
        "path": str(path),
        "what": f"a fluoroscopy clip: DICOM {seen.kind}",
        **_facts(seen.shape, view, times, how.domain, sources_of(seen)),
        "about": about_of(seen),
        "assumptions": seen.notes,
        "missing": [_missing(error) for error in seen.missing],
    }
    return Description(facts, frame, how.domain, view)


def _of_clip(path: Path, stated: Overrides) -> Description:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are listed as assumptions
        read = read_clip_with_sources(path, stated)
    clip = read.clip
    view = {name: getattr(clip.geometry, name) for name in NUMBERS}
    facts = {
        "path": str(path),
        "what": f"a fluoroscopy clip: {read.kind}",
        **_facts(clip.frames.shape, view, clip.time_s, clip.domain, read.sources),
        "about": dict(read.about),
        "assumptions": list(read.notes),
        "missing": [],
    }
    return Description(facts, np.asarray(clip.frames[0]), clip.domain, view)


def _facts(
    shape: Sequence[int],
    view: Mapping[str, Any],
    times: Any,
    domain: str,
    sources: Mapping[str, str],
) -> dict[str, Any]:
    told = lambda name, value: {"value": value, "source": sources.get(name)}
    plain = lambda v: [float(x) for x in v] if np.ndim(v) else float(v)
    geometry = {name: told(name, plain(value)) for name, value in view.items()}
    facts: dict[str, Any] = {
        "frames": int(shape[0]),
        "rows": int(shape[1]),
        "cols": int(shape[2]),
        "domain": told("domain", domain),
        "geometry": geometry,
    }
    if times is not None:
        gaps = np.diff(np.asarray(times, float))
        usual = float(np.median(gaps)) if len(gaps) else 0.0
        span = {"seconds": float(times[-1] - times[0]), "frame_s": usual}
        source = sources.get("time_s") or sources.get("frame_s")
        facts["time"] = {**span, "source": source}
    if {"sad_mm", "sdd_mm", "pixel_mm"} <= set(view):
        shrink = float(view["sad_mm"]) / float(view["sdd_mm"])
        facts["pixel_iso_mm"] = [float(one) * shrink for one in view["pixel_mm"]]
        off = OFF_PLANE_MM / float(view["sad_mm"])
        facts["millimetres"] = (
            "exact in the isocentre plane; wrong by "
            f"{off:.1%} for what lies {OFF_PLANE_MM:g} mm off it"
        )
    if "gantry_deg" in view:
        gantry_deg = float(view["gantry_deg"])
        right, down = image_axes(gantry_deg)
        vertical, horizontal = axis_names(gantry_deg)
        facts["axes"] = {"vertical": vertical, "horizontal": horizontal}
        facts["edges"] = {
            "right": letters(right),
            "left": letters(-right),
            "top": letters(-down),
            "bottom": letters(down),
        }
    return facts


def _missing(error: UserError) -> dict[str, str]:
    return {"found": error.found, "needed": error.needed, "fix": error.fix}
