"""What trackers trained at build time reach on training clips left out.

    python -m fluoro_jax.tracking.baselines.tune_learned

trains every setting on 40 training cases of the group study and prints its errors on
the eight others that `tune.py` uses, with the seconds of training (docs/rivals.md).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.tracking.baselines.propagation import PropagationTracker
from fluoro_jax.tracking.baselines.siamese import SiameseTracker
from fluoro_jax.tracking.baselines.tune import training_clips, tune
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


def main() -> None:
    """Prints every setting that is there, its errors and the seconds of training."""
    clips = training_clips(TESTED + TRAINED)
    arrays = arrays_of(clips[TESTED:])
    for name, (build, settings) in GRIDS.items():
        for setting in settings:
            start = time.perf_counter()
            tracker = build(arrays, **setting)
            took_s = time.perf_counter() - start
            kept = functools.partial(lambda tracker, **_: tracker, tracker)
            (trial,) = tune(kept, [setting], clips[:TESTED])
            words = ", ".join(f"{key} {value}" for key, value in setting.items())
            errors = f"{trial.median_mm:.2f} {trial.p95_mm:.2f} mm"
            print(f"{name}: {errors}; {words}; trained in {took_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
