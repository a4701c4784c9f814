"""`--pixels-only`: a clip whose scale is not known is tracked, without millimetres.

A network knows a tumour by its size in its own pixels, so some scale must be taken. It
is the model's own: the frames' height is taken to show what the model's frames show.
That is an assumption, which a warning and the record state; no length is written.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from fluoro_jax.errors import refuse
from fluoro_jax.io.overrides import SCALE

WITHOUT_MM = ("gif",)  # of `track.BESIDE`: the others write pixel sizes or positions
WHY = (
    "tracked with --pixels-only: no column, image or record has a length in "
    "millimetres, and there is no report.html, whose traces and errors are in them"
)


def check(kinds: Sequence[str]) -> None:
    """Refuses more files that would hold millimetres.

    Args:
        kinds: of `track.BESIDE`.

    Raises:
        UserError: for the first of them.
    """
    for kind in kinds:
        if kind not in WITHOUT_MM:
            refuse(
                f"--{kind} with --pixels-only",
                "--gif, or none of the further files",
                "those files hold pixel sizes or positions in millimetres",
                f"leave --{kind} out, or state --pixel-mm, --sad-mm and --sdd-mm",
            )


def scaled(clip: Any, trained: Any) -> Any:
    """Returns the clip; with the model's scale where it has none, and a warning.

    Args:
        clip: read with `Overrides.pixels_only`; unknown lengths of its view are NaN.
        trained: the view that the model was trained on.
    """
    view = clip.geometry
    lengths = (view.sad_mm, view.sdd_mm, *view.pixel_mm)
    if not any(math.isnan(float(one)) for one in lengths):
        return clip
    # Of the frames' height: a panel of other proportions shows more or less aside.
    pitch_mm = float(trained.pixel_mm[0]) * trained.rows / view.rows
    warnings.warn(
        "WARNING the scale of the frames is not known (--pixels-only): their height is "
        "taken to show what the model's frames show; a clip of another scale is "
        "answered wrongly and with confidence. Next: compare the masks with the "
        "frames, or state --pixel-mm, --sad-mm and --sdd-mm.",
        stacklevel=2,
    )
    view = dataclasses.replace(
        view,
        sad_mm=trained.sad_mm,
        sdd_mm=trained.sdd_mm,
        pixel_mm=(pitch_mm, pitch_mm),
        offset_mm=trained.offset_mm,
    )
    return dataclasses.replace(clip, geometry=view)


def unscaled(read: Any) -> Any:
    """Returns what was read without its scale, so that no file can be given one."""
    nothing = (math.nan, math.nan)
    view = dataclasses.replace(
        read.clip.geometry, sad_mm=math.nan, sdd_mm=math.nan, pixel_mm=nothing
    )
    clip = dataclasses.replace(read.clip, geometry=view)
    return dataclasses.replace(read, clip=clip)


def without_mm(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what run.json says of a clip, without lengths in mm, and why."""
    lengths = (*SCALE, "offset_mm")
    cut = lambda part: {k: v for k, v in part.items() if k not in lengths}
    resampling = record["resampling"]
    return {
        **record,
        "pixels_only": WHY,
        "geometry": cut(record["geometry"]),
        "resampling": {**resampling, "to": cut(resampling["to"])},
    }
