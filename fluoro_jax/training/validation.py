"""Computes IoU and centroid error on the validation split during training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fluoro_jax import metrics
from fluoro_jax.data.batches import validation_clips
from fluoro_jax.geometry import iso_pixel_mm, px_to_iso_mm
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.network import forward
from fluoro_jax.tracking.window_answer import window_answer

PyTree = Any
Net = Any  # a linen module


class Validation:
    """IoU and centroid error of the averaged weights on the validation cases.

    Args:
        cfg: study, data, evaluation.{threshold, answer, outline, half_cells}.
        gen: the generator.
        data_dir: where the study's dataset stands or is built.
    """

    def __init__(self, cfg: Any, gen: Net, data_dir: Path) -> None:
        spec = StudySpec.from_config(cfg.study)
        self._geometry, self._threshold = spec.geometry(), cfg.evaluation.threshold
        # As the tracker that will be tested.
        self._answer = partial(
            window_answer,
            answer=cfg.evaluation.answer,
            outline=cfg.evaluation.outline,
            threshold=self._threshold,
            pixel_mm=np.array(iso_pixel_mm(self._geometry)),
            frame_s=cfg.study.frame_s,
        )
        self._frames, self._mask = validation_clips(cfg, data_dir)
        # No more than the cases there are: a larger chunk would compute the same ones
        # twice.
        self._chunk = min(cfg.data.batch_size, len(self._frames))
        half = cfg.evaluation.half_cells
        self._predict = partial(forward, gen, cfg.data.stack, half_cells=half)

    def __call__(self, ema: PyTree) -> dict[str, float]:
        """Returns the means over all frames with a tumour.

        Args:
            ema: the averaged parameters.

        Returns:
            `eval/iou` [1]; `eval/vertical_mm` and `eval/horizontal_mm`, centroid of
            mask to centroid of mask in the isocentre plane, mm;
            `eval/empty_predictions`, a fraction of the frames.
        """
        # From the host: a program on arrays of all processes would wait for those,
        # which do not validate.
        prob = self._probabilities(jax.device_get(ema))
        prob = np.stack([self._answer(clip) for clip in prob])
        pred = prob >= self._threshold
        # An empty prediction has half the frame's diagonal for its distance
        # (`metrics.centroid_px`).
        shift_px = np.abs(metrics.centroid_px(pred, self._mask))
        shift_mm = np.asarray(px_to_iso_mm(self._geometry, shift_px))
        seen = self._mask.any(axis=(-2, -1))
        mean = lambda values: float(np.mean(values[seen])) if seen.any() else np.nan
        empty = metrics.is_empty_prediction(pred, self._mask)
        return {
            "eval/iou": mean(metrics.iou(pred, self._mask)),
            "eval/vertical_mm": mean(shift_mm[..., 0]),
            "eval/horizontal_mm": mean(shift_mm[..., 1]),
            "eval/empty_predictions": mean(empty),
        }

    def _probabilities(self, params: PyTree) -> np.ndarray:
        """`[N, T, H, W]`, in chunks of one size so that there is one program."""
        size, count = self._chunk, len(self._frames)
        parts = []
        for start in range(0, count, size):
            # The last chunk is filled up with the first cases, whose answers are cut
            # off again.
            rows = np.arange(start, start + size) % count
            parts.append(np.asarray(self._predict(params, self._frames[rows])))
        return np.concatenate(parts)[:count]
