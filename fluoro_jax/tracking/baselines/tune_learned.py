"""What trackers trained at build time reach on training clips left out.

    python -m fluoro_jax.tracking.baselines.tune_learned [siamese] [mask_propagation]

trains on 40 training cases of the group study and prints the errors on the eight others
that `tune.py` uses and on an easy clip, with the seconds of training (docs/rivals.md):
of the chosen setting of the trackers named, or of every setting.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.geometry import square_panel
from fluoro_jax.sim.body.anatomy import Anatomy
from fluoro_jax.sim.body.breathing import Breathing
from fluoro_jax.sim.fluoroscope import Case, simulate
from fluoro_jax.sim.tumor.tumor import Tumor
from fluoro_jax.tracking.baselines.propagation import PropagationTracker
from fluoro_jax.tracking.baselines.siamese import SiameseTracker
from fluoro_jax.tracking.baselines.tune import errors_mm, training_clips, tune
from fluoro_jax.tracking.tracker import Tracker

TESTED, TRAINED = 8, 40  # training cases that are left out, and those after them
Settings = Sequence[Mapping[str, Any]]
GRIDS: Mapping[str, tuple[Callable[..., Tracker], Settings]] = {
    "siamese": (SiameseTracker.fit, ({"steps": 200}, {"steps": 1000})),
    "mask_propagation": (PropagationTracker.fit, ({"steps": 600},)),
}


def arrays_of(clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """Returns what trackers learn from, of clips of one size.

    Returns:
        dict of frames `[N, T, H, W]` float32, mask `[N, T, H, W]` uint8 in {0, 1},
        centroid_px `[N, T, 2]` and time_s `[N, T]`, as `data.dataset.load_split` has
        them.
    """
    names = ("frames", "mask", "centroid_px", "time_s")
    arrays = {n: np.stack([np.asarray(getattr(c, n)) for c in clips]) for n in names}
    return arrays | {"mask": (arrays["mask"] >= 0.5).astype(np.uint8)}


def easy_case() -> tuple[Case, Clip]:
    """Returns a tumour of 30 mm in free lung that breathes evenly, and its clip.

    128 x 128 pixels, 10 frames, motion of 20 mm (SI) and 8 mm (AP), no noise.
    """
    centre_mm = np.array([-70.0, 15.0, 35.0], np.float32)
    tumor = Tumor(centre_mm, diameter_mm=30.0, si_mm=20.0, ap_mm=8.0)
    time_s = 0.5 * np.arange(10, dtype=np.float32)
    case = Case(Anatomy(), Breathing(5.0, 24.0, 12.0), tumor, time_s)
    return case, simulate(case, square_panel(128), voxel_mm=4.0)


def main(names: Sequence[str]) -> None:
    """Prints settings, their errors and the seconds of training.

    Args:
        names: of trackers, for the chosen setting of each; none for every setting.
    """
    clips = training_clips(TESTED + TRAINED)
    arrays, (_, easy) = arrays_of(clips[TESTED:]), easy_case()
    for name in names or GRIDS:
        build, settings = GRIDS[name]
        for setting in settings[-1:] if names else settings:
            start = time.perf_counter()
            tracker = build(arrays, **setting)
            took_s = time.perf_counter() - start
            kept = functools.partial(lambda tracker, **_: tracker, tracker)
            (trial,) = tune(kept, [setting], clips[:TESTED])
            words = ", ".join(f"{key} {value}" for key, value in setting.items())
            errors = f"{trial.median_mm:.2f} {trial.p95_mm:.2f} mm"
            away = errors_mm(tracker, easy)
            print(f"{name}: {errors}; {words}; trained in {took_s:.0f} s", flush=True)
            print(f"  easy clip: {np.median(away):.2f}, largest {away.max():.2f} mm")


if __name__ == "__main__":
    main(sys.argv[1:])
