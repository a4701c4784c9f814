"""Tracks and scores a study's test cases with the network and every baseline."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fluoro_jax.choices import choices_caption
from fluoro_jax.clip import Clip, Track
from fluoro_jax.config import reads_ahead
from fluoro_jax.data.dataset import RENDERERS, clips_of, load_split
from fluoro_jax.evaluation import tables
from fluoro_jax.evaluation.statistics import (
    FrameScores,
    Interval,
    case_means,
    frame_rows,
    score_frames,
    summarise,
    truth_span_mm,
)
from fluoro_jax.evaluation.strata import case_rows, strata
from fluoro_jax.fingerprint import SCORERS, code, files
from fluoro_jax.fingerprint import config as config_fingerprint
from fluoro_jax.metrics import iou
from fluoro_jax.stages import stage
from fluoro_jax.studies import StudySpec
from fluoro_jax.tracking.anchored import AnchoredTracker, beside
from fluoro_jax.tracking.baselines.phase_prior import PhasePriorTracker
from fluoro_jax.tracking.baselines.static import StaticTracker
from fluoro_jax.tracking.networks import network_tracker
from fluoro_jax.tracking.tracker import Tracker, track_clip
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.training.precision import describe_precision


@dataclass(frozen=True)
class Method:
    """A tracker and what it is given: one column of the table.

    Attributes:
        key: short name for files.
        label: name in tables.
        tracker: the tracker.
        frame0: True if it is shown frame 0 with its true mask.
    """

    key: str
    label: str
    tracker: Tracker
    frame0: bool = False


@dataclass(frozen=True)
class Run:
    """Holds the answers and scores of one method on N test cases of T frames.

    Attributes:
        method: the tracker and what it is given.
        masks: `[N, T, H, W]` bool, cut at the threshold.
        centroid_px: `[N, T, 2]` predicted, NaN for an empty prediction.
        confidence: `[N, T]` what the tracker said of itself.
        scores: one a case.
        cases: `case_means` of each case.
        summary: interval of every number in `cases`, over cases or, in a study of
            several patients with many cases each, over patients.
        patients: `[N]` number of each case's patient; None where each has one case.
    """

    method: Method
    masks: np.ndarray
    centroid_px: np.ndarray
    confidence: np.ndarray
    scores: list[FrameScores]
    cases: list[dict[str, float]]
    summary: dict[str, Interval]
    patients: np.ndarray | None = None


@dataclass(frozen=True)
class Results:
    """An evaluation. `runs` and `arrays` are empty when read back from a workdir.

    Attributes:
        table: everything in tables/results.json.
        workdir: where it lies.
        runs: by method key, first the network.
        arrays: the test split.
        clips: the test clips.
        report: path of report.html once written.
    """

    table: dict[str, Any]
    workdir: Path
    runs: dict[str, Run] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    clips: list[Clip] = field(default_factory=list)
    report: Path | None = None


def evaluate(
    cfg: Any,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    restored: tuple[Any, Any, int] | None = None,
    trained_on: StudySpec | None = None,
    published: tables.Published = tables.NOTHING_PUBLISHED,
    split: str = "test",
) -> Results:
    """Scores the newest checkpoint on a split and writes its tables.

    Args:
        cfg: the run's config.
        workdir: of a training run.
        data_dir: of the stored studies; default `<workdir>/data`.
        restored: what `restore_generator` answered, if the caller has it already.
        trained_on: the study whose training cases the baselines learn from, if
            `cfg.study` is one that the network was not trained for.
        published: results to print beside ours.
        split: "test", written to tables/, or "val", to tables_val/.

    Returns:
        Results with `table` as in tables/results.json.

    Raises:
        UserError: no checkpoint in `workdir`, one of another config, or another split.
    """
    workdir = Path(workdir)
    data_dir = Path(data_dir) if data_dir else workdir / "data"
    generator, params, step = restored or restore_generator(cfg, workdir)
    # The caller may have restored already: reading and verifying takes seconds.
    spec = StudySpec.from_config(cfg.study)
    with stage("load the study"):
        train = load_split(trained_on or spec, data_dir, "train")
        # A network on another study is compared with baselines of the study that it
        # learned from.
        test = load_split(spec, data_dir, split)
    clips = clips_of(test, spec)
    patients = np.asarray(test["set"]) if spec.study.of_sets else None
    # In studies of sets a patient has many cases, which are alike: intervals are over
    # patients.
    runs = {}
    for method in methods(cfg, generator, params, train):
        with stage(f"track {len(clips)} clips: {method.label}", part="tracking"):
            runs[method.key] = run_method(method, clips, cfg, patients=patients)
    with stage("tables"):
        table = tables.build_table(runs, cfg, published)
        table["notes"].append(
            f"{len(train['mask'])} stored training cases: what blind trackers learn "
            "from, and where the strata by size end."
        )
        table |= identity(cfg, params, step)
        if split != "test":
            table |= {"split": split, "choices_caption": ""}
        table["strata"] = strata(runs["ours"], test, train, cfg)
        span = {"truth_span_mm": truth_span_mm(clips, patients)}
        table["scale"] = scale_of_errors(clips) | span
        table["cases"] = case_rows(runs["ours"], test)
        folder = tables_folder(workdir, split)
        write_frames(runs, test, folder)
        tables.write_tables(table, folder)
    return Results(table, workdir, runs, test, clips)


def tables_folder(workdir: str | Path, split: str) -> Path:
    """Returns where the tables of a run's split lie."""
    return Path(workdir) / ("tables" if split == "test" else f"tables_{split}")


def methods(
    cfg: Any, generator: Any, params: Any, train: Mapping[str, Any]
) -> list[Method]:
    """Returns the columns of the table: the network first, then the baselines.

    A network that reads its window both ways stands twice: with the whole clip (as
    published) and with the past alone. Every network stands once more as the baselines
    do: shown frame 0 with its true mask, and that outline is moved; once again with a
    template beside it, which stands alone too.

    Args:
        cfg: the run's config.
        generator: its module.
        params: its parameters.
        train: arrays of `load_split` that the baselines fit: mask `[N, T, H, W]`,
            centroid_px `[N, T, 2]`, time_s `[N, T]`.
    """
    threshold = cfg.evaluation.threshold
    static = StaticTracker.fit(train, threshold=threshold)
    prior = PhasePriorTracker.fit(train, threshold=threshold)
    online = network_tracker(generator, params, cfg, 0)
    # The same network shown the past alone: what the published form can do in real
    # time.
    if reads_ahead(cfg):
        whole = network_tracker(generator, params, cfg, cfg.study.num_frames - 1)
        network = [
            Method("ours", "ours", whole),
            Method("ours_online", "ours, past only", online),
        ]
    else:
        network = [Method("ours", "ours", online)]
    share = cfg.evaluation.offset_share
    seen = network[0].tracker
    shown = AnchoredTracker(seen, share)
    guarded = AnchoredTracker(seen, share, beside(), threshold)
    both = "ours + template + frame 0"
    # Its outline is cut as the others' are.
    template = AnchoredTracker(beside())
    return [
        *network,
        Method("ours_frame0", "ours + frame 0", shown, frame0=True),
        Method("ours_template_frame0", both, guarded, frame0=True),
        Method("template_frame0", "template + frame 0", template, frame0=True),
        Method("static", "static", static),
        Method("static_frame0", "static + frame 0", static, frame0=True),
        Method("phase_prior", "phase prior", prior),
        Method("phase_prior_frame0", "phase prior + frame 0", prior, frame0=True),
    ]


def run_method(
    method: Method,
    clips: list[Clip],
    cfg: Any,
    *,
    patients: np.ndarray | None = None,
) -> Run:
    """Tracks every clip and scores it.

    Args:
        method: the tracker and what it is given.
        clips: N of them, frames `[T, H, W]` and their truth.
        cfg: reads evaluation.threshold, evaluation.bootstrap and seed.
        patients: `[N]` number of each clip's patient, or None if each has one clip.

    Returns:
        Masks, scores by frame (distances in mm at the isocentre), by case, and their
        intervals.
    """
    masks, centroids, confidence, scores = [], [], [], []
    for clip in clips:
        tracks = track_with(method, clip)
        mask = masks_of(tracks, cfg.evaluation.threshold)
        masks.append(mask)
        centroids.append(np.stack([t.centroid_px for t in tracks]))
        confidence.append([t.confidence for t in tracks])
        truth, exact = np.asarray(clip.mask), np.asarray(clip.centroid_px)
        scores.append(score_frames(mask, truth, clip.geometry, exact_px=exact))
    cases = [case_means(score) for score in scores]
    draws: dict[str, Any] = dict(resamples=cfg.evaluation.bootstrap, seed=cfg.seed)
    summary = summarise(cases, **draws, patients=patients)
    return Run(
        method,
        np.stack(masks),
        np.stack(centroids),
        np.array(confidence, np.float32),
        scores,
        cases,
        summary,
        patients,
    )


def track_with(method: Method, clip: Clip) -> list[Track]:
    """Returns `track_clip` with what this method is given, one `Track` a frame."""
    reference = None
    if method.frame0:
        assert clip.mask is not None
        reference = (np.asarray(clip.frames[0]), np.asarray(clip.mask[0]))
    return track_clip(method.tracker, clip, reference)


def masks_of(tracks: Iterable[Track], threshold: float) -> np.ndarray:
    """Returns the masks p >= threshold of T tracks, `[T, H, W]` bool."""
    return np.stack([np.asarray(t.probability) >= threshold for t in tracks])


def fingerprint(cfg: Any, params: Any) -> str:
    """Returns a name of an evaluation: sha256 of weights, config, data and code.

    Of the config only the keys that change numbers count, of the code only what is not
    a docstring or comment.
    """
    digest = hashlib.sha256(code(*RENDERERS, *SCORERS).encode())
    digest.update(config_fingerprint(cfg.to_dict()).encode())
    # Each digest has a fixed length, so the three need no separator.
    digest.update(weights_digest(params).encode())
    return digest.hexdigest()


def identity(cfg: Any, params: Any, step: int) -> dict[str, Any]:
    """Returns what a table says of its origin.

    Returns:
        dict of checkpoint (step, sha256 of the evaluation and of the weights),
        fingerprint (digest of each file of `RENDERERS` and `SCORERS`), precision of
        the networks, choices and choices_caption.
    """
    return {
        "checkpoint": {
            "step": int(step),
            "sha256": fingerprint(cfg, params),
            "weights": weights_digest(params),
        },
        "fingerprint": files(*RENDERERS, *SCORERS),
        "precision": describe_precision(cfg),
        "choices": cfg.choices,
        "choices_caption": choices_caption(cfg.choices),
    }


def weights_digest(params: Any) -> str:
    """Returns the sha256 of a tree of parameters: names and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        # Leaves come in the order of their sorted paths: no order of insertion changes
        # the digest.
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def scale_of_errors(clips: list[Clip]) -> dict[str, float]:
    """Computes the errors that the pixel grid alone causes, to judge a table by.

    Args:
        clips: with `mask` `[T, H, W]` and `centroid_px` `[T, 2]`.

    Returns:
        IoU of the true masks moved down by one pixel; mean distance of the true mask's
        centroid from the closed-form one and the pitch, mm at the isocentre.
    """
    moved, gaps = [], []
    for clip in clips:
        truth = np.asarray(clip.mask)
        moved.append(np.nanmean(iou(np.roll(truth, 1, axis=1), truth)))
        # Rows rolled out at the bottom come in at the top; only a tumour at the border
        # would show it.
        exact = score_frames(
            truth, truth, clip.geometry, exact_px=np.asarray(clip.centroid_px)
        ).shift_exact_mm
        gaps.append(np.nanmean(np.hypot(*exact.T)))
    view = clips[0].geometry
    pitch = float(view.pixel_mm[0]) * float(view.sad_mm) / float(view.sdd_mm)
    return {
        "iou_one_pixel_down": float(np.mean(moved)),
        "mask_centroid_to_exact_mm": float(np.mean(gaps)),
        "pixel_iso_mm": pitch,
    }


def write_frames(
    runs: Mapping[str, Run], test: Mapping[str, Any], folder: Path
) -> None:
    """Writes per_frame.csv and per_case.csv, the numbers behind the table.

    Args:
        runs: by key, each of N cases.
        test: arrays of `load_split`: id `[N]`, time_s `[N, T]` s, diameter_mm `[N]`.
        folder: made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = [int(i) for i in test["id"]]
    times = np.asarray(test["time_s"])
    frames, cases = [], []
    for key, run in runs.items():
        for n, (case_id, scores) in enumerate(zip(ids, run.scores, strict=True)):
            who = {"tracker": key, "case": case_id}
            cases.append(
                who | {"diameter_mm": float(test["diameter_mm"][n])} | run.cases[n]
            )
            for t, row in enumerate(frame_rows(scores)):
                when = {"frame": t, "time_s": float(times[n, t])}
                frames.append(who | when | row)
    for name, rows in (("per_frame", frames), ("per_case", cases)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
