"""What the stored numbers of a projection mean: units, logarithm and polarity.

PixelIntensityRelationship says if a number is linear in the X-ray intensity (LIN),
logarithmic (LOG) or for display alone (DISP); its sign, whether more means brighter.
The modality LUT or rescale is applied; a VOI LUT or window, for display alone, is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.io.dicom.header import GREY, check_grey, items, quiet, whole
from fluoro_jax.io.dicom.tags import Tags, name_of
from fluoro_jax.io.overrides import Overrides

RELATION, SIGN = "PixelIntensityRelationship", "PixelIntensityRelationshipSign"
PHOTOMETRIC = "PhotometricInterpretation"
OPTICAL_DENSITY = "OD"  # RescaleType: a thousandth of -log10(transmission)
NEPER_PER_OD = math.log(10.0) / 1000.0
# Of our own writer: a private creator and the domain of the frames.
CREATOR, CREATOR_TAG, DOMAIN_TAG = "FLUORO_JAX", 0x00190010, 0x00191001
LEAST_COUNT = 1.0  # as `read_clip.LEAST_COUNT`
MOST_LUT = 65536
BONE_BRIGHT = ("line_integral", "log")
# Ours. Share of the grey levels' spread by which the mediastinum must be darker than
# the lungs, and the angle from front or back within which both are seen so.
INVERTED, FRONTAL_DEG = 0.25, 30.0


@dataclass(frozen=True)
class Intensity:
    """How stored numbers become those of a clip.

    Attributes:
        domain: of the clip.
        source: tags or flags that the domain comes from.
        convert: from stored pixels `[H, W]` to float32.
    """

    domain: str
    source: str
    convert: Callable[[np.ndarray], np.ndarray]


def read_intensity(tags: Tags, stated: Overrides, notes: list[str]) -> Intensity:
    """Returns how to read the pixels of a file.

    Raises:
        UserError: for pixels that are in colour or of a kind not read here.
    """
    low, high = _range(tags)
    scale = _modality(tags, low, high)
    dark, polarity = _bone_dark(tags, stated, notes)
    domain, source = _domain(tags, stated, dark, notes)
    source = ", ".join(dict.fromkeys([source, polarity]))
    if stated.open_beam is not None and domain != "counts":
        refuse(
            f"{tags.path}: --open-beam with frames of domain {domain}",
            "counts, which are linear in the X-ray intensity",
            "only these become line integrals by -ln(counts / open beam)",
            "leave --open-beam out; or --domain counts, if the frames are counts",
        )
    od = tags.word("RescaleType") == OPTICAL_DENSITY
    top = float(np.max(scale(np.array([low, high]))))
    other_way = (domain in BONE_BRIGHT and dark) or (domain == "counts" and not dark)
    if other_way:
        notes.append(
            f"{domain} of the other polarity: {top:g} minus the value is taken; its "
            "zero is unknown, so use it only to look at"
        )

    def convert(stored: np.ndarray) -> np.ndarray:
        if domain == "display":
            share = (stored.astype(np.float32) - low) / max(high - low, 1)
            return 1.0 - share if dark else share
        values = scale(stored)
        values = top - values if other_way else values
        if domain in BONE_BRIGHT and od:
            values = values * np.float32(NEPER_PER_OD)
        return values.astype(np.float32)

    if domain == "counts" and stated.open_beam is not None:
        beam = np.float32(stated.open_beam)
        log = lambda raw: -np.log(np.maximum(convert(raw), LEAST_COUNT) / beam)
        said = f"{source}, as -ln(counts / {stated.source('open_beam')})"
        return Intensity("log", said, log)
    return Intensity(domain, source, convert)


def suspect_inverted(frame: np.ndarray, domain: str, gantry_deg: float | None) -> bool:
    """Returns whether the middle of a frontal chest is darker than its sides.

    Args:
        frame: `[H, W]` of a clip.
        domain: of the clip; "counts" have bone dark.
        gantry_deg: of the view; None where it is not known.
    """
    side = 0.0 if gantry_deg is None else gantry_deg % 180.0
    if min(side, 180.0 - side) > FRONTAL_DEG or frame.shape[1] < 8:
        return False
    bright = -frame if domain == "counts" else frame
    low, high = np.percentile(bright, (5.0, 95.0))
    # A few bright spots on an even ground are no chest.
    if high - low <= 0.05 * np.ptp(bright):
        return False
    cols = frame.shape[1]
    part = lambda a, b: bright[:, int(a * cols) : int(b * cols) + 1].mean()
    lungs = 0.5 * (part(0.15, 0.35) + part(0.65, 0.85))
    return bool(part(0.42, 0.58) < lungs - INVERTED * (high - low))


def _range(tags: Tags) -> tuple[int, int]:
    """The smallest and largest stored number that the header allows."""
    get = lambda key: whole(tags.path, tags.header, key)
    allocated, samples = get("BitsAllocated"), get("SamplesPerPixel")
    stored = get("BitsStored") or allocated or 0
    if samples not in (None, 1) or allocated not in (8, 16, 32):
        refuse(
            f"{tags.path}: {samples} samples a pixel of {allocated} bits",
            "1 sample of 8, 16 or 32 bits",
            "a pixel of a projection has one number",
            "export the frames in grey, uncompressed",
        )
    if not 1 <= stored <= allocated:
        refuse(
            f"{tags.path}: {name_of('BitsStored')} = {stored} of {allocated}",
            f"from 1 to {allocated}",
            "the range of the grey levels depends on it",
            "export the file again",
        )
    check_grey(tags.path, tags.text(PHOTOMETRIC), stored, get("HighBit"))
    if get("PixelRepresentation"):
        return -(2 ** (stored - 1)), 2 ** (stored - 1) - 1
    return 0, 2**stored - 1


def _modality(tags: Tags, low: int, high: int) -> Callable[[np.ndarray], np.ndarray]:
    """The modality LUT, or the rescale, or nothing."""
    table = items(tags.path, tags.header, "ModalityLUTSequence")[:1]
    if table:
        return _table(tags, table[0])
    slope, zero = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    a, b = slope.value if slope else 1.0, zero.value if zero else 0.0
    if a == 0.0:
        refuse(
            f"{tags.path}: {name_of('RescaleSlope')} is 0",
            "another number",
            "all pixels would be alike",
            "export the file again",
        )
    return lambda stored: stored.astype(np.float32) * np.float32(a) + np.float32(b)


def _table(tags: Tags, item: Any) -> Callable[[np.ndarray], np.ndarray]:
    inner = Tags(tags.path, item)
    about = inner.numbers("LUTDescriptor", 3)
    try:
        with quiet():
            data = item.get("LUTData")
            if isinstance(data, bytes):  # OW: little-endian words
                data = np.frombuffer(data[: 2 * MOST_LUT], "<u2")
            data = np.asarray(data, np.float32).ravel()
        count = int(about.value[0]) if about else -1
        count = MOST_LUT if count == 0 else count
        good = count == len(data) <= MOST_LUT and np.isfinite(data).all()
    except Exception:
        good, data = False, np.zeros(1, np.float32)
    if not good or about is None:
        refuse(
            f"{tags.path}: {name_of('ModalityLUTSequence')} is damaged",
            "as many values as its descriptor says",
            "the stored numbers get their meaning from it",
            "export the file again",
        )
    begin, last = int(about.value[1]), len(data) - 1
    return lambda stored: data[np.clip(stored.astype(np.int64) - begin, 0, last)]


def _bone_dark(tags: Tags, stated: Overrides, notes: list[str]) -> tuple[bool, str]:
    """Returns whether bone has lower numbers, and what says so."""
    sign, relation = tags.number(SIGN), tags.word(RELATION)
    shown = tags.word(PHOTOMETRIC)
    flip, said = stated.invert, " and flag --invert" * stated.invert
    if sign is not None and sign.value in (1.0, -1.0):
        return (sign.value > 0.0) != flip, sign.source + said
    if stated.domain in ("counts", *BONE_BRIGHT):
        # What was stated says more than what would be guessed.
        return (stated.domain == "counts") != flip, stated.source("domain") + said
    if relation in ("LIN", "LOG"):
        # By the text of the XA module both grow with the intensity.
        notes.append(f"no {name_of(SIGN)}: {relation} is taken as bone dark; --invert")
        return not flip, name_of(RELATION) + said
    if shown in GREY:
        notes.append(
            f"polarity by {name_of(PHOTOMETRIC)} {shown} alone: bone is taken as "
            "displayed white; look at a frame, and give --invert if it is black"
        )
        return (shown == "MONOCHROME1") != flip, name_of(PHOTOMETRIC) + said
    notes.append("no tag says the polarity: bone bright assumed; look at a frame")
    return flip, "default: bone bright" + said


def _domain(
    tags: Tags, stated: Overrides, dark: bool, notes: list[str]
) -> tuple[str, str]:
    relation, od = tags.word(RELATION), tags.word("RescaleType") == OPTICAL_DENSITY
    if stated.domain is not None:
        return stated.domain, stated.source("domain")
    ours = tags.header.get(DOMAIN_TAG)
    creator = tags.header.get(CREATOR_TAG)
    if creator is not None and str(creator.value) == CREATOR and ours is not None:
        text = str(ours.value)
        if text in ("line_integral", "log", "counts", "display"):
            return text, f"(0019,1001) of {CREATOR}"
    if relation == "LIN":
        return "counts", name_of(RELATION)
    if relation == "LOG" and od and not dark:
        return "log", f"{name_of(RELATION)}, {name_of('RescaleType')}"
    if relation == "LOG" and items(tags.path, tags.header, "ModalityLUTSequence"):
        # Its purpose in XA: back to numbers that are linear in the intensity.
        return "counts", f"{name_of(RELATION)}, {name_of('ModalityLUTSequence')}"
    notes.append(
        "grey levels without a unit: read as display levels in [0, 1], bone bright; "
        "networks need line integrals (--domain, or --open-beam for counts)"
    )
    return "display", name_of(RELATION) if relation else "default"
