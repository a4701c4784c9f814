"""Frames of a clip with the outline drawn on, and an animation of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry, iso_pixel_mm

OUTLINE = (230, 159, 0)  # orange of the Okabe-Ito palette: seen by the colour-blind
INK = (255, 255, 255)
SMALLEST_PX = 256  # pictures are enlarged to this height at least
BAR_MM = 50.0
MARGIN_PX = 16  # for a line of text above a picture


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


def write_animation(path: Path, clip: Clip, note: str = "") -> None:
    """Writes an endless GIF or WebP (by the suffix) at the clip's own speed.

    Args:
        path: the file.
        clip: its mask is drawn as an outline.
        note: stands above every frame, after its number and time, with a scale bar in
            the frame where the scale is known; without a note frames are bare.
    """
    pictures = frame_pictures(clip)
    if note:
        pictures = [
            _noted(picture, clip, f"{t + 1}/{len(pictures)}  {time_s:.2f} s  {note}")
            for t, (picture, time_s) in enumerate(
                zip(pictures, np.asarray(clip.time_s, float), strict=True)
            )
        ]
    pause_ms = (
        round(1000.0 * float(np.mean(np.diff(clip.time_s))))
        if len(clip.time_s) > 1
        else 1000
    )
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=pause_ms, loop=0
    )


def draw_scale_bar(image: Image.Image, view: Geometry, width_px: int) -> None:
    """Draws a bar of `BAR_MM` in the isocentre plane into the lower left corner.

    Args:
        image: drawn into.
        view: of the frame.
        width_px: of one whole frame in the image.
    """
    pen, bottom = ImageDraw.Draw(image), image.height - 8
    # Millimetres at the isocentre: the panel is SDD / SAD times larger.
    per_mm = width_px / (view.cols * iso_pixel_mm(view)[1])
    pen.line((8, bottom, 8 + BAR_MM * per_mm, bottom), fill=INK, width=3)
    pen.text((8, bottom - 14), f"{BAR_MM:g} mm", fill=INK)


def _noted(picture: Image.Image, clip: Clip, words: str) -> Image.Image:
    """Returns a frame under a line of text, with a scale bar."""
    image = Image.new("RGB", (picture.width, picture.height + MARGIN_PX))
    image.paste(picture, (0, MARGIN_PX))
    ImageDraw.Draw(image).text((4, 2), words, fill=INK)
    # Without a scale there is nothing to draw (`Overrides.pixels_only`).
    if np.isfinite(iso_pixel_mm(clip.geometry)).all():
        draw_scale_bar(image, clip.geometry, picture.width)
    return image
