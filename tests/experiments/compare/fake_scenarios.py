"""Scenarios without rendering: a bright disc that moves as a sine on a ramp."""

from __future__ import annotations

import numpy as np

from configs.trackers import get_config
from fluoro_jax.clip import Clip
from fluoro_jax.experiments.compare import run
from fluoro_jax.experiments.compare.clips import ScenarioClip
from fluoro_jax.experiments.compare.settings import check
from fluoro_jax.geometry import position_iso_mm, square_panel

FRAME_S = 0.25


def settings(**changes):
    c = get_config("smoke")
    c.clips.update(cases=2, seconds=6.0)
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return check(c)


def disc_clip(index=0, frames=24, side=32, amplitude_px=4.0):
    time_s = np.arange(frames) * FRAME_S
    view = square_panel(side)
    rows, cols = np.mgrid[:side, :side]
    path = lambda t: np.stack(
        [16.0 + amplitude_px * np.sin(2.0 * np.pi * t / 4.0), 14.0 + index + 0.0 * t],
        -1,
    )
    places = path(time_s)
    mask = np.stack([np.hypot(rows - r, cols - c) < 4.0 for r, c in places]).astype(
        np.float32
    )
    ground = 2.0 + 0.02 * rows + 0.1 * np.sin(cols)
    frames_ = (ground + 0.5 * mask).astype(np.float32)
    clip = Clip(frames_, time_s, view, mask, places, np.zeros((frames, 3)))
    dense_s = np.arange(0.0, time_s[-1] + 1e-6, 0.05)
    truth = np.asarray(position_iso_mm(view, path(dense_s)))
    return ScenarioClip(clip, dense_s, truth, None)


def use_discs(monkeypatch, **more):
    """Has the comparison run on discs; returns the list of scenarios rendered."""
    rendered = []

    def scenario_clips(name, scenario, clips, *, ct="", indices=(), kept=None):
        rendered.append(name)
        for index in indices:
            yield disc_clip(index, **more)

    monkeypatch.setattr(run, "scenario_clips", scenario_clips)
    monkeypatch.setattr(run.Runner, "_training_arrays", training_arrays)
    return rendered


def training_arrays(self):
    clip = disc_clip().clip
    arrays = {"mask": clip.mask[None], "centroid_px": clip.centroid_px[None]}
    return arrays | {"time_s": clip.time_s[None], "frames": clip.frames[None]}
