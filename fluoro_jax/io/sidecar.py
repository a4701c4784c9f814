"""Reads and writes `geometry.json`: view, times and units of frames in image files.

    {
      "sad_mm": 1000.0,             source to isocentre
      "sdd_mm": 1500.0,             source to detector
      "gantry_deg": 0.0,            IEC 61217
      "pixel_mm": [3.75, 3.75],     (row, column) at the detector
      "offset_mm": [0.0, 0.0],      (row, column) of the panel's centre; optional
      "frame_s": 0.5,               or "time_s": [0.0, 0.5, ...], one a frame
      "domain": "line_integral",    line_integral, log, counts or display
      "periodic": false,            exactly one breathing period; optional
      "open_beam": 60000.0,         of counts: they are read as -ln(counts / open_beam)
      "value_per_grey": 0.0001,     of a PNG: value = value_at_zero + this * grey level
      "value_at_zero": 0.0
    }

Lengths are mm, times s. Nothing is guessed: a missing number is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fluoro_jax.clip import DOMAINS, Clip
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import Geometry
from fluoro_jax.io.files import write_text
from fluoro_jax.io.overrides import SCALE

NAME = "geometry.json"
# Ours: hundreds of thousands of times fit. Larger files are not read.
MOST_BYTES = 16_000_000
LONGEST_MM = 10_000.0
LEAST_PIXEL_MM = 1e-3


@dataclass(frozen=True)
class Sidecar:
    """Holds the checked values of a `geometry.json`.

    Attributes:
        path: of the file.
        values: by key, as in the file; optional keys that are absent are None.
        sources: by key, where the value comes from: the file, or "default".
    """

    path: Path
    values: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)

    def geometry(self, rows: int, cols: int) -> Geometry:
        """Returns the view of frames `[rows, cols]`."""
        get = self.values.__getitem__
        # Absent only where `read_sidecar` allowed it: unknown.
        one = lambda key: math.nan if get(key) is None else float(get(key))
        two = lambda key: get(key) or (math.nan, math.nan)
        pair = lambda key: (float(two(key)[0]), float(two(key)[1]))
        lengths = (one("sad_mm"), one("sdd_mm"), one("gantry_deg"))
        return Geometry(*lengths, rows, cols, pair("pixel_mm"), pair("offset_mm"))

    def times(self, count: int) -> np.ndarray:
        """Returns the times of `count` frames, s.

        Raises:
            UserError: for another number of times.
        """
        times = self.values["time_s"]
        if times is None:
            return np.arange(count) * float(self.values["frame_s"])
        if len(times) != count:
            _refuse(
                self.path,
                f"{len(times)} times for {count} frames",
                "one time a frame",
                "correct time_s, or give frame_s",
            )
        return np.array(times, float)


@dataclass(frozen=True)
class _Key:
    test: Callable[[Any], bool]
    needed: str
    default: Any = None
    required: bool = False


def _number(x: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    # bool is an int in Python: true would pass for 1.
    plain = isinstance(x, int | float) and not isinstance(x, bool)
    # 1e300: JSON has integers of any length, which overflow as a float.
    return plain and abs(x) < 1e300 and low <= x <= high


def _several(x: Any, count: int | None, low: float, high: float) -> bool:
    right = isinstance(x, list) and (count is None or len(x) == count)
    return right and bool(x) and all(_number(one, low, high) for one in x)


KEYS = {
    "sad_mm": _Key(lambda x: _number(x, 1.0, LONGEST_MM), "1 to 10000 mm", None, True),
    "sdd_mm": _Key(lambda x: _number(x, 1.0, LONGEST_MM), "1 to 10000 mm", None, True),
    "gantry_deg": _Key(
        lambda x: _number(x, -360.0, 360.0), "-360 to 360 degrees", None, True
    ),
    "pixel_mm": _Key(
        lambda x: _several(x, 2, LEAST_PIXEL_MM, 100.0),
        "[row, column], each from 0.001 to 100 mm",
        None,
        True,
    ),
    "offset_mm": _Key(
        lambda x: _several(x, 2, -1000.0, 1000.0),
        "[row, column], each from -1000 to 1000 mm",
        [0.0, 0.0],
    ),
    "frame_s": _Key(lambda x: _number(x, 1e-3, 1e3), "0.001 to 1000 s"),
    "time_s": _Key(
        lambda x: _several(x, None, -1e9, 1e9) and bool(np.all(np.diff(x) > 0.0)),
        "numbers that increase, one a frame",
    ),
    "domain": _Key(
        lambda x: isinstance(x, str) and x in DOMAINS, "one of " + ", ".join(DOMAINS)
    ),
    "periodic": _Key(lambda x: isinstance(x, bool), "true or false", False),
    "open_beam": _Key(lambda x: _number(x, 1e-6), "more than 0"),
    "value_per_grey": _Key(
        lambda x: _number(x, -1e6, 1e6) and x != 0, "a number other than 0"
    ),
    "value_at_zero": _Key(lambda x: _number(x, -1e6, 1e6), "a number"),
}


def read_sidecar(path: Path, *, pixels_only: bool = False) -> Sidecar:
    """Reads and checks a `geometry.json`.

    Args:
        path: of the file.
        pixels_only: numbers of `overrides.SCALE` may lack.

    Raises:
        UserError: if it is missing, no JSON, or a value is absent, unknown or not
            possible.
    """
    values = read_some(path)
    for key, rule in KEYS.items():
        # `domain` has no default: counts taken for line integrals would be tracked in
        # silence.
        free = pixels_only and key in SCALE
        if key not in values and not free and (rule.required or key == "domain"):
            other = ", or: fluoro track --pixels-only" * (key in SCALE)
            _refuse(path, f"no {key}", f"{key}: {rule.needed}", f'add "{key}"{other}')
    # Exactly one of the two: both could contradict each other.
    if ("frame_s" in values) == ("time_s" in values):
        _refuse(
            path,
            "both frame_s and time_s" if "frame_s" in values else "no time of frames",
            "one of frame_s (s between frames) and time_s (s of each frame)",
            'keep "frame_s" or "time_s"',
        )
    if values.get("sdd_mm", math.inf) < values.get("sad_mm", 0.0):
        _refuse(
            path,
            f"sdd_mm = {values['sdd_mm']:g} below sad_mm = {values['sad_mm']:g}",
            "a detector behind the isocentre",
        )
    if "open_beam" in values and values["domain"] != "counts":
        _refuse(
            path,
            f"open_beam with domain {values['domain']}",
            'open_beam only with "domain": "counts"',
        )
    # Defaults last, so that the checks above see only what the file says.
    full = {key: values.get(key, rule.default) for key, rule in KEYS.items()}
    named = lambda key: str(path) if key in values else "default"
    return Sidecar(path, full, {k: named(k) for k in KEYS if full[k] is not None})


def read_some(path: Path) -> dict[str, Any]:
    """Returns the values that a `geometry.json` has, each checked alone.

    Raises:
        UserError: if it is missing, no JSON, or a value is unknown or not possible.
    """
    values = _load(path)
    for key, value in values.items():
        if key not in KEYS:
            _refuse(path, f"unknown key {key!r}", "keys among " + ", ".join(KEYS))
        if not KEYS[key].test(value):
            shown = json.dumps(value)[:80]
            _refuse(path, f"{key} = {shown}", KEYS[key].needed, f'correct "{key}"')
    return values


def write_sidecar(path: Path, clip: Clip) -> None:
    """Writes the `geometry.json` of a clip, whole or not at all."""
    view = clip.geometry
    pair = lambda values: [float(value) for value in values]
    values = {
        "sad_mm": float(view.sad_mm),
        "sdd_mm": float(view.sdd_mm),
        "gantry_deg": float(view.gantry_deg),
        "pixel_mm": pair(view.pixel_mm),
        "offset_mm": pair(view.offset_mm),
        "time_s": np.asarray(clip.time_s, float).tolist(),
        "domain": clip.domain,
        "periodic": clip.periodic,
    }
    write_text(path, json.dumps(values, indent=1, allow_nan=False) + "\n")


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        _refuse(
            path,
            "not there",
            "a geometry.json beside the frames: sad_mm, sdd_mm, gantry_deg, pixel_mm "
            "[row, column], frame_s, domain",
            "write one; fluoro_jax/io/sidecar.py shows an example",
        )
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        # "-sig": editors on Windows put a byte order mark before the text.
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    # RecursionError: JSON nested thousands deep; it is no ValueError.
    except (ValueError, RecursionError) as error:
        _refuse(path, f"no JSON ({str(error)[:80]})", "a JSON object with named values")
    if not isinstance(values, dict):
        _refuse(path, f"a {type(values).__name__}", "a JSON object with named values")
    return values


def _refuse(
    path: Path, found: str, needed: str, fix: str = "correct it; see io/sidecar.py"
) -> Any:
    raise UserError(
        f"{path}: {found}",
        needed=needed,
        why="every millimetre and second of the answer comes from it",
        fix=fix,
    )
