"""Breathing phases from the headers of 4DCT series."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fluoro_jax.io.dicom.reading import number_of, text_of

# "50%", "T=50.0 %", "Gated 0%": the number before the sign.
PERCENT = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)\s*%")
# "Phase 50", "phase_3", "PHASE: 7": the number after the word.
PHASE = re.compile(r"phase\D{0,3}(\d{1,3}(?:\.\d+)?)", re.IGNORECASE)
# Reconstructions over several phases: no moment of the breath.
AVERAGE = re.compile(r"\b(ave|avg|average|mean|untagged)", re.IGNORECASE)
PROJECTED = re.compile(r"\b(mip|minip|min[- ]?ip|max(imum)? int)", re.IGNORECASE)
# CT; enhanced CT, original and converted; multi-frame secondary captures (8 and 16
# bits), which come without geometry.
VOLUMES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.7.2",
    "1.2.840.10008.5.1.4.1.1.7.3",
)
LEAST_INDEXED = 3  # phases named 1, 2, 3 are counted; fewer could be anything


def kind_of(dataset: Any) -> str:
    """Returns "ct", "average", "mip", "localizer", or the Modality of a header."""
    modality = text_of(dataset, "Modality")
    if text_of(dataset, "SOPClassUID") not in VOLUMES:
        return modality or "other"
    words = f"{text_of(dataset, 'SeriesDescription')} {_image_type(dataset)}"
    if "LOCALIZER" in words.upper():
        return "localizer"
    if PROJECTED.search(words):
        return "mip"
    return "average" if AVERAGE.search(words) else "ct"


def _image_type(dataset: Any) -> str:
    value = dataset.get("ImageType") or []
    return value if isinstance(value, str) else " ".join(map(str, value))


def named_phase(dataset: Any) -> tuple[float, str] | None:
    """Returns a phase as named in a header, and where it stands.

    The number before "%", else after "phase", in SeriesDescription; else
    NominalPercentageOfRespiratoryPhase; else the same two in ImageComments. Numbers
    above 100 are none.
    """
    for keyword in ("SeriesDescription", "ImageComments"):
        words = text_of(dataset, keyword)
        for pattern, what in ((PERCENT, "before %"), (PHASE, "after 'phase'")):
            found = pattern.search(words)
            if found and float(found[1]) <= 100.0:
                return float(found[1]), f"{keyword} (number {what})"
        nominal = number_of(dataset, "NominalPercentageOfRespiratoryPhase")
        if nominal is not None and 0.0 <= nominal <= 100.0:
            return nominal, "(0020,9245) NominalPercentageOfRespiratoryPhase"
    return None


def position_of(dataset: Any) -> tuple[int, str] | None:
    """Returns the temporal position in a header and its tag, or None."""
    for keyword, tag in (
        ("TemporalPositionIdentifier", "(0020,0100)"),
        ("TemporalPositionIndex", "(0020,9128)"),
    ):
        value = number_of(dataset, keyword)
        if value is not None and value >= 0.0 and value == int(value):
            return int(value), f"{tag} {keyword}"
    return None


def as_percent(named: Mapping[str, float], *, indexed: bool) -> dict[str, float]:
    """Returns phases as per cent of the cycle.

    Numbers that run 0, 1, 2, ... or 1, 2, 3, ... without a gap count the phases: of n,
    number k (from the first) is at 100 k / n per cent. 100 % is 0 % of the next cycle.

    Args:
        named: number by series.
        indexed: whether the numbers may count phases; "NN%" never does.

    >>> as_percent({"a": 1, "b": 2, "c": 3, "d": 4}, indexed=True)
    {'a': 0.0, 'b': 25.0, 'c': 50.0, 'd': 75.0}
    >>> as_percent({"a": 50, "b": 100}, indexed=True)
    {'a': 50.0, 'b': 0.0}
    """
    values = sorted(set(named.values()))
    first = values[0] if values else 0.0
    runs = values == [first + k for k in range(len(values))]
    if indexed and runs and len(values) >= LEAST_INDEXED and first in (0.0, 1.0):
        return {key: 100.0 * (v - first) / len(values) for key, v in named.items()}
    return {key: float(v) % 100.0 for key, v in named.items()}
