"""Every tracker on every scenario: the table of rivals, networks and your own tracker.

Command:  python -m launch.compare --config=configs/trackers.py:cpu --workdir=DIR
          ... --only=static_frame0,my_module:MyTracker --scenarios=clinic,drift
Hardware: `:cpu` two cores; none (`full`) 30 patients a scenario, a machine of many
          cores; `:smoke` for tests.
Time:     `:cpu` with a CT about 42 min on two cores of an AMD EPYC (AVX-512); a line
          after every scenario says what is left.
Expected: README and docs/results/trackers_cpu; docs/compare.md says what the columns
          mean.

Not a config of a training run: the keys are those of
fluoro_jax/experiments/compare/settings.py. All values are ours. Clips are of `SEEDS`
(experiments/compare/scenarios.py); "tuning" is for development and for every choice.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.base import check_preset
from fluoro_jax.config import Config
from fluoro_jax.experiments.compare.scenarios import SCENARIOS
from fluoro_jax.tracking.baselines.registry import RIVALS

PRESETS = ("smoke", "cpu", "full")
# A network given nothing, by its last frame and by its motion, and given what
# templates and flow are given; one trained on with clutter; one of single frames.
NETWORKS = (
    *("causal-cpu@0", "causal-cpu@0+followed", "causal-cpu@0+frame0"),
    *("causal-clutter@0+followed", "causal-clutter@0+frame0"),
    *("one-shot-cpu@0", "one-shot-cpu@0+followed"),
)
TRACKERS = (*RIVALS, *NETWORKS, "group@whole")
# On two cores without those whose planning phases are registered for every patient, and
# without the whole window, which is computed for every frame.
QUICK = (*(n for n, r in RIVALS.items() if r.knowledge != "phases"), *NETWORKS)


def get_config(preset: str = "full") -> Config:
    """The comparison at scale `preset`: trackers, scenarios, clips and forecasts."""
    preset = preset or "full"
    check_preset(preset, PRESETS)
    c = ConfigDict(dict(name=f"trackers_{preset}"))
    c.trackers = QUICK if preset == "cpu" else TRACKERS
    c.scenarios = tuple(SCENARIOS)
    c.clips = _clips(preset)
    c.training = dict(study="group", seed=2020, cases=_of(preset, 110, 40, 2))
    c.evaluation = dict(bootstrap=_of(preset, 10_000, 10_000, 100), seed=0)
    c.forecast = dict(
        of="",  # the table's first causal network; or a tracker by name
        horizons_s=(0.1, 0.25, 0.5),
        # At the beginning, for every forecaster; half of a clip at `cpu`.
        unscored_s=_of(preset, 20.0, 6.0, 1.0),
        # Chosen on 20 tracked traces of the tuning seeds (10 scenarios, 24 s each,
        # docs/compare.md); trials: settings tried.
        linear=dict(line_s=0.25, trials=4),
        ridge=dict(window_s=20.0, tap_s=0.5, taps=8, ridge=0.01, trials=20),
        rls=dict(tap_s=0.5, taps=8, ridge=1.0, forgetting=1.0, trials=19),
        nlms=dict(tap_s=0.5, taps=12, step=0.2, trials=26),
        kernel_density=dict(
            window_s=20.0, tap_s=0.25, taps=8, kernel_mm=0.5, trials=19
        ),
        lstm=dict(trials=6),  # on simulated breaths
    )
    if preset == "smoke":
        c.trackers = ("static_frame0", "phase_prior_blind")
        c.scenarios = ("clinic", "gain")
    return c


def _clips(preset: str) -> dict[str, Any]:
    return dict(
        seeds="test",  # or "tuning", whose cases may be looked at for choices
        cases=_of(preset, 30, 15, 2),  # patients a scenario
        seconds=_of(preset, 30.0, 12.0, 4.0),
        frames_per_s=5.0,  # as the causal networks are trained
        most_frames=_of(preset, 450, 120, 120),  # 15 frames a second: 30 s, 8 s
        rows=_of(preset, 256, 256, 32),
        detector_mm=480.0,
        voxel_mm=_of(preset, 2.0, 3.0, 8.0),
        # In the workdir, for other scenarios and verbs: 4 GB at `cpu`, 16 GB in full.
        keep=_of(preset, False, True, False),
        phases=10,  # of the planning scan
        phases_voxel_mm=_of(preset, 5.0, 5.0, 8.0),
    )


def _of(preset: str, full: Any, cpu: Any, smoke: Any) -> Any:
    return {"full": full, "cpu": cpu, "smoke": smoke}[preset]
