"""Collects a run's numbers, shows and writes them, and says when to give up."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from fluoro_jax.errors import UserError
from fluoro_jax.training import optim
from fluoro_jax.training.progress import Progress
from fluoro_jax.training.step import Averages, merge
from fluoro_jax.training.writer import Writer

# Ours: below it the sigmoid's slope p (1 - p) is under 1 %, and the mask does not come
# back.
COLLAPSED_BELOW = 0.01  # mean probability on the tumour's own pixels


class RunMonitor:
    """The numbers of one run; a context that closes its files.

    Args:
        cfg: the run's config; reads train, loss and gen_opt.
        workdir: takes metrics.jsonl and tb/.
        start: the step the run begins or goes on at.
        until: see `Progress`.
    """

    def __init__(
        self, cfg: Any, workdir: Path, start: int, until: float | None = None
    ) -> None:
        self._cfg, self._last, self._since = cfg, start, time.monotonic()
        self._collected: list[Averages] = []
        # Process 0 alone writes: the averages are the same in all.
        first = jax.process_index() == 0
        self._writer = Writer(workdir, resumed_step=start) if first else None
        self.progress = Progress(start, cfg.train.num_steps, until)

    def __enter__(self) -> RunMonitor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.close()
        if self._writer is not None:
            self._writer.close()

    def collect(self, averages: Averages) -> None:
        """Keeps what an update returned, on the device, until the next `log`."""
        # Not read here: reading would wait for the device after every update.
        self._collected.append(averages)

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Writes and shows the validation of the state before `step`."""
        self._write(step, values)
        self.progress.show(values)
        self.progress.say(
            f"step {step}: validation IoU {values['eval/iou']:.3f}, error "
            f"{values['eval/vertical_mm']:.1f} mm vertical, "
            f"{values['eval/horizontal_mm']:.1f} mm horizontal"
        )

    def log(self, step: int, skipped: jax.Array) -> None:
        """Averages since the last call, then the two reasons to stop.

        Args:
            step: steps done.
            skipped: the state's counter of updates that were not finite.

        Raises:
            UserError: more than `train.max_skipped` skipped updates, or a generator
                that answers with the empty mask.
        """
        # The one transfer of a log step, outside of the loop's transfer guard.
        total_skipped = int(jax.device_get(skipped))
        values, self._collected = merge(self._collected), []
        now = time.monotonic()
        train, opt = self._cfg.train, self._cfg.gen_opt
        rate = optim.learning_rate(opt, train.num_steps * train.gen_updates)
        row = {f"train/{name}": value for name, value in values.items()}
        # The rate of the window's last step: a schedule counts updates, and a step has
        # several.
        row["train/learning_rate"] = float(
            np.asarray(rate((step - 1) * train.gen_updates))
        )
        row["train/skipped"] = float(total_skipped)
        row["train/steps_per_s"] = (step - self._last) / (now - self._since)
        self._write(step, row)
        if "loss" in values:
            self.progress.show({"loss": values["loss"]})
        # Judged after the row is written, so that the reason to stop stands in the log.
        self._judge_skipped(step, total_skipped)
        self._judge_collapse(step, values)
        self._last, self._since = step, now

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            self._writer.write(step, values)

    def _judge_skipped(self, step: int, total: int) -> None:
        limit = self._cfg.train.max_skipped
        if total <= limit:
            return
        raise UserError(
            f"{total} updates were not finite, the last between steps {self._last} "
            f"and {step}",
            needed=f"at most {limit} (train.max_skipped)",
            why="each was skipped and changed nothing; so many mean that it diverges",
            fix="a lower gen_opt.learning_rate or critic_opt.learning_rate, a lower "
            "clip_norm, or float32 as gen.dtype; then a new --workdir",
        )

    def _judge_collapse(self, step: int, values: dict[str, float]) -> None:
        # Missing if every update of the window was skipped: no collapse,
        # `_judge_skipped` knows.
        on_truth = values.get("p_on_truth", 1.0)
        after = self._cfg.train.collapse_after
        if step < after or on_truth >= COLLAPSED_BELOW:
            return
        raise UserError(
            f"the generator answers with empty masks: mean probability {on_truth:.4f} "
            f"on tumour pixels, steps {self._last} to {step}",
            needed=f"at least {COLLAPSED_BELOW} from step {after} on "
            "(train.collapse_after)",
            why="L_1 and L_ssim fall fastest towards an empty mask, where the sigmoid "
            "has no gradient left",
            fix="a longer loss.warmup_steps, loss.cross_entropy = 1.0, or a lower "
            "gen_opt.learning_rate; then a new --workdir",
        )
