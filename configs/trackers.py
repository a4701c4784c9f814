"""Every tracker on every scenario: the table of rivals, networks and your own tracker.

Command:  python -m launch.compare --config=configs/trackers.py:cpu --workdir=DIR
          ... --only=static_frame0,my_module:MyTracker --scenarios=clinic,drift
Hardware: `:cpu` two cores; none (`full`) the same table over 30 patients; `:smoke` for
          tests.
Time:     see docs/compare.md.
Expected: docs/compare.md says what the columns mean.

Not a config of a training run: the keys are those of
fluoro_jax/experiments/compare/settings.py. All values are ours. Clips are of `SEEDS`
(experiments/compare/scenarios.py); "tuning" is for development and for every choice.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.base import check_preset
from fluoro_jax.config import Config
from fluoro_jax.experiments.compare.scenarios import SCENARIOS

PRESETS = ("smoke", "cpu", "full")
TRACKERS = (
    *("static_blind", "static_frame0", "phase_prior_blind", "phase_prior_frame0"),
    *("template_fixed", "template_updated", "flow_reference", "flow_successive"),
    "flow_contour",
    *("group-cpu@0", "group-cpu@whole"),
)


def get_config(preset: str = "full") -> Config:
    """The comparison at scale `preset`: trackers, scenarios, clips and forecasts."""
    preset = preset or "full"
    check_preset(preset, PRESETS)
    c = ConfigDict(dict(name=f"trackers_{preset}"))
    c.trackers = TRACKERS
    c.scenarios = tuple(SCENARIOS)
    c.clips = dict(
        seeds="test",  # or "tuning", whose cases may be looked at for choices
        cases=30,  # patients a scenario
        seconds=30.0,
        frames_per_s=4.0,
        rows=256,
        detector_mm=480.0,
        voxel_mm=2.0,
        phases=10,  # of the planning scan
        phases_voxel_mm=5.0,
    )
    c.training = dict(study="group", seed=2020, cases=110)
    c.evaluation = dict(bootstrap=10_000, seed=0)
    c.forecast = dict(
        horizons_s=(0.1, 0.25, 0.5),
        unscored_s=20.0,  # at the beginning, for every forecaster
        window_s=20.0,
        tap_s=0.25,
        taps=6,
        line_s=0.5,
        ridge=0.01,
        forgetting=0.99,
        step=0.2,
        kernel_mm=1.0,
        trials=1,
    )
    if preset == "cpu":
        c.clips.update(cases=6, seconds=20.0, voxel_mm=3.0)
        c.training.cases = 40
        c.forecast.unscored_s = 8.0  # of clips of 20 s
    if preset == "smoke":
        c.trackers = ("static_frame0", "phase_prior_blind")
        c.scenarios = ("clinic", "gain")
        c.clips.update(cases=2, seconds=4.0, rows=32, voxel_mm=8.0)
        c.clips.phases_voxel_mm = 8.0
        c.training.cases = 2
        c.evaluation.bootstrap = 100
        c.forecast.unscored_s = 1.0
    return c
