"""The view of a DICOM projection: which tag gives which number, in which order.

| number | first | then | else |
|---|---|---|---|
| SDD | RTImageSID | DistanceSourceToDetector | --sdd-mm |
| SAD | RadiationMachineSAD | DistanceSourceToIsocenter, then (XA, XRF alone, with a
warning) DistanceSourceToPatient | --sad-mm |
| pixel | ImagePlanePixelSpacing | PixelSpacing if calibrated, else ImagerPixelSpacing |
--pixel-mm |
| angle | GantryAngle | PositionerPrimaryAngle (C-arm: detector, not gantry) |
--gantry-deg |
| origin | RTImagePosition + XRayImageReceptorTranslation | DetectorActiveOrigin | image
centre, with a warning |

A flag wins over every tag. Nothing has a silent default. What is missing is collected
and not raised here, so that `fluoro inspect` can list it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fluoro_jax.errors import UserError, refuse
from fluoro_jax.io.dicom.orientation import Turn, angle_of
from fluoro_jax.io.dicom.tags import Tags, Value, name_of
from fluoro_jax.io.overrides import Overrides, flag_of

# Relative; ours: decimal strings of one number differ by less.
SAME = 1e-3
SAME_PLANE_MM = 1.0
LONGEST_MM = 10_000.0
IMAGE_CENTRE = "default: image centre"  # where no tag says where the panel was


@dataclass
class View:
    """What a header says of a view.

    Attributes:
        values: by name (`sad_mm`, `sdd_mm`, `pixel_mm`, `gantry_deg`, `offset_mm`);
            names that are not known are in `missing`.
        missing: by name, the error to raise when the number is needed.
        turn: how the pixels are flipped to be seen from the source, superior up.
        notes: assumptions and warnings, in words.
        about: further facts for the record (patient position, calibration).
    """

    values: dict[str, Value] = field(default_factory=dict)
    missing: dict[str, UserError] = field(default_factory=dict)
    turn: Turn = field(default_factory=Turn)
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Returns a value, None where it is missing."""
        found = self.values.get(name)
        return found and found.value


def read_view(tags: Tags, stated: Overrides, *, rt: bool, shape: tuple[int, int]):
    """Returns the `View` of a header.

    Args:
        tags: the header.
        stated: values that win over it.
        rt: the file is an RT Image; else an XA or XRF image, enhanced or not.
        shape: (rows, columns) of a frame.

    Raises:
        UserError: for numbers that are damaged or impossible; not for absent ones.
    """
    view = View()
    _distances(tags, stated, view, rt=rt)
    _pixel(tags, stated, view, rt=rt)
    angle_of(tags, stated, view, rt=rt)
    _offset(tags, stated, view, rt=rt, shape=shape)
    return view


def first(tags: Tags, stated: Overrides, name: str, *keys: str) -> Value | None:
    """Returns a flag's value, or that of the first tag that is there."""
    value = getattr(stated, name)
    if value is not None:
        return Value(value, stated.source(name))
    return next((v for v in map(tags.number, keys) if v is not None), None)


def _distances(tags: Tags, stated: Overrides, view: View, *, rt: bool) -> None:
    sdd_keys = ["RTImageSID", "DistanceSourceToDetector"]
    sad_keys = ["RadiationMachineSAD", "DistanceSourceToIsocenter"]
    old = "DistanceSourceToPatient"
    found = {
        "sdd_mm": first(tags, stated, "sdd_mm", *sdd_keys),
        "sad_mm": first(tags, stated, "sad_mm", *sad_keys),
    }
    if found["sad_mm"] is None and not rt and (last := tags.number(old)):
        found["sad_mm"] = last
        view.notes.append(
            f"SAD is {name_of(old)}: to the isocentre by the older text of DICOM, to "
            "the centre of the field of view by the newer; check it, or give --sad-mm"
        )
    for name, value in found.items():
        keys = sdd_keys if name == "sdd_mm" else [*sad_keys, *([] if rt else [old])]
        if value is not None and 0.0 < value.value <= LONGEST_MM:
            view.values[name] = value
            continue
        said = "SID (source to detector)" if name == "sdd_mm" else "SAD"
        what = f"{said} of {value.value:g} mm" if value else f"no {said}"
        example = "1500" if name == "sdd_mm" else "1000"
        view.missing[name] = UserError(
            f"{tags.path}: {what}",
            needed=_looked_for(keys),
            why="millimetres need SAD / SID; without them only pixels are possible",
            fix=f"{flag_of(name)} {example}  (the value of your machine), or: fluoro "
            "track --pixels-only",
        )
    sad, sdd = view.get("sad_mm"), view.get("sdd_mm")
    if sad and sdd and sdd < sad * (1.0 - SAME):
        refuse(
            f"{tags.path}: SID {sdd:g} mm below SAD {sad:g} mm",
            "an image plane at or behind the isocentre",
            "every millimetre depends on SAD / SID",
            "--sad-mm and --sdd-mm of your machine",
        )


def _looked_for(keys: list[str]) -> str:
    return "looked for " + ", ".join(map(name_of, keys)) + ": none can be used"


def _pixel(tags: Tags, stated: Overrides, view: View, *, rt: bool) -> None:
    keys = ["ImagePlanePixelSpacing"] * rt + ["ImagerPixelSpacing"]
    found: Value | None = None
    if stated.pixel_mm is not None:
        found = Value(tuple(stated.pixel_mm), stated.source("pixel_mm"))
    else:
        at_detector = next((v for k in keys if (v := tags.numbers(k, 2))), None)
        in_patient = None if rt else tags.numbers("PixelSpacing", 2)
        found = _calibrated(tags, view, at_detector, in_patient)
    if found is None:
        _no_pixel(tags, view, keys, alone=not rt and tags.numbers("PixelSpacing", 2))
    elif not all(1e-3 <= one <= 100.0 for one in found.value):
        refuse(
            f"{tags.path}: pixels of {found.value[0]:g} x {found.value[1]:g} mm",
            "from 0.001 to 100 mm",
            "every millimetre depends on them",
            "--pixel-mm 0.388 0.388  (row and column pitch of your panel)",
        )
    else:
        view.values["pixel_mm"] = found


def _calibrated(
    tags: Tags, view: View, at_detector: Value | None, in_patient: Value | None
) -> Value | None:
    """Returns the pitch at the detector, scaled from the patient if need be."""
    kind = "PixelSpacingCalibrationType"
    typed = tags.word(kind)
    differs = (
        at_detector is not None
        and in_patient is not None
        and any(
            abs(a - b) > SAME * max(abs(b), 1e-9)
            for a, b in zip(in_patient.value, at_detector.value, strict=True)
        )
    )
    if in_patient is None or not (typed or differs):
        return at_detector
    view.about["calibrated"] = typed or "PixelSpacing differs from ImagerPixelSpacing"
    sad, sdd = view.get("sad_mm"), view.get("sdd_mm")
    view.notes.append(
        f"pixels are calibrated in the patient by {in_patient.source} "
        f"({name_of(kind) if typed else 'it differs from ImagerPixelSpacing'}): taken "
        "in the isocentre plane and not scaled again; check the calibration's depth"
    )
    if not (sad and sdd):
        return None
    # In the isocentre plane a pixel then has exactly the calibrated size.
    down, right = (one * sdd / sad for one in in_patient.value)
    source = f"{in_patient.source}, in the patient, times SID / SAD"
    return Value((down, right), source)


def _no_pixel(tags: Tags, view: View, keys: list[str], *, alone: Any) -> None:
    fix = (
        "--pixel-mm 0.388 0.388  (row and column pitch at the detector), or: fluoro "
        "track --pixels-only"
    )
    if "calibrated" in view.about:
        return  # only SAD or SID is missing, which has its own error
    if alone:
        view.missing["pixel_mm"] = UserError(
            f"{tags.path}: {name_of('PixelSpacing')} alone, of unknown type",
            needed=f"{name_of('ImagerPixelSpacing')} beside it, or "
            f"{name_of('PixelSpacingCalibrationType')}",
            why="at the detector or in the patient: it cannot be determined "
            "(DICOM PS3.3 10.7.1.1)",
            fix=fix,
        )
        return
    view.missing["pixel_mm"] = UserError(
        f"{tags.path}: no detector pixel spacing",
        needed=_looked_for([*keys, "PixelSpacing"]),
        why="needed for millimetres; without it only pixel results are possible",
        fix=fix,
    )


def _offset(
    tags: Tags, stated: Overrides, view: View, *, rt: bool, shape: tuple[int, int]
) -> None:
    pixel_mm = view.get("pixel_mm")
    if pixel_mm is None:
        return
    place = _rt_centre if rt else _detector_centre
    found = place(tags, view, pixel_mm, shape)
    if found is None and stated.offset_mm is not None:
        # As seen in the clip: it is not turned.
        source = stated.source("offset_mm")
        view.values["offset_mm"] = Value(stated.offset_mm, source)
        return
    if found is None:
        view.notes.append(
            "no position of the image on the central ray: the image's centre is taken; "
            "check that the panel was centred"
        )
        found = Value((0.0, 0.0), IMAGE_CENTRE)
    # Turned with the pixels: the offset is that of the frames in the clip.
    down, right = view.turn.pair(found.value)
    view.values["offset_mm"] = Value((down, right), found.source)


def _rt_centre(
    tags: Tags, view: View, pixel_mm: tuple[float, float], shape: tuple[int, int]
) -> Value | None:
    """Returns (down, right) mm of the image's centre, before it is turned."""
    position = tags.numbers("RTImagePosition", 2)
    shift = tags.numbers("XRayImageReceptorTranslation", 3)
    if position is None and shift is None:
        return None
    (x, y), source = (0.0, 0.0), []
    if position is not None:
        # The centre of the first stored pixel; rows may run either way from it.
        along_row, along_col = view.turn.stored
        x = position.value[0] + along_row * (shape[1] - 1) / 2 * pixel_mm[1]
        y = position.value[1] - along_col * (shape[0] - 1) / 2 * pixel_mm[0]
        source.append(position.source)
    if shift is not None:
        sad, sdd = view.get("sad_mm"), view.get("sdd_mm")
        plane = sad - shift.value[2] if sad else None
        scale = 1.0
        if sdd and plane and plane > 0.0 and abs(plane - sdd) > SAME_PLANE_MM:
            scale = sdd / plane
            view.notes.append(
                f"the receptor lies {plane:g} mm from the source, the image plane "
                f"{sdd:g} mm: its shift is scaled to the image plane; check both"
            )
        x, y = x + shift.value[0] * scale, y + shift.value[1] * scale
        source.append(shift.source)
    return Value((-y, x), " + ".join(source))


def _detector_centre(
    tags: Tags, view: View, pixel_mm: tuple[float, float], shape: tuple[int, int]
) -> Value | None:
    """Returns (down, right) mm of the image's centre from the panel's, as stored."""
    origin = tags.numbers("DetectorActiveOrigin", 2)
    if origin is None:
        return None
    pitch = tags.numbers("DetectorElementSpacing", 2)
    whole = tags.numbers("PhysicalDetectorSize", 2)
    if pitch is None or whole is None or "calibrated" in view.about:
        view.notes.append(
            f"{origin.source} cannot be used without "
            f"{name_of('DetectorElementSpacing')} and {name_of('PhysicalDetectorSize')}"
        )
        return None
    corner = [a * b for a, b in zip(origin.value, pitch.value, strict=True)]
    half = [n * p / 2 for n, p in zip(shape, pixel_mm, strict=True)]
    centre = [c + h - w / 2 for c, h, w in zip(corner, half, whole.value, strict=True)]
    source = f"{origin.source}, {name_of('PhysicalDetectorSize')}"
    return Value((centre[0], centre[1]), source)
