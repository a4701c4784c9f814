"""The self-contained report.html of one tracked clip: player, traces, errors.

Everything that the page shows is inside the one file, and every number also in
`results.json` beside it.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

import fluoro_jax
from fluoro_jax.clip import Clip
from fluoro_jax.evaluation.track_errors import compare
from fluoro_jax.geometry import axis_names, iso_pixel_mm, position_iso_mm
from fluoro_jax.io.files import write_all
from fluoro_jax.io.tracks import PAGE, RESULTS, TrackTable
from fluoro_jax.metrics import centroid_px
from fluoro_jax.report.clip_figures import error_figure, latency_figure, worst_figure
from fluoro_jax.tracking.confidence import meaning

MOST_SIDE_PX = 384  # of a frame in the player
QUALITY = 80  # of its JPEG; masks are drawn as outlines, never as JPEG
BYTES_A_MINUTE = 6e6
GREY = (1.0, 99.0)  # percentiles shown as black and white
ROUND_PX = 1  # decimals of an outline
BAR_MM = 20.0


@dataclass(frozen=True)
class Tracked:
    """A clip with its track.

    Attributes:
        clip: what was tracked; its mask, if any, is the truth.
        track: times and positions.
        masks: `[T, H, W]` of the track, in the clip's pixels.
        confidence: `[T]`.
        latency_ms: `[T]`.
        run: what run.json says.
        truth: positions to judge by; None takes those of the clip's mask, if any.
    """

    clip: Clip
    track: TrackTable
    masks: np.ndarray
    confidence: np.ndarray
    latency_ms: np.ndarray
    run: Mapping[str, Any]
    truth: TrackTable | None = None


def write_clip_report(
    folder: Path, tracked: Tracked, *, window_mm: float = 3.0
) -> Path:
    """Writes report.html and results.json, both or neither.

    Args:
        folder: of the track.
        tracked: the clip and its track.
        window_mm: half width of the gating window, where there is a truth.

    Returns:
        Path of the page.
    """
    truth = tracked.truth or truth_of(tracked.clip)
    found = compare(tracked.track, truth, window_mm=window_mm) if truth else None
    figures = [latency_figure(tracked)]
    if truth is not None:
        figures = [error_figure(tracked, truth), worst_figure(tracked, truth), *figures]
    summary = summarise(tracked)
    player = json.dumps(_player(tracked), separators=(",", ":"))
    page = _template().render(
        # A track of before run.json said what its confidence is of had no other.
        run={"confidence": meaning(None), **tracked.run},
        summary=summary,
        errors=found,
        axes=axis_names(float(tracked.clip.geometry.gantry_deg)),
        figures=figures,
        geometry=_geometry_rows(tracked.run),
        traces=[_trace(tracked, truth, axis) for axis in (0, 1)],
        # A word of the track that closes the script would end it there, and one that
        # opens a comment and a script would keep it open at its end.
        player=player.replace("<", r"\u003c"),
        version=fluoro_jax.__version__,
    )
    results = {
        "summary": summary,
        "errors": found,
        "track": _columns(tracked.track),
        "truth": _columns(truth) if truth else None,
        "run": dict(tracked.run),
    }
    text = json.dumps(_finite(results), indent=1, ensure_ascii=False)
    write_all({folder / PAGE: page.encode(), folder / RESULTS: (text + "\n").encode()})
    return folder / PAGE


def truth_of(clip: Clip) -> TrackTable | None:
    """Returns the centroids of the clip's own mask; None without one."""
    if clip.mask is None:
        return None
    mask = np.asarray(clip.mask)
    place, seen = np.full((len(mask), 2), np.nan), mask.any(axis=(1, 2))
    if seen.any():
        place[seen] = position_iso_mm(clip.geometry, centroid_px(mask[seen]))
    times = np.asarray(clip.time_s, float)
    return TrackTable(times, place, ("",) * len(times))


def summarise(tracked: Tracked) -> dict[str, Any]:
    """Returns counts, confidence, motion and latency of a track, ready for JSON."""
    status, place = tracked.track.status, tracked.track.place_mm
    seen = np.isfinite(place).all(axis=1)
    span = [float(np.ptp(place[seen, i])) if seen.any() else None for i in range(2)]
    return {
        "frames": len(place),
        "seconds": float(tracked.track.time_s[-1] - tracked.track.time_s[0]),
        "status": {name: status.count(name) for name in dict.fromkeys(status)},
        "confidence_median": float(np.median(tracked.confidence)),
        "peak_to_peak_mm": {"vertical": span[0], "horizontal": span[1]},
        "latency_ms": {
            name: float(np.percentile(tracked.latency_ms, value))
            for name, value in (("p50", 50), ("p95", 95), ("p99", 99))
        },
    }


def _template() -> jinja2.Template:
    text = resources.files("fluoro_jax.report") / "clip.html"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["mm"] = lambda value: "-" if value is None else f"{value:.2f}"
    return environment.from_string(text.read_text(encoding="utf-8"))


def _geometry_rows(run: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (name, value, source) of each number of the view."""
    rows = []
    for name, told in {
        **run.get("geometry", {}),
        "domain": run.get("domain", {}),
    }.items():
        if not isinstance(told, Mapping):
            continue
        value = told.get("value")
        words = ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else value
        rows.append((name, f"{words}", f"{told.get('source') or 'derived'}"))
    return rows


def _player(tracked: Tracked) -> dict[str, Any]:
    """Returns what the page's script needs: images, outlines, positions."""
    clip = tracked.clip
    frames, step = _shown(np.asarray(clip.frames))
    down_mm, right_mm = iso_pixel_mm(clip.geometry)
    truth = None if clip.mask is None else np.asarray(clip.mask)
    outlines = lambda masks: [outline(mask, step) for mask in masks]
    return {
        "frames": [_jpeg(frame) for frame in frames],
        "size": [int(frames.shape[2]), int(frames.shape[1])],
        # pixels on the page are square in millimetres
        "aspect": float(down_mm / right_mm),
        "time": [round(float(t), 4) for t in clip.time_s],
        "found": outlines(tracked.masks),
        "truth": None if truth is None else outlines(truth),
        "status": list(tracked.track.status),
        "confidence": [round(float(c), 3) for c in tracked.confidence],
        "place": [[_plain(v, 2) for v in row] for row in tracked.track.place_mm],
        "bar_px": BAR_MM / float(right_mm) / step,
        "bar_mm": BAR_MM,
    }


def _shown(frames: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns 8-bit frames no larger than the player's, and by how much smaller."""
    step = max(1, math.ceil(max(frames.shape[1:]) / MOST_SIDE_PX))
    if step > 1:
        rows, cols = (n // step * step for n in frames.shape[1:])
        frames = frames[:, :rows, :cols]
        shape = (len(frames), rows // step, step, cols // step, step)
        frames = frames.reshape(shape).mean(axis=(2, 4))
    low, high = np.percentile(frames, GREY)
    grey = (frames - low) * (255.0 / max(float(high - low), 1e-12))
    return np.clip(grey, 0.0, 255.0).astype(np.uint8), step


def _jpeg(frame: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=QUALITY)
    return base64.b64encode(buffer.getvalue()).decode()


def outline(mask: np.ndarray, step: int = 1) -> list[list[float]]:
    """Returns the closed outlines of a mask `[H, W]`.

    Args:
        mask: in {0, 1}.
        step: pixels of the mask in one of the page.

    Returns:
        A list x, y, x, y ... a contour, in pixels of the page from its top left corner.
    """
    from contourpy import contour_generator  # of matplotlib

    if not np.any(mask):
        return []
    # A border of zeros closes the outline of a tumour that the frame cuts.
    padded = np.pad(np.asarray(mask, np.float32), 1)
    lines: Any = contour_generator(z=padded).lines(0.5)
    # + 0.5: the page counts from the corner of a pixel, the mask from its centre
    return [np.round((line - 0.5) / step, ROUND_PX).ravel().tolist() for line in lines]


def _trace(tracked: Tracked, truth: TrackTable | None, axis: int) -> dict[str, Any]:
    """Returns a trace as paths of an SVG of 1000 x 160, and its ticks."""
    lines = [tracked.track] if truth is None else [tracked.track, truth]
    values = np.concatenate([line.place_mm[:, axis] for line in lines])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
    margin = 0.08 * max(high - low, 1.0)
    low, high = low - margin, high + margin
    start, end = tracked.track.time_s[0], tracked.track.time_s[-1]
    x_of = lambda t: 1000.0 * (t - start) / max(end - start, 1e-9)
    y_of = lambda v: 160.0 * (high - v) / (high - low)
    name = axis_names(float(tracked.clip.geometry.gantry_deg))[axis]
    every = 10.0 ** math.floor(math.log10(high - low))
    every = every / 2 if (high - low) / every < 3 else every
    ticks = np.arange(math.ceil(low / every), math.floor(high / every) + 1) * every
    return {
        "name": name,
        "paths": [_path(line, axis, x_of, y_of) for line in lines],
        "ticks": [(f"{tick:g}", round(float(y_of(tick)), 1)) for tick in ticks],
        "missed": [
            round(float(x_of(t)), 1)
            for t, place in zip(
                tracked.track.time_s, tracked.track.place_mm, strict=True
            )
            if not np.isfinite(place).all()
        ],
        "seconds": [f"{start:g}", f"{end:g}"],
    }


def _path(line: TrackTable, axis: int, x_of: Any, y_of: Any) -> str:
    """Returns an SVG path; it begins anew after frames without an answer."""
    words, pen = [], "M"
    for time, value in zip(line.time_s, line.place_mm[:, axis], strict=True):
        if not math.isfinite(value):
            pen = "M"
            continue
        words.append(f"{pen}{x_of(time):.1f} {y_of(value):.1f}")
        pen = "L"
    return "".join(words)


def _columns(table: TrackTable) -> dict[str, Any]:
    return {
        "time_s": table.time_s.tolist(),
        "y_iso_mm": table.place_mm[:, 0].tolist(),
        "x_iso_mm": table.place_mm[:, 1].tolist(),
        "status": list(table.status),
    }


def _plain(value: float, decimals: int) -> float | None:
    return round(float(value), decimals) if math.isfinite(value) else None


def _finite(tree: Any) -> Any:
    """Returns a tree for JSON, which knows no NaN: None in its place."""
    if isinstance(tree, Mapping):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, Sequence) and not isinstance(tree, str):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
