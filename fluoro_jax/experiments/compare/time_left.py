"""Says on stderr, part by part, how long a run has taken and will take."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm


class TimeLeft:
    """Prints a line after every part; seen in a log as well, where a bar is not.

    Args:
        verb: stands before every line.
        total: of the run, in what parts are counted in.
    """

    def __init__(self, verb: str, total: int) -> None:
        self._verb, self._total = verb, total
        self._done, self._begun = 0, time.perf_counter()

    def __call__(self, part: str, count: int = 1) -> None:
        """Says that a part is through, which counts as `count` of the total."""
        self._done += count
        spent_min = (time.perf_counter() - self._begun) / 60
        left_min = spent_min * (self._total / self._done - 1)
        # By tqdm, which moves a bar that is shown out of the way.
        tqdm.write(
            f"[{self._verb}] {part} after {spent_min:.1f} min; about "
            f"{left_min:.0f} min left",
            file=sys.stderr,
        )
