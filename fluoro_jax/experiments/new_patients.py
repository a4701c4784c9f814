"""Fresh simulated tumours on patients of the training and on new ones, by size.

Better on those of the training: the network remembers them, and more of them may help.
The clips are of training's own kind, each of another patient, and are in no table of
the studies. Patients of the training are drawn evenly from all that its pool has held:
those at its end it met when its rate was near 0. New ones are of another run's seed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from fluoro_jax.data.batches import SimulatorSource
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.statistics import FEW, bootstrap_mean
from fluoro_jax.experiments.flags import whole_number
from fluoro_jax.geometry import iso_pixel_mm
from fluoro_jax.io.files import write_text
from fluoro_jax.metrics import iou
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.network import forward
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.training.precision import describe_precision

NEW_SEED = 10_000  # added to the run's, whose patients training never saw
BANDS_MM = (0.0, 10.0, 14.0, 20.0, 28.0, np.inf)  # ours
LOST_IOU = 0.1  # ours: a mask that overlaps the tumour by less is of something else
WHO = {"trained": "patients of the training", "new": "new patients"}


@dataclass(frozen=True)
class Scored:
    """Holds clips of one kind of patient.

    Attributes:
        diameter_mm: `[N]` of the disc of the true mask's area, mm at the isocentre.
        iou: `[N]` of the whole masks, averaged over a clip's frames.
    """

    diameter_mm: np.ndarray
    iou: np.ndarray


def evaluate_on_new_patients(
    cfg: Any,
    workdir: str | Path,
    *,
    count: str = "256",  # text, as the command line's flags hand it over
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """Scores a trained run on fresh clips; prints and writes the table.

    Args:
        cfg: the run's config.
        workdir: of the run; takes tables/new_patients.json.
        count: clips of either kind of patient, a whole number.
        data_dir: not used; every verb is given it.

    Returns:
        What was written: `rows` by kind of patient and size, and what made them.

    Raises:
        UserError: no checkpoint, a run without fresh clips or without other patients,
            or no whole number.
    """
    number = whole_number(
        "count", count, least=1, why="it counts the clips of either kind", example=256
    )
    _check_has_others(cfg)
    path = Path(workdir) / "tables" / "new_patients.json"
    generator, params, step = restore_generator(cfg, workdir)
    # Before the work, which would be lost.
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {}
    for kind, words in WHO.items():
        clips = _clips(cfg, kind, step, number)
        shown = tqdm(clips, total=number, desc=words, unit="clip", leave=False)
        rows[kind] = table(_scored(cfg, generator, params, shown), cfg)
    found = {
        "count": number,
        "step": step,
        "patients": _seen(cfg, step)[1],
        "config": cfg.to_dict(),
        "precision": describe_precision(cfg),
        "rows": rows,
    }
    write_text(path, json.dumps(found, indent=1, allow_nan=False) + "\n")
    print(markdown(found))
    print(f"numbers: {path}")
    return found


def _check_has_others(cfg: Any) -> None:
    """Refuses a run that draws no fresh clips, or whose patients are given."""
    if cfg.data.source != "simulator":
        raise UserError(
            f'data.source = "{cfg.data.source}"',
            needed='a run with data.source = "simulator"',
            why="others see stored cases, of which there are no fresh ones",
            fix="launch.evaluate scores it on its stored test cases",
        )
    of_sets = StudySpec.from_config(cfg.study).study.of_sets
    if of_sets or cfg.data.bodies != "phantom":
        raise UserError(
            f'study.name = "{cfg.study.name}", data.bodies = "{cfg.data.bodies}"',
            needed="a run that simulates its patients",
            why="its patients are given, so there are no new ones",
            fix="launch.evaluate scores it on its test cases",
        )


def _clips(
    cfg: Any, kind: str, step: int, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields frames and masks `[T, H, W]` of fresh clips."""
    # The micro-batches that training would go on with: their tumours are fresh.
    index, patients = _seen(cfg, step)
    if kind == "new":
        cfg = ConfigDict(cfg.to_dict())  # a verb's own config is frozen
        cfg.seed += NEW_SEED
    source, made = _EvenSource(cfg, patients), 0
    while made < count:
        batch = source.batch_at(index)
        for frames, mask in zip(batch["frames"], batch["mask"], strict=True):
            if made < count:
                yield np.asarray(frames), np.asarray(mask)
            made += 1
        index += 1


def _seen(cfg: Any, step: int) -> tuple[int, int]:
    """How many micro-batches, and patients of their pool, came before a step."""
    updates = max(cfg.train.gen_updates, cfg.train.critic_updates)
    count = step * updates * cfg.train.accumulate
    return count, cfg.data.pool_bodies + max(count - 1, 0) // cfg.data.renew_every


class _EvenSource(SimulatorSource):
    """Every clip of another one of the first so many patients of a run, in any order.

    When all have had their turn, they begin again.
    """

    def __init__(self, cfg: Any, patients: int) -> None:
        super().__init__(cfg, process=(0, 1))
        order = np.random.default_rng(cfg.seed).permutation(patients)
        self._numbers = itertools.cycle(int(number) for number in order)

    def _patient(self, slot: int, renewals: int) -> Any:
        return self._new_patient(slot, next(self._numbers))


def _scored(cfg: Any, generator: Any, params: Any, clips: Any) -> Scored:
    half = cfg.evaluation.half_cells
    answer = partial(forward, generator, cfg.data.stack, params, half_cells=half)
    down, right = iso_pixel_mm(StudySpec.from_config(cfg.study).geometry())
    sizes, overlaps = [], []
    for frames, mask in clips:
        if not mask.any():  # smaller than a pixel, or outside the panel
            continue
        predicted = np.asarray(answer(frames[None]))[0] >= cfg.evaluation.threshold
        area_mm2 = mask.sum() / len(mask) * down * right
        sizes.append(2.0 * np.sqrt(area_mm2 / np.pi))
        # NaN in a frame without a tumour.
        overlaps.append(np.nanmean(np.asarray(iou(predicted, mask > 0.5))))
    return Scored(np.array(sizes), np.array(overlaps))


def table(scored: Scored, cfg: Any) -> list[dict[str, Any]]:
    """Returns a row of all clips, and one of each size; none without a clip.

    Args:
        scored: the clips.
        cfg: reads evaluation.bootstrap and seed.

    Returns:
        label, n, iou and its 95 % interval over clips (None under `FEW` of them), lost
        (share with an IoU under `LOST_IOU`) and iou_found (of the others, or None).
    """
    size, groups = scored.diameter_mm, {"all": scored.iou}
    for least, most in itertools.pairwise(BANDS_MM):
        groups[_words(least, most)] = scored.iou[(size >= least) & (size < most)]
    return [_row(label, some, cfg) for label, some in groups.items() if len(some)]


def _words(least: float, most: float) -> str:
    if not least:
        return f"under {most:g} mm"
    return f"{least:g} to {most:g} mm" if np.isfinite(most) else f"from {least:g} mm on"


def _row(label: str, values: np.ndarray, cfg: Any) -> dict[str, Any]:
    found = values[values >= LOST_IOU]
    interval = bootstrap_mean(values, resamples=cfg.evaluation.bootstrap, seed=cfg.seed)
    return {
        "label": label,
        "n": len(values),
        "iou": interval.mean,
        "low": interval.low if len(values) >= FEW else None,
        "high": interval.high if len(values) >= FEW else None,
        "lost": float(np.mean(values < LOST_IOU)),
        "iou_found": float(found.mean()) if len(found) else None,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Returns the table as Markdown with its caption."""
    head = (
        "diameter",
        *(f"{w}: clips | IoU | lost [%] | IoU of the others" for w in WHO.values()),
    )
    lines = [
        f"# {found['config']['name']}: fresh tumours, step {found['step']}",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * (1 + 4 * len(WHO)) + "|",
    ]
    by_kind = [{r["label"]: r for r in rows} for rows in found["rows"].values()]
    sizes = [_words(*band) for band in itertools.pairwise(BANDS_MM)]
    for label in ("all", *sizes):
        if not any(label in rows for rows in by_kind):
            continue
        cells = [_cells(rows.get(label)) for rows in by_kind]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    caption = (
        f"Whole masks at p >= {found['config']['evaluation']['threshold']:g}; up to "
        f"{found['patients']} clips each of another patient. IoU: mean over clips of "
        "the mean over frames, with its 95 % interval; lost: IoU under "
        f"{LOST_IOU:g}. "
        "Diameter: of the disc of the mask's area, mm at the isocentre."
    )
    return "\n".join([*lines, "", caption])


def _cells(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "0 | | |"
    spread = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    found = "" if row["iou_found"] is None else f"{row['iou_found']:.3f}"
    return f"{row['n']} | {row['iou']:.3f}{spread} | {100 * row['lost']:.0f} | {found}"
