"""Validation scores what the tracker that will be tested answers."""

from __future__ import annotations

import numpy as np
import pytest
from small_weights import SIDE, random_params, small_config

from fluoro_jax.clip import Clip
from fluoro_jax.evaluation.statistics import case_means, score_frames
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking import window_answer
from fluoro_jax.tracking.network import NetworkTracker
from fluoro_jax.tracking.tracker import track_clip
from fluoro_jax.training import validation
from fluoro_jax.training.precision import make_generator
from fluoro_jax.training.validation import Validation

COUNT = 3  # more than a batch, so that the last chunk is filled up


def clips(cfg):
    """Random frames; a square that moves down is the truth, none in the last frame."""
    window = cfg.study.num_frames
    frames = np.random.default_rng(1).random((COUNT, window, SIDE, SIDE), np.float32)
    mask = np.zeros(frames.shape, bool)
    for t in range(window - 1):
        mask[:, t, 4 + t : 9 + t, 5:10] = True
    return 3.0 + frames, mask


@pytest.mark.parametrize(
    "asked",
    [
        {"answer": "mask"},
        {"answer": "component"},
        {"answer": "component", "outline": "clip"},
        {"answer": "component", "outline": "clip", "half_cells": True},
    ],
)
def test_it_scores_the_trackers_answer(asked, monkeypatch):
    asked = {f"evaluation.{key}": value for key, value in asked.items()}
    cells = {"gen.patch": 2, "gen.stem": 4, "evaluation.threshold": 0.4}
    cfg = small_config("edge", **cells, **asked)
    frames, mask = clips(cfg)
    monkeypatch.setattr(validation, "validation_clips", lambda *_: (frames, mask))
    # A random network's masks touch the border everywhere.
    at_border = lambda masks: np.zeros(len(masks), bool)
    monkeypatch.setattr(window_answer, "_at_border", at_border)
    net, params = make_generator(cfg), random_params(cfg)
    found = Validation(cfg, net, "nowhere")(params)
    tracker = NetworkTracker(net, params, cfg, cfg.study.num_frames - 1)
    view, times = StudySpec.from_config(cfg.study).geometry(), 0.5 * np.arange(4)
    cases = []
    for clip, truth in zip(frames, mask, strict=True):
        tracks = track_clip(tracker, Clip(clip, times, view))
        predicted = np.stack([t.probability for t in tracks]) >= 0.4
        cases.append(case_means(score_frames(predicted, truth, view)))
    mean = lambda key: np.mean([case[key] for case in cases])
    assert 0 < found["eval/iou"] < 1
    for key, of_cases in (
        ("eval/iou", "iou"),
        ("eval/vertical_mm", "vertical_iso_mm"),
        ("eval/horizontal_mm", "horizontal_iso_mm"),
    ):
        assert found[key] == pytest.approx(mean(of_cases), rel=1e-4)
