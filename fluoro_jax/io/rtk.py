"""Projections and geometry as RTK (the Reconstruction Toolkit) writes them, as a clip.

RTK reads the raw files of vendors (.his, .hnd, .xim) and writes a stack of projections
(.mha) and their geometry (.xml); docs/vendor_files.md has the commands. Its world is
that of IEC 61217, as ours: R = (right, superior, towards the source) turns with the
gantry, a source at (Sx, Sy, SID), and a pixel at the image coordinate p lies at p + P:

    u = (x - Sx) SDD / (SID - z) + Sx - Px,    likewise v

with SID from source to isocentre and SDD to the detector. RTK's rows run to superior;
they are flipped here.

Source: https://github.com/RTKConsortium/RTK, documentation/docs/Geometry.md ("Final
Matrix").
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from fluoro_jax.clip import DOMAINS, Clip
from fluoro_jax.errors import UserError, refuse
from fluoro_jax.geometry import Geometry
from fluoro_jax.io.mha import MetaImage, read_mha

ROOT = "RTKThreeDCircularGeometry"
MOST_BYTES = 64 * 2**20  # of the XML; 10,000 projections take 5 MB
# By name: the largest difference within a clip. Ours, as for DICOM (`STEADY`).
STEADY = {
    "SourceToIsocenterDistance": 0.5,
    "SourceToDetectorDistance": 0.5,
    "GantryAngle": 0.5,
    "ProjectionOffsetX": 0.5,
    "ProjectionOffsetY": 0.5,
    "SourceOffsetX": 0.5,
    "SourceOffsetY": 0.5,
    "OutOfPlaneAngle": 0.5,
    "InPlaneAngle": 0.5,
}
# What our view does not have: degrees of tilt, mm of the source beside its axis.
MOST = {name: 0.5 for name in ("OutOfPlaneAngle", "InPlaneAngle")}
MOST |= {name: 1.0 for name in ("SourceOffsetX", "SourceOffsetY")}
WHY = "every millimetre of the answer comes from it"


def read_rtk(
    projections: Path, geometry: Path, *, frame_s: float, domain: str = "log"
) -> Clip:
    """Reads a stack of projections of one gantry angle with its geometry.

    Args:
        projections: `.mha` of (columns, rows, frames), as `rtkprojections` writes it.
        geometry: `.xml` as `rtkelektasynergygeometry` and others write it.
        frame_s: time between frames, s; RTK keeps no times.
        domain: what the frames hold: "log" as RTK converts raw values, "counts" where
            that was switched off.

    Returns:
        The clip, superior up.

    Raises:
        UserError: files that cannot be read, another number of projections, a gantry
            that turns, a tilted panel, or an unknown domain.
    """
    if domain not in DOMAINS or not 1e-3 <= frame_s <= 1e3:
        refuse(
            f"domain {domain!r}, frames {frame_s} s apart",
            f"one of {', '.join(DOMAINS)}; 0.001 to 1000 s",
            WHY,
            "correct the call of read_rtk",
        )
    image = _read_stack(Path(projections))
    count = len(image.array)
    view = _steady(Path(geometry), _parameters(Path(geometry), count))
    return Clip(
        np.ascontiguousarray(image.array[:, ::-1], np.float32),
        frame_s * np.arange(count),
        _panel(image, view),
        domain=domain,
    )


def _read_stack(path: Path) -> MetaImage:
    image = read_mha(path)
    turned = np.asarray(image.direction, float)
    if image.array.ndim != 3 or np.abs(turned - np.eye(len(turned))).max() > 1e-3:
        refuse(
            f"{path}: {image.array.ndim} axes, directions {turned.tolist()}",
            "3 axes (columns, rows, frames) without a turn",
            "rows and columns are those of the panel",
            "write it with rtkprojections, without --newdirection",
        )
    if not np.isfinite(image.array).all():
        refuse(
            f"{path}: values that are not finite",
            "finite numbers in every pixel",
            "one NaN reaches every pixel of the answer",
            "check --i0 and --idark of rtkprojections: a reading must exceed IDark",
        )
    return image


def _panel(image: MetaImage, view: dict[str, float]) -> Geometry:
    (du, dv), (_, rows, cols) = image.spacing[:2], image.array.shape
    middle = np.array(image.offset[:2]) + 0.5 * np.array([cols - 1, rows - 1]) * (
        du,
        dv,
    )
    sad, sdd = view["SourceToIsocenterDistance"], view["SourceToDetectorDistance"]
    shift = np.array([view["ProjectionOffsetX"], view["ProjectionOffsetY"]])
    source = np.array([view["SourceOffsetX"], view["SourceOffsetY"]])
    # From where the isocentre is seen; with a source on its axis, from the central ray.
    right, superior = middle + shift + source * (sdd / sad - 1.0)
    return Geometry(
        sad,
        sdd,
        view["GantryAngle"],
        rows,
        cols,
        (float(dv), float(du)),
        (-float(superior), float(right)),
    )


def _parameters(path: Path, count: int) -> dict[str, np.ndarray]:
    """Returns the parameters of every projection by name, `[T]` of each."""
    root = _parse(path)
    drawn = root.findall("Projection")
    if len(drawn) != count:
        refuse(
            f"{path}: {len(drawn)} projections",
            f"{count}, as frames in the stack",
            "each frame has its own place in the file",
            "make both from the same files, with the same --regexp",
        )
    radius = _number(path, root, "RadiusCylindricalDetector", 0.0)
    if radius:
        refuse(
            f"{path}: a cylindrical detector of radius {radius:g} mm",
            "a flat panel",
            WHY,
            "none: such a detector is not simulated",
        )
    # What all projections share stands once, before them; what is 0 nowhere.
    shared = {name: _number(path, root, name, 0.0) for name in STEADY}
    return {
        name: np.array([_number(path, one, name, shared[name]) for one in drawn])
        for name in STEADY
    }


def _steady(path: Path, every: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the one view of all projections: the medians of their parameters."""
    found = {}
    for name, values in every.items():
        turned = values
        if name.endswith("Angle"):  # RTK counts from 0 to 360
            turned = values[0] + (values - values[0] + 180.0) % 360.0 - 180.0
        if np.ptp(turned) > STEADY[name]:
            refuse(
                f"{path}: {name} from {turned.min():g} to {turned.max():g}",
                f"one value, within {STEADY[name]:g}",
                "a clip has one view",
                "choose the frames of one angle with --regexp",
            )
        middle = float(np.median(turned))
        away = abs((middle + 180.0) % 360.0 - 180.0) if "Angle" in name else abs(middle)
        if name in MOST and away > MOST[name]:
            refuse(
                f"{path}: {name} {middle:g}",
                f"at most {MOST[name]:g}",
                "a view has its source on the axis and its columns along the body",
                "none: such a panel is not simulated",
            )
        found[name] = middle % 360.0 if name == "GantryAngle" else middle
    sad, sdd = found["SourceToIsocenterDistance"], found["SourceToDetectorDistance"]
    if not 0.0 < sad <= sdd:
        refuse(
            f"{path}: SourceToIsocenterDistance {sad:g}, SourceToDetectorDistance "
            f"{sdd:g} mm",
            "a detector behind the isocentre (0 is a parallel beam)",
            WHY,
            "correct the geometry",
        )
    return found


def _number(
    path: Path, element: ElementTree.Element, name: str, default: float
) -> float:
    text = element.findtext(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e6:
        refuse(
            f"{path}: {name} {text.strip()[:40]!r}",
            "a finite number",
            WHY,
            "write the geometry again",
        )
    return value


def _parse(path: Path) -> ElementTree.Element:
    if not path.is_file():
        refuse(
            f"no file {path}",
            "a geometry that RTK wrote (.xml)",
            WHY,
            "check the path",
        )
    data = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    # RTK writes a bare document type; entities of one could expand without bound.
    if not data or b"<!ENTITY" in data or b"\0" in data:
        refuse(
            f"{path}: {path.stat().st_size} bytes, or entities of its own",
            f"UTF-8 XML of at most {MOST_BYTES // 2**20} MiB",
            "entities may expand without bound",
            "write the geometry again",
        )
    try:
        root = ElementTree.fromstring(data)
    # LookupError and ValueError: an encoding that Python does not have.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise UserError(
            f"{path}: no XML ({error})",
            needed=f"an XML of {ROOT}",
            why="the file is cut off, or of another kind",
            fix="write the geometry again",
        ) from error
    if root.tag != ROOT:
        refuse(
            f"{path}: an XML of '{root.tag[:40]}'",
            ROOT,
            WHY,
            "convert the vendor's XML with an application of RTK first",
        )
    return root
