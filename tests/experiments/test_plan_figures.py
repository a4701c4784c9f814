"""Learning curves of a plan, from records made by hand."""

from __future__ import annotations

import csv

from fluoro_jax.experiments import plan_figures
from fluoro_jax.report.drawing import canvas


def record(section, *values):
    curve = [
        {"step": 10 * (i + 1), "eval/iou": value, "eval/vertical_mm": 4.0 * value}
        for i, value in enumerate(values)
    ]
    fields = dict(section=section, title="", paper="", role="", recipe="ours", of="")
    return fields | {"curve": curve}


def test_curves_are_of_every_section_and_of_no_ablation(tmp_path):
    records = {
        "c": record("subgroup", 0.5),
        "a": record("group", 0.25, 0.75),
        "b": record("ablation", 0.5),
        "d": record("group"),  # tests another run's network
    }
    path = plan_figures.curves(records, tmp_path / "curves.png")
    assert path.stat().st_size > 0
    with (tmp_path / "curves.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["part", "name", "step", "value"],
        ["a", "eval/iou", "10", "0.25"],
        ["a", "eval/iou", "20", "0.75"],
        ["a", "eval/vertical_mm", "10", "1.0"],
        ["a", "eval/vertical_mm", "20", "3.0"],
        ["c", "eval/iou", "10", "0.5"],
        ["c", "eval/vertical_mm", "10", "2.0"],
    ]


def test_no_two_runs_of_a_section_look_alike():
    axes = canvas((4.0, 2.0)).subplots(1, 2)
    runs = {f"run{i}": record("group", 0.5) for i in range(20)}
    plan_figures._curves_of(runs, axes)
    for axis in axes:
        looks = {(line.get_color(), line.get_linestyle()) for line in axis.lines}
        assert len(looks) == 20
