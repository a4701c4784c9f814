"""A study in miniature without a simulator: discs on gradients, and its table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from fluoro_jax.clip import Clip
from fluoro_jax.evaluation import tables
from fluoro_jax.evaluation.evaluate import (
    Method,
    Results,
    case_rows,
    run_method,
    scale_of_errors,
    strata,
)
from fluoro_jax.evaluation.statistics import truth_span_mm
from fluoro_jax.experiments import published
from fluoro_jax.geometry import square_panel
from fluoro_jax.tracking.anchored import AnchoredTracker
from fluoro_jax.tracking.baselines.phase_prior import PhasePriorTracker
from fluoro_jax.tracking.baselines.static import StaticTracker

SIDE, FRAMES = 32, 4
VIEW = square_panel(SIDE)
PATH = np.array([[0, 0], [2, 0], [4, 1], [1, 0]])


def config():
    return ConfigDict(
        dict(
            name="fake",
            seed=0,
            choices="validation",
            study=dict(
                name="group",
                seed=0,
                num_val=1,
                num_test=4,
                detector_mm=480.0,
                collimate=False,
                voxel_mm=8.0,
                photons=0.0,
                rows=SIDE,
                cols=SIDE,
                gantry_deg=0.0,
                num_train=3,
                num_frames=FRAMES,
                frame_s=0.5,
            ),
            data=dict(
                source="dataset",
                batch_size=2,
                stack="wrap",
                smallest_mm=10.0,
                largest_mm=40.0,
                midline_share=0.0,
                displaced_mm=0.0,
                bodies="phantom",
                angles_deg="",
            ),
            gen=dict(bidirectional=True, lstm="all", dtype="float32"),
            critic=dict(dtype="float32"),
            matmul_precision="highest",
            platform="",
            deterministic=False,
            init=dict(parent="", frozen="nothing"),
            train=dict(gen_updates=2, critic_updates=1, accumulate=1),
            evaluation=dict(
                bootstrap=200,
                threshold=0.5,
                answer="mask",
                half_cells=False,
                outline="frame",
                offset_share=1.0,
                stream_lookahead=2,
            ),
        )
    )


def disc(row, col, radius):
    rows, cols = np.mgrid[:SIDE, :SIDE]
    return ((rows - row) ** 2 + (cols - col) ** 2 <= radius**2).astype(np.float32)


def clip_of(row, col, radius, gain=1.0):
    path = gain * PATH + [row, col]
    mask = np.stack([disc(r, c, radius) for r, c in path])
    ramp = np.linspace(0, 3, SIDE, dtype=np.float32)[None, None, :]
    return Clip(
        frames=mask + ramp,
        time_s=0.5 * np.arange(FRAMES, dtype=np.float32),
        geometry=VIEW,
        mask=mask,
        centroid_px=path.astype(np.float32),
        periodic=True,
    )


def arrays_of(clips):
    count = len(clips)
    stack = lambda name: np.stack([getattr(c, name) for c in clips])
    return {
        **{name: stack(name) for name in ("frames", "mask", "centroid_px", "time_s")},
        "id": np.arange(count),
        "set": np.arange(count),
        "factor": np.ones(count),
        "si_mm": np.full(count, 16.0),
        "diameter_mm": np.linspace(15, 45, count),
        "rib_overlap": np.full((count, FRAMES), 0.3),
        "spine_overlap": np.zeros((count, FRAMES)),
        "diaphragm_overlap": np.zeros((count, FRAMES)),
        "heart_overlap": np.tile(np.linspace(0, 0.5, count)[:, None], FRAMES),
        "lobe": ["upper"] * count,
        "side": ["left"] * count,
        "kind": ["population"] * count,
    }


def fake_results(workdir: Path) -> Results:
    """Four cases: "ours" is the phase prior with frame 0, which is nearly right."""
    cfg = config()
    train = arrays_of([clip_of(10, 10, 3), clip_of(14, 18, 4), clip_of(12, 14, 3)])
    clips = [clip_of(10 + n, 8 + 3 * n, 3 + n, 1 + 0.2 * n) for n in range(4)]
    test = arrays_of(clips)
    prior, static = PhasePriorTracker.fit(train), StaticTracker.fit(train)
    columns = [
        Method("ours", "ours", prior, frame0=True),
        Method("ours_frame0", "ours + frame 0", AnchoredTracker(prior), frame0=True),
        Method("static", "static", static),
        Method("phase_prior", "phase prior", prior),
        Method("phase_prior_frame0", "phase prior + frame 0", prior, frame0=True),
    ]
    runs = {c.key: run_method(c, clips, cfg) for c in columns}
    table = tables.build_table(runs, cfg, published.reference(cfg))
    table["checkpoint"] = {"step": 7, "sha256": "0" * 64}
    table["strata"] = strata(runs["ours"], test, train, cfg)
    span = {"truth_span_mm": truth_span_mm(clips)}
    table["scale"] = scale_of_errors(clips) | span
    table["cases"] = case_rows(runs["ours"], test)
    lines = [{"step": s, "train/l1": 1 / s, "eval/iou": s / 10} for s in range(1, 5)]
    text = "\n".join([json.dumps(line) for line in lines] + ['{"step": 5, "tr'])
    (workdir / "metrics.jsonl").write_text(text)
    return Results(table, workdir, runs, test, clips)
