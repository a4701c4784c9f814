"""A minute of recorded human breathing: one clip without a regular cycle.

The recording is of a chest marker. It drives the body and the tumour of one further
simulated patient here, scaled to amplitudes inside the trained ranges, so what is real
is the rhythm: drift, pauses, uneven breaths. The ten-frame network sees sliding
windows at the spacing it was trained on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from fluoro_jax.clip import Clip
from fluoro_jax.evaluation.evaluate import Method, Run, masks_of, track_with
from fluoro_jax.evaluation.statistics import FrameScores, case_means, score_frames
from fluoro_jax.evaluation.summary import causality, given_to, reference_given
from fluoro_jax.metrics import centroid_px
from fluoro_jax.report import figures, study_figures
from fluoro_jax.sim.body.breathing import Breathing, breathing_signal, load_trace
from fluoro_jax.sim.fluoroscope import Case
from fluoro_jax.sim.placement import sample_tumor
from fluoro_jax.stages import stage
from fluoro_jax.studies import STREAMS, StudySpec, sample_group_case
from fluoro_jax.studies.render import render_clip
from fluoro_jax.tracking.anchored import AnchoredTracker
from fluoro_jax.tracking.network import NetworkTracker
from fluoro_jax.tracking.tracker import Tracker

TRACE = "irregular"
PART = "recorded breathing"  # of a command's time
SECONDS = 60.0
SI_MM, AP_MM, DIAMETER_MM = 20.0, 10.0, 30.0  # ours; inside the trained ranges


@dataclass(frozen=True)
class Recorded:
    """The clip and each tracker's answers.

    Attributes:
        trace: name of the recording.
        clip: the frames and their truth.
        trackers: with names and what they are given, the network first.
        masks: `[T, H, W]` bool by tracker key.
        centroid_px: `[T, 2]` by key, and "truth": centroids of the true masks.
        scores: by key.
    """

    trace: str
    clip: Clip
    trackers: list[Method]
    masks: dict[str, np.ndarray]
    centroid_px: dict[str, np.ndarray]
    scores: dict[str, FrameScores]

    def rows(self) -> list[dict[str, Any]]:
        """Returns one record a tracker: one clip, so no interval."""
        return [self._row(one) for one in self.trackers]

    def _row(self, one: Method) -> dict[str, Any]:
        scores = self.scores[one.key]
        case = case_means(scores)
        seen = ~scores.empty_truth
        return {
            "key": one.key,
            "label": one.label,
            "given": given_to(one.frame0),
            "causal": bool(one.tracker.causal),
            "lookahead_frames": int(one.tracker.lookahead_frames),
            "iou": case["iou"],
            "vertical_mm": case["vertical_iso_mm"],
            "horizontal_mm": case["horizontal_iso_mm"],
            "p95_mm": float(np.percentile(scores.distance_mm[seen], 95)),
            "within_3mm": case["within_3mm"],
            "empty_predictions": int(case["empty_predictions"]),
            "frames": int(case["frames"]),
        }


def recorded_case(spec: StudySpec, *, trace: str = TRACE) -> Case:
    """Returns a patient of the study's population who breathes as recorded.

    Returns:
        Case with `SECONDS` of frames `spec.frame_s` apart, not periodic.
    """
    displacement_mm, rate_hz = load_trace(trace)
    # The 95th percentile, not the largest: one deep sigh would flatten every other
    # breath.
    fraction = displacement_mm / np.percentile(displacement_mm, 95)
    # A stream of its own: the clip changes no draw of the study's cases.
    rng = np.random.default_rng([spec.seed, STREAMS["recorded"]])
    patient = sample_group_case(rng, spec)
    seconds = min(SECONDS, (len(fraction) - 1) / rate_hz)
    time_s = np.arange(int(seconds / spec.frame_s), dtype=np.float32) * spec.frame_s
    breathing = Breathing(
        period_s=np.float32(spec.num_frames * spec.frame_s),
        si_mm=np.float32(SI_MM),
        ap_mm=np.float32(AP_MM),
        ap_lag=np.float32(0.0),
        start=np.float32(0.0),
        trace=fraction.astype(np.float32),
        trace_rate_hz=np.float32(rate_hz),
    )
    # The lung's place depends on the depth of breath alone: twelve depths, evenly
    # spread from the deepest to the shallowest, stand for the minute.
    depth = np.argsort(np.asarray(breathing_signal(breathing, time_s)[0]))
    checked = time_s[depth[np.linspace(0, len(depth) - 1, 12).astype(int)]]
    tumor = sample_tumor(
        rng, patient.anatomy, breathing, checked, diameter_mm=DIAMETER_MM
    )
    return Case(
        anatomy=patient.anatomy,
        breathing=breathing,
        tumor=tumor,
        time_s=time_s,
        periodic=False,
    )


def track_recorded(runs: Mapping[str, Run], cfg: Any) -> Recorded:
    """Simulates the clip and tracks it with every tracker of `runs`.

    The network runs as a stream, `evaluation.stream_lookahead` frames behind, and
    with the past alone.
    """
    spec = StudySpec.from_config(cfg.study)
    with stage(f"place a tumour, breathing as recorded ({TRACE})", part=PART):
        case = recorded_case(spec)
    with stage(f"simulate {len(case.time_s)} frames of it", part=PART):
        clip = render_clip(case, spec.geometry(), jax.random.key(spec.seed), spec)
        # Off the device: trackers and figures work in NumPy.
        clip = jax.tree.map(np.asarray, clip)
    trackers = _streaming(
        runs, cfg.evaluation.stream_lookahead, frame_s=cfg.study.frame_s
    )
    truth = np.asarray(clip.mask)
    masks, scores, places = {}, {}, {"truth": centroid_px(truth)}
    for one in trackers:
        with stage(f"track it: {one.label}", part=PART):
            tracks = track_with(one, clip)
        masks[one.key] = masks_of(tracks, cfg.evaluation.threshold)
        places[one.key] = np.stack([t.centroid_px for t in tracks])
        scores[one.key] = score_frames(
            masks[one.key],
            truth,
            clip.geometry,
            exact_px=np.asarray(clip.centroid_px),
        )
    return Recorded(TRACE, clip, trackers, masks, places, scores)


def recorded_markdown(rows: list[Mapping[str, Any]]) -> str:
    """Returns the recorded-breathing clip's numbers: one clip, so no interval."""
    keys = ("iou", "vertical_mm", "horizontal_mm", "p95_mm", "within_3mm")
    lines = [
        "# A minute of recorded breathing (one clip)",
        "",
        "| | reference given | causal; lookahead [frames] | IoU | vertical [mm] "
        "| horizontal [mm] | P95 [mm] | within 3 mm [%] | empty predictions |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = [f"{row[k]:.2f}" for k in keys]
        given = [reference_given(row), causality(row)]
        empty = f"{row['empty_predictions']} of {row['frames']}"
        lines.append("| " + " | ".join([row["label"], *given, *numbers, empty]) + " |")
    return "\n".join([*lines, ""])


def recorded_section(recorded: Recorded, folder: Path, cfg: Any) -> dict[str, Any]:
    """Returns words, rows and figures of the recorded-breathing clip."""
    labels = {c.key: c.label for c in recorded.trackers} | {"truth": "truth"}
    behind = cfg.evaluation.stream_lookahead * cfg.study.frame_s
    words = (
        f"The recording “{recorded.trace}” of a volunteer's chest marker "
        "(Krilavicius et al., CC BY 4.0) drives the body and the tumour of one further "
        f"simulated patient: {len(recorded.clip.time_s)} frames, "
        f"{cfg.study.frame_s:g} s apart. The network was trained on regular cycles "
        f"only and sees sliding windows of {cfg.study.num_frames} frames, answering "
        f"{behind:g} s behind, or at once from the past alone. The phase prior goes on "
        "with its training cycle and drifts out of phase."
    )
    trace = figures.traces(
        recorded.clip,
        {
            k: v
            for k, v in recorded.centroid_px.items()
            if k in ("truth", *study_figures.TRACED)
        },
        folder / "recorded_trace.png",
        labels=labels,
        title="A minute of recorded breathing",
        caption="One clip, one seed. Centroid of the true and the predicted masks, mm "
        "in the isocentre plane; below, the streamed network's error (grey band: 3 "
        "mm). Frames with an empty prediction are shaded.",
    )
    overlap = recorded.scores["ours"].iou
    count = len(overlap)
    overlays = figures.overlays(
        [
            figures.Example(
                "recorded breathing", recorded.clip, recorded.masks["ours"], overlap
            )
        ],
        folder / "recorded_overlay.png",
        frames=[count // 5, 2 * count // 5, 3 * count // 5, 4 * count // 5],
        caption="Four frames of the clip, one seed.",
    )
    return {"words": words, "rows": recorded.rows(), "figures": [trace, overlays]}


def _streaming(
    runs: Mapping[str, Run], lookahead_frames: int, *, frame_s: float
) -> list[Method]:
    """The trackers of `runs`, the network as a stream."""
    answer = []
    for run in runs.values():
        one = run.method
        if not one.tracker.causal:
            tracker = _behind(one.tracker, lookahead_frames)
            label = f"{one.label}, {lookahead_frames * frame_s:g} s behind"
            one = dataclasses.replace(one, label=label, tracker=tracker)
        answer.append(one)
    return answer


def _behind(tracker: Tracker, lookahead_frames: int) -> Tracker:
    """A network, or one around it, with another lookahead and the same program."""
    if isinstance(tracker, AnchoredTracker):
        inner = _behind(tracker.inner, lookahead_frames)
        return dataclasses.replace(tracker, inner=inner)
    whole = cast(NetworkTracker, tracker)
    return dataclasses.replace(whole, lookahead_frames=lookahead_frames)
