"""Real anatomy: simulated tumours in an animated CT, tracked by a phantom's network.

The table says how far the phantom carries: bones, vessels, hila and heart are a real
patient's, the breath and the tumours (spheres at random sites) are simulated. Position
errors are of a case's mean distance, in the isocentre plane. The true outline of
frame 0 is also moved along the same answers, by a template, by both, and held still for
comparison.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fluoro_jax.clip import Clip, Track
from fluoro_jax.config import reads_ahead
from fluoro_jax.evaluation.evaluate import masks_of
from fluoro_jax.experiments.ct_clips import clips
from fluoro_jax.experiments.flags import whole_number
from fluoro_jax.geometry import Geometry, iso_pixel_mm
from fluoro_jax.io.ct import read_ct
from fluoro_jax.io.files import expand_path, write_text
from fluoro_jax.metrics import iou
from fluoro_jax.report.figures import Example, overlays
from fluoro_jax.sim.ct import ct_volume
from fluoro_jax.stages import stage
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.anchored import APART_MM, anchor, beside
from fluoro_jax.tracking.confidence import area_under_curve
from fluoro_jax.tracking.networks import network_tracker
from fluoro_jax.tracking.tracker import Tracker, make_track, track_clip
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.training.precision import describe_precision
from fluoro_jax.zoo import find, load

# Ours, as is `LARGE_MM`.
FOUND_MM = 3.0
LARGE_MM = 18.0  # tumours from here on are also counted apart
# What answers: the network given nothing; and the outline of frame 0, moved along the
# network's answers, by a template beside them, by the template alone, or held still. As
# in the tables of a study.
OURS, MOVED, GUARDED = "ours", "ours + frame 0", "ours + template + frame 0"
TEMPLATE, HELD = "template + frame 0", "static + frame 0"
SHOWN = 4  # tumours in the picture
SHOWN_CAPTION = "The first tumours that were drawn, not chosen by their result."


@dataclass(frozen=True)
class Answer:
    """What was said of one tumour.

    Attributes:
        diameter_mm: of the sphere.
        distance_mm: `[T]` to the true centroid, in the isocentre plane; NaN where the
            prediction is empty.
        iou: `[T]` of the masks.
        confidence: `[T]` the tracker's own.
        pred: `[T, H, W]` predicted masks.
    """

    diameter_mm: float
    distance_mm: np.ndarray
    iou: np.ndarray
    confidence: np.ndarray
    pred: np.ndarray

    @property
    def mean_mm(self) -> float:
        """Mean distance over the frames; infinite if a frame has no prediction."""
        lost = np.isnan(self.distance_mm).any()
        # Infinite, not left out: a median over tumours then ranks an empty prediction
        # last.
        return np.inf if lost else float(self.distance_mm.mean())


def _lookahead(cfg: Any) -> int:
    """The whole window, as the network was trained; none where it is causal."""
    return cfg.study.num_frames - 1 if reads_ahead(cfg) else 0


def evaluate_in_ct(
    cfg: Any,
    workdir: str | Path,
    *,
    ct: str,
    # Text, as the command line's flags hand it over.
    count: str = "48",
    sites_seed: str = "0",
    model: str = "",
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """Tracks simulated tumours in a CT with a trained run; writes table and picture.

    Args:
        cfg: the run's config.
        workdir: of the run, or any folder with `model`; takes tables/real_anatomy.json
            and figures/real_anatomy.png.
        ct: file or folder of a whole chest.
        count: tumours, a whole number.
        sites_seed: of their sites and sizes, a whole number.
        model: published weights in place of the run's (`zoo.find`), with their config.
        data_dir: not used; every verb is given it.

    Returns:
        `table` of the answers, and what it was made from.

    Raises:
        UserError: no checkpoint, no such weights, a CT that cannot be used, or no whole
            number.
    """
    cfg, generator, params, step = _network(cfg, workdir, model)
    number = whole_number(
        "count", count, least=1, why="it counts the tumours", example=48
    )
    seed = whole_number(
        "sites_seed", sites_seed, least=0, why="it is a random seed", example=0
    )
    study, threshold = cfg.study, cfg.evaluation.threshold
    with stage("read the CT"):
        volume = ct_volume(*read_ct(expand_path(ct)))
    view = StudySpec.from_config(study).geometry()
    tracker = network_tracker(generator, params, cfg, _lookahead(cfg))
    sequences = clips(
        volume,
        view,
        count=number,
        seed=seed,
        num_frames=study.num_frames,
        frame_s=study.frame_s,
    )
    progress = tqdm(sequences, total=number, unit="tumour", leave=False)
    share = cfg.evaluation.offset_share
    answers, shown = _answers(tracker, progress, threshold, share)
    found = {
        "ct": Path(ct).name,
        "model": model and _named(model),
        "count": number,
        "sites_seed": seed,
        "step": step,
        "config": cfg.to_dict(),
        "precision": describe_precision(cfg),
        **numbers(answers),
    }
    path = _write(found, Path(workdir) / "tables" / "real_anatomy.json")
    picture = _draw(shown, Path(workdir) / "figures" / "real_anatomy.png")
    print(markdown(found))
    print(f"every tumour: {path}\npicture: {picture}")
    return found


def _network(cfg: Any, workdir: str | Path, model: str) -> tuple[Any, Any, Any, int]:
    """Returns config, generator, parameters and step: of a run, or of a `model`."""
    if not model:
        return cfg, *restore_generator(cfg, workdir)
    name, folder = find(model)
    read = load(name, folder=folder)
    return read.cfg, read.generator, read.params, read.card["training"]["step"]


def _named(model: str) -> str:
    """Returns a name of the package, or the file that a path or folder stands for."""
    name, folder = find(model)
    return name if folder is None else f"{name}.safetensors"


def _answers(
    tracker: Tracker,
    sequences: Iterable[tuple[float, Clip]],
    threshold: float,
    share: float,
) -> tuple[list[dict[str, Answer]], list[Example]]:
    """Returns the answers for every tumour, and the first ones to be drawn."""
    answers, shown = [], []
    # The clips are lazy: beside those to be shown, one is in memory at a time.
    for diameter, clip in sequences:
        answers.append(answer(tracker, diameter, clip, threshold, share=share))
        if len(shown) < SHOWN:
            shown.append(_example(len(answers), answers[-1][OURS], clip))
    return answers, shown


def _write(found: Mapping[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_finite(found), indent=1, allow_nan=False) + "\n")
    return path


def _draw(shown: Sequence[Example], path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    middle = len(shown[0].iou) // 2
    overlays(shown, path, frames=(0, middle), caption=SHOWN_CAPTION)
    return path


def _example(number: int, one: Answer, clip: Clip) -> Example:
    said = f"{one.mean_mm:.1f} mm off" if np.isfinite(one.mean_mm) else "not seen"
    title = f"Tumour {number}: {one.diameter_mm:.0f} mm, {said}"
    return Example(title, clip, one.pred, one.iou)


def _finite(value: Any) -> Any:
    """Returns the record with None for what is not defined: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def answer(
    tracker: Tracker,
    diameter_mm: float,
    clip: Clip,
    threshold: float,
    *,
    share: float = 1.0,
) -> dict[str, Answer]:
    """Tracks one clip; returns the errors against its truth, by what answers.

    Args:
        tracker: is given nothing.
        diameter_mm: of the sphere.
        clip: with its truth.
        threshold: probability from which a pixel is tumour.
        share: of the offset in frame 0 that is corrected where it is shown; see
            `AnchoredTracker`.
    """
    assert clip.mask is not None
    # Without its mask, so that no tracker can read it.
    blind = dataclasses.replace(clip, mask=None)
    tracks = track_clip(tracker, blind)
    outline = np.asarray(clip.mask[0], np.float32)
    alone = track_clip(beside(), blind, (np.asarray(clip.frames[0]), outline))
    view = clip.geometry
    every = {
        OURS: tracks,
        MOVED: anchor(tracks, outline, view, share),
        GUARDED: anchor(
            tracks, outline, view, share, matched=alone, threshold=threshold
        ),
        # Beside itself: at its own places, and cut as the outline of both is.
        TEMPLATE: anchor(alone, outline, view, 1.0, matched=alone),
        HELD: [_unmoved(t.frame, outline, view) for t in tracks],
    }
    return {w: _errors(t, diameter_mm, clip, threshold) for w, t in every.items()}


def _unmoved(frame: int, outline: np.ndarray, geometry: Geometry) -> Track:
    """The outline where it was, which says nothing of how sure it is."""
    return dataclasses.replace(
        make_track(frame, outline, geometry), confidence=float("nan")
    )


def _errors(
    tracks: Sequence[Track], diameter_mm: float, clip: Clip, threshold: float
) -> Answer:
    pitch = np.array(iso_pixel_mm(clip.geometry))
    miss = np.stack([t.centroid_px for t in tracks]) - np.asarray(clip.centroid_px)
    pred = masks_of(tracks, threshold)
    return Answer(
        diameter_mm,
        np.linalg.norm(miss * pitch, axis=-1),
        np.asarray(iou(pred, np.asarray(clip.mask))),
        np.array([t.confidence for t in tracks]),
        pred,
    )


def numbers(answers: Sequence[Mapping[str, Answer]]) -> dict[str, Any]:
    """Returns what a record holds of the answers, an entry of `answers` a tumour.

    `rows` is the `table` of the network given nothing, `shown_frame0` those of the
    others, `tumours` every tumour, with means over frames in mm.
    """
    table_of = lambda who: table([one[who] for one in answers])
    shown = [who for who in answers[0] if who != OURS]
    return {
        "rows": table_of(OURS),
        "shown_frame0": {who: table_of(who) for who in shown},
        "tumours": [_record(one) for one in answers],
    }


def table(answers: Sequence[Answer]) -> dict[str, Any]:
    """Returns the table's numbers: of all tumours, and of those from `LARGE_MM` on.

    Per cent found (mean distance at most `FOUND_MM`), median distance (infinite counts
    as an empty prediction), mean IoU, mean confidence, and its AUC for found against
    not; these two are NaN where nothing is said of how sure an answer is.
    """
    large = [a for a in answers if a.diameter_mm >= LARGE_MM]
    return {"all": _row(answers), f"from {LARGE_MM:g} mm on": _row(large)}


def _row(answers: Sequence[Answer]) -> dict[str, Any]:
    distance = np.array([a.mean_mm for a in answers])
    found = distance <= FOUND_MM
    # Averaged over a clip, as the distance is that decides "found".
    confidence = np.array([a.confidence.mean() for a in answers])
    told = bool(np.isfinite(confidence).all())
    mean = lambda values: float(np.mean(values)) if len(values) else np.nan
    return {
        "n": len(answers),
        "found": int(found.sum()),
        "found_percent": 100.0 * mean(found),
        "median_mm": float(np.median(distance)) if len(answers) else np.nan,
        "iou": mean([a.iou.mean() for a in answers]),
        "confidence": mean(confidence),
        "auc": area_under_curve(confidence, found) if told else np.nan,
    }


def _record(answers: Mapping[str, Answer]) -> dict[str, Any]:
    one = answers[OURS]
    return {
        "diameter_mm": round(one.diameter_mm, 2),
        "distance_mm": round(one.mean_mm, 3),
        "iou": round(float(one.iou.mean()), 4),
        "confidence": round(float(one.confidence.mean()), 4),
        "shown_frame0_mm": {
            who: round(a.mean_mm, 3) for who, a in answers.items() if who != OURS
        },
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Returns the table as Markdown with its caption."""
    lines = [
        f"# Simulated tumours in a real CT ({found['ct']})",
        "",
        "| answer | tumours | n | found [%] | median distance [mm] | IoU "
        "| confidence | AUC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for who, rows in {OURS: found["rows"], **found["shown_frame0"]}.items():
        for name, row in rows.items():
            confidence, auc = (
                f"{row[key]:.2f}" if np.isfinite(row[key]) else "-"
                for key in ("confidence", "auc")
            )
            lines.append(
                f"| {who} | {name} | {row['n']} | {row['found_percent']:.0f} "
                f"({row['found']}) | {row['median_mm']:.1f} | {row['iou']:.2f} | "
                f"{confidence} | {auc} |"
            )
    return "\n".join(
        [
            *lines,
            "",
            f"Spheres at random sites (seed {found['sites_seed']}), moving with the "
            f"animated lung; found: mean distance at most {FOUND_MM:g} mm in the "
            "isocentre plane; AUC: of confidence, found against not. One patient, so "
            f"no interval. Step {found['step']} of {found['model'] or 'the run'}. "
            "Shown frame 0, its true outline is moved along the network's answers, by "
            "a template that is updated, by both (the network where they are "
            f"{APART_MM:g} mm apart and it found the outlined tumour in frame 0), or "
            "held still (static); frame 0 itself is scored too.",
        ]
    )
