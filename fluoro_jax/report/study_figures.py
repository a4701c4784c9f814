"""Chooses the figures of a study's report, and the cases that they show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fluoro_jax.evaluation.evaluate import Results
from fluoro_jax.evaluation.strata import easy_and_hard
from fluoro_jax.metrics import centroid_px
from fluoro_jax.report import figures
from fluoro_jax.report.figures import Example, Figure
from fluoro_jax.report.strata_figure import errors_by
from fluoro_jax.studies import SET_STUDIES

# Of the baselines those that are shown frame 0: they start where the tumour is.
TRACED = ("ours", "ours_online", "static_frame0", "phase_prior_frame0")


def study_figures(results: Results, folder: Path) -> list[Figure]:
    """Draws overlays, centroid trace, error distribution and learning curves."""
    labels = {key: run.method.label for key, run in results.runs.items()}
    count = len(results.clips[0].time_s)
    # From the start of the breath on, and not to its end, where it repeats the start.
    frames = sorted({round(x) for x in np.linspace(0, 0.7 * (count - 1), 4)})
    pictures = [
        figures.overlays(
            choose_examples(results), folder / "overlays.png", frames=frames
        ),
        _typical_trace(results, folder / "trace.png", labels),
        figures.error_distribution(
            {key: run.scores for key, run in results.runs.items()},
            folder / "errors.png",
            labels=labels,
        ),
        errors_by(results.table["cases"], folder / "errors_by.png"),
        figures.learning_curves(
            results.workdir / "metrics.jsonl",
            folder / "learning.png",
            choices=results.table.get("choices_caption", ""),
        ),
    ]
    return [picture for picture in pictures if picture is not None]


def choose_examples(results: Results) -> list[Example]:
    """Returns cases chosen by their truth, as the paper's figures 5 to 8, and the
    network's worst.

    Of many patients: most heart overlap, smallest, largest. Of sets: the largest
    amplitude of the easy and of the hard set (`easy_and_hard`).
    """
    arrays, run = results.arrays, results.runs["ours"]
    size = np.asarray(arrays["diameter_mm"])
    # Chosen by truth and by size alone, but for the worst: a choice by score would
    # flatter.
    heart = np.asarray(arrays["heart_overlap"]).mean(axis=1)
    score = np.array([case["iou"] for case in run.cases])
    # A case without a tumour in any frame has no score and is not the worst.
    worst = int(np.argmin(np.where(np.isnan(score), np.inf, score)))
    if results.table["study"] in SET_STUDIES:
        sets, farthest = np.asarray(arrays["set"]), np.asarray(arrays["factor"])
        # 0 for the others: amplitude factors are at least 1.
        last = lambda number: int(np.argmax(np.where(sets == number, farthest, 0.0)))
        ends = easy_and_hard(results.table["cases"])
        wanted = [(last(number), f"{which} set") for which, number in ends.items()]
        # With a single set its easy and hard case are the same.
        if len(set(ends.values())) == 1:
            wanted = [(last(ends["easy"]), "largest amplitude")]
    else:
        wanted = [
            (int(np.argmax(heart)), "most heart overlap"),
            (int(np.argmin(size)), "smallest tumour"),
            (int(np.argmax(size)), "largest tumour"),
        ]
    wanted.append((worst, "the network's worst case"))
    examples, shown = [], set()
    for index, why in wanted:
        # One case may be the largest and the worst: shown once, under its first reason.
        if index in shown:
            continue
        shown.add(index)
        overlap = run.scores[index].iou
        title = (
            f"case {int(arrays['id'][index])}: {why}; diameter {size[index]:.0f} mm, "
            f"{arrays['side'][index]} {arrays['lobe'][index]} lung, "
            f"mean IoU {score[index]:.2f}"
        )
        clip, mask = results.clips[index], run.masks[index]
        examples.append(Example(title, clip, mask, overlap))
    return examples


def _typical_trace(results: Results, path: Path, labels: Mapping[str, str]) -> Figure:
    """Draws the centroid trace of the case whose IoU is the network's median."""
    run = results.runs["ours"]
    # Cases without a score sort first, as 0.
    score = np.nan_to_num([case["iou"] for case in run.cases])
    # The upper of the two in the middle, so that it is a case that exists.
    index = int(np.argsort(score)[len(score) // 2])
    clip = results.clips[index]
    places = {"truth": centroid_px(np.asarray(clip.mask))}
    # A causal network has no second column of its past alone.
    places |= {
        key: results.runs[key].centroid_px[index]
        for key in TRACED
        if key in results.runs
    }
    case_id = int(results.arrays["id"][index])
    return figures.traces(
        clip,
        places,
        path,
        labels={**labels, "truth": "truth"},
        title="Where the tumour is, over one breath",
        caption=f"One case of {len(score)}, number {case_id}, the network's median by "
        f"IoU ({score[index]:.2f}), one seed: centroid of the masks, mm in the "
        "isocentre plane, and the network's error (grey band: 3 mm). Frames with an "
        "empty prediction are shaded. (The paper's figure 9.)",
    )
