"""Looks up numbers and words of a DICOM header, in functional groups too.

Enhanced XA and XRF keep most numbers in the shared or per-frame functional groups, RT
Image some in its exposure sequence. A value is looked for at the top level first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.errors import refuse
from fluoro_jax.io.dicom.header import items, quiet

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# Sequences of which the first item may hold a number; in the shared groups any may.
BESIDE = ("ExposureSequence",)
CODE = re.compile(r"[A-Z0-9_ ]{1,16}")  # DICOM's CS, which holds no name in practice
LARGEST = 1e9


@dataclass(frozen=True)
class Value:
    """A value and where it comes from (tag, flag, file or "default")."""

    value: Any
    source: str


@dataclass
class Tags:
    """The header of one file.

    Attributes:
        path: of the file.
        header: pydicom's `Dataset`.
    """

    path: Path
    header: Any
    _groups: dict[str, list[Any]] = field(default_factory=dict)

    def number(self, key: str) -> Value | None:
        """Returns a finite number, None where the tag is absent or empty.

        Raises:
            UserError: for what is no finite number.
        """
        found = self.numbers(key, 1)
        return found and Value(found.value[0], found.source)

    def numbers(self, key: str, count: int | None) -> Value | None:
        """Returns `count` (None: any number of) finite numbers as a tuple of floats.

        Raises:
            UserError: for another count or what are no finite numbers.
        """
        raw = self._raw(key)
        if raw is None:
            return None
        try:
            several: Any = raw
            if isinstance(raw, bytes):
                # Over 64 kB the file has no type for it: text, numbers between "\\".
                several = raw.decode("ascii").split("\\")
            elif isinstance(raw, str) or not hasattr(raw, "__len__"):
                several = (raw,)
            values = tuple(float(one) for one in several)
            good = all(math.isfinite(v) and abs(v) < LARGEST for v in values)
        except (TypeError, ValueError):  # a UnicodeDecodeError is one
            values, good = (), False
        if not good or (count is not None and len(values) != count):
            refuse(
                f"{self.path}: {name_of(key)} cannot be used",
                f"{count or 'some'} finite numbers",
                "it is damaged; every millimetre and second comes from such numbers",
                "export the file again, or state the number by its flag",
            )
        return Value(values, name_of(key))

    def word(self, key: str) -> str:
        """Returns a code string in capitals, "" where it is absent or none."""
        raw = self._raw(key)
        text = "" if raw is None else str(raw).strip().upper()
        return text if CODE.fullmatch(text) else ""

    def words(self, key: str) -> list[str]:
        """Returns the code strings of a tag that has several."""
        raw = self._raw(key)
        several = [] if raw is None else [raw] if isinstance(raw, str) else list(raw)
        return [str(one).strip().upper() for one in several]

    def text(self, key: str) -> str:
        """Returns any text; the caller must not print it."""
        raw = self._raw(key)
        return "" if raw is None else str(raw)

    def frames(self, key: str) -> list[Any]:
        """Returns the value of each frame's own functional group; [] without them."""
        groups = self._sequence(PER_FRAME)
        values = []
        for group in groups:
            found = next(self._in_macros(group, key), None)
            if found is None:
                return []
            values.append(found)
        return values

    def steady(self, key: str, most: float) -> bool:
        """Returns whether a number differs by at most `most` between the frames."""
        try:
            values = np.array([float(v) for v in self.frames(key)])
        except (TypeError, ValueError):
            return False
        return not values.size or bool(np.ptp(values) <= most)

    def _raw(self, key: str) -> Any:
        return next((v for v in self._every(key) if v not in (None, "")), None)

    def _every(self, key: str) -> Iterator[Any]:
        yield self._get(self.header, key)
        for name in (SHARED, PER_FRAME):
            for group in self._sequence(name)[:1]:
                yield from self._in_macros(group, key)
        for name in BESIDE:
            for item in self._sequence(name)[:1]:
                yield self._get(item, key)

    def _in_macros(self, group: Any, key: str) -> Iterator[Any]:
        for name in self._macros(group):
            for item in items(self.path, group, name)[:1]:
                value = self._get(item, key)
                if value not in (None, ""):
                    yield value

    def _macros(self, group: Any) -> list[str]:
        """Keywords of the sequences of a group; elements stay undecoded."""
        from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag

        try:
            tags = list(group.keys())
        except Exception:
            tags = []
        # By the dictionary, not by the file: a damaged file may say another type.
        known = [tag for tag in tags if dictionary_has_tag(tag)]
        return [keyword_for_tag(tag) for tag in known if dictionary_VR(tag) == "SQ"]

    def _sequence(self, name: str) -> list[Any]:
        if name not in self._groups:
            self._groups[name] = items(self.path, self.header, name)
        return self._groups[name]

    def _get(self, dataset: Any, key: str) -> Any:
        try:
            with quiet():
                value = dataset.get(key)
                # An empty MultiValue is as good as no value.
                return None if hasattr(value, "__len__") and not len(value) else value
        except Exception as error:
            # Its text may quote the value.
            kind = type(error).__name__
        refuse(
            f"{self.path}: {name_of(key)} cannot be read ({kind})",
            "a value of the type that DICOM gives this tag",
            "the file is damaged, or was written with a wrong type",
            "export the file again",
        )


def name_of(key: str) -> str:
    """Returns tag and keyword, as "(0018,1164) ImagerPixelSpacing"."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(key) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {key}"
