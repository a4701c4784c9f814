"""What `run.json` says of a track beside its answers, and the command to repeat it.

The module imports no JAX, so that --help is quick; `about` does.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

from fluoro_jax import __version__
from fluoro_jax.cli import stated, tracker_options

if TYPE_CHECKING:
    from fluoro_jax.cli.track import Options


def about(options: Options, read: Any, plan: Any) -> dict[str, Any]:
    """Returns versions, model, input, geometry and resampling for `run.json`."""
    # Here, not at the top: the verb's --help needs none of it.
    import jax

    from fluoro_jax.training.precision import precision_name

    tracker, clip = plan.tracker, read.clip
    learned = tracker.learned
    source = plan.resampler.source
    card, weights = tracker.card, tracker.card["weights"]
    # None for what is derived and not read.
    told = lambda name, value: {"value": value, "source": read.sources.get(name)}
    return {
        "versions": _versions(),
        "precision": precision_name(tracker.cfg),
        "device": ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices()),
        "model": {
            "name": card["name"],
            "sha256": weights["sha256"],
            "card_sha256": card["card_sha256"],
            "limits": card["limits"],
        },
        "input": {
            "kind": read.kind,
            "read": [str(path) for path in read.files],
            "frames": len(clip.time_s),
            "frames_sha256": frames_digest(read),
            **read.about,
        },
        "geometry": {name: told(name, value) for name, value in grid(source).items()},
        "time_s": {
            "value": [float(value) for value in clip.time_s],
            "source": read.sources.get("time_s") or read.sources.get("frame_s"),
        },
        "domain": told("domain", clip.domain),
        "periodic": told("periodic", clip.periodic),
        "resampling": _resampling(plan, learned.frame_s),
        "causal": tracker.causal,
        **tracker_options.about(tracker),
        "lookahead_frames": tracker.lookahead_frames,
        "lookahead_s": tracker.lookahead_frames * learned.frame_s,
        # A network that keeps its state between frames has no window.
        "window_frames": getattr(tracker, "window_frames", None),
        "threshold": float(tracker.cfg.evaluation.threshold),
        "frame0": None if options.frame0 is None else str(options.frame0),
        # The one mistake that no check can find is said in every record.
        "not_checked": "flipped rows and mirrored columns cannot be seen in a frame",
        "command": _command(options, tracker.lookahead_frames),
    }


def frames_digest(read: Any) -> str | None:
    """Returns a sha256 of a clip's frames as float32, or None.

    None where they are logarithms of counts: the last bits of a logarithm differ from
    processor to processor, and with them the digest of the same clip.
    """
    import hashlib

    import numpy as np

    if "-ln(" in (read.sources.get("domain") or ""):
        return None
    frames = np.ascontiguousarray(read.clip.frames, np.float32)
    return hashlib.sha256(frames.data).hexdigest()


def _versions() -> dict[str, str]:
    import importlib.metadata

    version = importlib.metadata.version
    return {
        "fluoro_jax": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "flax", "numpy")},
    }


def _command(options: Options, lookahead: int) -> list[str]:
    """Returns the command that makes these results again."""
    model = f"--model={options.model}"
    words = ["fluoro", "track", str(options.clip), model, f"--lookahead={lookahead}"]
    words += [f"--answer={options.answer}"] if options.answer else []
    words += [f"--frame0={options.frame0}"] if options.frame0 else []
    return words + stated.as_words(options.stated)


def grid(view: Any) -> dict[str, Any]:
    """A view's numbers, ready for JSON."""
    return {
        "rows": view.rows,
        "cols": view.cols,
        "pixel_mm": [float(value) for value in view.pixel_mm],
        "offset_mm": [float(value) for value in view.offset_mm],
        "sad_mm": float(view.sad_mm),
        "sdd_mm": float(view.sdd_mm),
        "gantry_deg": float(view.gantry_deg),
    }


def _resampling(plan: Any, frame_s: float) -> dict[str, Any]:
    """Returns how the clip's pixels and times were resampled for the model."""
    return {
        "space": "area average of the bilinear interpolant, in the isocentre plane",
        "time": "nearest frame, in interleaved sequences",
        "sequences": len(plan.parts),
        "frame_s": frame_s,
        "to": grid(plan.resampler.target),
        "field_of_view_shown": round(plan.resampler.cover, 4),
    }
