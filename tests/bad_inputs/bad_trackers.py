"""Clips that a tracker cannot use: domain, view, scale, times and reference."""

from __future__ import annotations

import dataclasses

import numpy as np
from bad import Bad

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.baselines.phase_prior import PhasePriorTracker
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.checks import begin, check_clip, next_frame
from fluoro_jax.tracking.learned import TrainingDomain
from fluoro_jax.tracking.resample import interleave, make_resampler
from fluoro_jax.tracking.tracker import track_clip

VIEW = square_panel(8)
LEARNED = TrainingDomain.from_study(dataclasses.asdict(StudySpec(rows=8, cols=8)))
FRAMES = np.full((3, 8, 8), 4.0, np.float32)
SHAPE = np.pad(np.ones((2, 2)), 3)


def _clip(**changed):
    values = {"frames": FRAMES, "time_s": np.array([0.0, 0.5, 1.0]), "geometry": VIEW}
    return Clip(**{**values, **changed})


def _network(reference=None, **changed):
    """By the check that every network calls in `track_clip`, `init` and `step`."""
    return lambda folder: check_clip(_clip(**changed), LEARNED, reference)


def _baseline(tracker, reference=None, **changed):
    return lambda folder: track_clip(tracker, _clip(**changed), reference)


def _view(**changed):
    return dataclasses.replace(VIEW, **changed)


def _step(frame, time_s=0.5):
    def call(folder):
        check = begin(VIEW, None, domain="line_integral", learned=LEARNED)
        check, _ = next_frame(check, FRAMES[0] + SPINE, 0.0)
        next_frame(check, frame, time_s)

    return call


def _with_nan():
    frames = FRAMES.copy()
    frames[1, 2, 3] = np.nan
    return frames


SPINE = np.zeros((8, 8), np.float32)
SPINE[:, 3:5] = 2.0
STATIC = StaticTracker(SHAPE, np.array([3.0, 3.0]))
PRIOR = PhasePriorTracker(SHAPE, np.array([[3.0, 3.0], [4.0, 3.0]]))
TIMED = PhasePriorTracker.fit(
    {
        "mask": SHAPE[None, None],
        "centroid_px": np.full((1, 1, 2), 3.5),
        "time_s": np.array([[0.0, 0.5]]),
    }
)
EMPTY = (FRAMES[0], np.zeros((8, 8)))
OTHER = (FRAMES[0], np.ones((8, 9)))
TALL = (np.ones((9, 8)), np.ones((8, 8)))
FEW = _view(pixel_mm=(600.0, 600.0))

ROWS = [
    Bad("counts", _network(domain="counts"), ("'counts'", "line_integral")),
    Bad("display", _network(domain="display"), ("'display'",)),
    Bad("domain", _network(domain="inverse"), ("'inverse'", "one of")),
    Bad("gantry nan", _network(geometry=_view(gantry_deg=np.nan)), ("gantry_deg",)),
    Bad("gantry", _network(geometry=_view(gantry_deg=90.0)), ("gantry_deg = 90",)),
    Bad("sad", _network(geometry=_view(sad_mm=0.0)), ("sad_mm = 0",)),
    Bad("sdd", _network(geometry=_view(sdd_mm=900.0)), ("sdd_mm = 900",)),
    Bad("panel", _network(geometry=_view(offset_mm=(1e6, 0.0))), ("offset_mm[0]",)),
    Bad("shifted", _network(geometry=_view(offset_mm=(0.0, 300.0))), ("to the right",)),
    Bad("width", _network(geometry=_view(pixel_mm=(60.0, 90.0))), ("40 x 60 mm",)),
    Bad(
        "pixel nan", _network(geometry=_view(pixel_mm=(np.nan, 5.0))), ("pixel_mm[0]",)
    ),
    Bad("pixel 0", _network(geometry=_view(pixel_mm=(60.0, 0.0))), ("pixel_mm[1]",)),
    Bad("scale", _network(geometry=FEW), ("8 x 8 pixels of 400 mm", "fluoro track")),
    Bad("grid", _network(geometry=square_panel(9)), ("9 x 9 pixels",)),
    Bad("15 Hz", _network(time_s=np.arange(3) / 15.0), ("0.06667 s", "0.5 s")),
    Bad("1 Hz", _network(time_s=np.arange(3.0)), ("1 s between",)),
    Bad("backwards", _network(time_s=-np.arange(3.0)), ("increase",)),
    Bad("same time", _network(time_s=np.zeros(3)), ("increase",)),
    Bad("time nan", _network(time_s=np.array([0.0, np.nan, 1.0])), ("nan s",)),
    Bad("time inf", _network(time_s=np.array([0.0, 0.5, np.inf])), ("inf s",)),
    Bad("times", _network(time_s=np.zeros(2)), ("one time a frame",)),
    Bad("no frames", _network(frames=FRAMES[:0], time_s=np.zeros(0)), ("T >= 1",)),
    Bad("one frame", _network(frames=FRAMES[0]), ("[T, H, W]",)),
    Bad("nan", _network(frames=_with_nan()), ("frame 1 holds", "finite numbers")),
    Bad("reference", _network(reference=OTHER), ("reference mask of shape (8, 9)",)),
    Bad("reference frame", _network(reference=TALL), ("reference frame of shape",)),
    Bad("no reference", _network(reference=EMPTY), ("reference mask is empty",)),
    Bad("step nan", _step(np.full((8, 8), np.nan)), ("64 values", "go on with")),
    Bad("step shape", _step(np.zeros((8, 9))), ("shape (8, 9)",)),
    Bad("step counts", _step(np.full((8, 8), 6e4)), ("look like counts",)),
    Bad("step time", _step(FRAMES[0], 0.0), ("increase",)),
    Bad("step 15 Hz", _step(FRAMES[0], 1 / 15), ("0.06667 s",)),
    Bad("step gap", _step(FRAMES[0], 60.0), ("60 s between", "init")),
    Bad("static: backwards", _baseline(STATIC, time_s=-np.arange(3.0)), ("increase",)),
    Bad("static: nan", _baseline(STATIC, frames=_with_nan()), ("not finite",)),
    Bad("static: grid", _baseline(STATIC, geometry=square_panel(9)), ("9 x 9",)),
    Bad("static: reference", _baseline(STATIC, OTHER), ("(8, 9)",)),
    Bad(
        "prior: panel", _baseline(PRIOR, geometry=_view(offset_mm=(1e6, 0))), ("1e+06",)
    ),
    Bad("prior: 15 Hz", _baseline(TIMED, time_s=np.arange(3) / 15.0), ("0.06667 s",)),
    Bad("prior: empty", _baseline(PRIOR, EMPTY), ("empty",)),
    Bad(
        "resample: small",
        lambda f: make_resampler(square_panel(8, detector_mm=99.0), LEARNED),
        ("field of view",),
    ),
    Bad(
        "resample: rare", lambda f: interleave(np.arange(5.0), 0.5), ("between usable",)
    ),
]
