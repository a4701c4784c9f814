"""A contact sheet: rows of a clip's frames with the outline drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fluoro_jax.clip import Clip
from fluoro_jax.io.animation import INK, MARGIN_PX, draw_scale_bar, frame_pictures
from fluoro_jax.io.files import beside

SHEET_FRAMES = 6


def sheet_row(clip: Clip, words: str) -> Image.Image:
    """Returns up to six frames of a clip in a row, with caption and scale bar."""
    pictures = frame_pictures(clip)
    count = min(SHEET_FRAMES, len(pictures))
    # a breath's last frame is nearly its first
    chosen = np.linspace(0, len(pictures) - 1, count + 1).astype(int)[:count]
    width, height = pictures[0].size
    row = Image.new("RGB", (count * width, height + MARGIN_PX))
    for place, index in enumerate(chosen):
        row.paste(pictures[index], (place * width, MARGIN_PX))
    ImageDraw.Draw(row).text((4, 2), words, fill=INK)
    draw_scale_bar(row, clip.geometry, width)
    return row


def write_sheet(path: Path, rows: Sequence[Image.Image]) -> None:
    """Writes all rows below each other as a PNG, atomically."""
    width = max(row.width for row in rows)
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    # The format by name: the temporary path is none that PIL would know.
    with beside(path) as (fresh,):
        sheet.save(fresh, format="PNG")
