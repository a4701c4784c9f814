"""Pictures of clips with the outline drawn on: an animation, and a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fluoro_jax.clip import Clip
from fluoro_jax.io.files import beside

OUTLINE = (230, 159, 0)  # orange of the Okabe-Ito palette: seen by the colour-blind
INK = (255, 255, 255)
SMALLEST_PX = 256  # pictures are enlarged to this height at least
SHEET_FRAMES = 6
BAR_MM = 50.0
MARGIN_PX = 16


def frame_pictures(clip: Clip) -> list[Image.Image]:
    """Returns frames with outlines, bone bright, one grey scale for the clip."""
    frames, masks = np.asarray(clip.frames), np.asarray(clip.mask)
    # One scale for the clip: a scale a frame would flicker. The percentiles leave out a
    # few extreme pixels.
    low, high = np.percentile(frames, (1.0, 99.5))
    grey = np.clip((frames - low) / max(high - low, 1e-6), 0.0, 1.0) * 255.0
    # Rounded up, so that the height is at least `SMALLEST_PX`; whole, so that outlines
    # lie on the pixels' edges.
    scale = -(-SMALLEST_PX // frames.shape[1])
    pictures = []
    for frame, mask in zip(grey.astype(np.uint8), masks, strict=True):
        size = (frame.shape[1] * scale, frame.shape[0] * scale)
        image = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        pixels = np.array(image.convert("RGB"))
        # Not resampled: the outline shows the mask's own pixels.
        pixels[edge(np.kron(mask > 0, np.ones((scale, scale), bool)))] = OUTLINE
        pictures.append(Image.fromarray(pixels))
    return pictures


def edge(mask: np.ndarray) -> np.ndarray:
    """Returns the mask's own pixels that touch its outside, `[H, W]` bool."""
    inner = np.pad(mask, 1)
    inside = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return mask & ~inside


def write_animation(path: Path, clip: Clip) -> None:
    """Writes an endless GIF or WebP (by the suffix) at the clip's own speed."""
    pictures = frame_pictures(clip)
    pause_ms = (
        round(1000.0 * float(np.mean(np.diff(clip.time_s))))
        if len(clip.time_s) > 1
        else 1000
    )
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=pause_ms, loop=0
    )


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
    pen = ImageDraw.Draw(row)
    pen.text((4, 2), words, fill=INK)
    view = clip.geometry
    # Millimetres at the isocentre: the panel is SDD / SAD times larger.
    per_mm = width / (view.cols * view.pixel_mm[1] * view.sad_mm / view.sdd_mm)
    bottom = height + MARGIN_PX - 8
    pen.line((8, bottom, 8 + BAR_MM * per_mm, bottom), fill=INK, width=3)
    pen.text((8, bottom - 14), f"{BAR_MM:g} mm", fill=INK)
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
