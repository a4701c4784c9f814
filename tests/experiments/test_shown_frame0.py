"""Both shown frame 0: the network beside the phase prior, from records made by hand."""

from __future__ import annotations

import pytest

from fluoro_jax.experiments.shown_frame0 import shown_frame0

OURS, PRIOR = "ours_frame0", "phase_prior_frame0"
APART = {"iou": (0.9, 0.7), "vertical_iso_mm": (0.5, 3.0)}


def interval(mean):
    return {"mean": mean, "low": 0.8 * mean, "high": 1.1 * mean, "n": 30, "sd": 1.0}


def few(mean):
    rest = dict(n=14, median=mean, least=0.0, most=1.0)
    return interval(mean) | rest


def record(
    means=APART, *, cases=30, made=interval, frames=10, columns=(OURS, PRIOR), **more
):
    means = {"horizontal_iso_mm": (0.55, 0.6), **means}
    table = {
        "n_cases": cases,
        "columns": [
            {"key": key, "causal": key == PRIOR, "lookahead_frames": 9}
            for key in ("ours", *columns)
        ],
        "rows": [
            {
                "key": k,
                "values": dict(zip((OURS, PRIOR), map(made, v), strict=True)),
            }
            for k, v in means.items()
        ],
        "lead": {
            key: dict(median_mm=0.5, p90_mm=1.5, p95_mm=far, missed=0, n=cases)
            for key, far in ((OURS, 2.0), (PRIOR, 6.0))
        },
    }
    config = {"study": {"num_frames": frames}}
    return dict(table=table, config=config, section="group", stale="") | more


def rows(records):
    lines = shown_frame0(records).splitlines()
    found = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in found[2:]]


def test_a_template_and_both_together_have_rows_where_they_were_scored():
    made = record()
    table = made["table"]
    beside = ("ours_template_frame0", "template_frame0")
    for key, factor in zip(beside, (0.1, 9.0), strict=True):
        table["columns"].append({"key": key, "causal": True, "lookahead_frames": 0})
        table["lead"][key] = dict(table["lead"][OURS], median_mm=0.25)
        for row in table["rows"]:
            row["values"][key] = interval(factor * row["values"][OURS]["mean"])
    found = rows({"a": made})
    names = [row[1] for row in found]
    assert names == ["network", "network and template", "template", "phase prior"]
    assert found[1][4] == "0.25, 1.50, 2.00"
    assert found[1][-1] == "vertical [mm], horizontal [mm]"
    assert found[2][-1] == "IoU" and found[3][-1] == ""


def test_two_rows_a_part_with_what_is_better_beyond_the_intervals():
    ours, prior = rows({"a": record()})
    assert ours[:4] == ["`a`", "network", "no; 9", "30"]
    assert ours[4:6] == ["0.50, 1.50, 2.00", "0 of 30"]
    assert ours[6] == "0.900 [0.720, 0.990]"  # meets 0.7 [0.56, 0.77]
    assert ours[-1] == "vertical [mm]"
    assert prior[:5] == ["", "phase prior", "yes; 9", "30", "0.50, 1.50, 6.00"]
    assert prior[-1] == ""


@pytest.mark.parametrize(
    ("means", "words"),
    [
        ({"iou": (0.9, 0.6)}, "IoU"),
        ({"iou": (0.6, 0.9)}, "in none"),
        ({"iou": (0.7, 0.7), "vertical_iso_mm": (3.0, 0.5)}, "in none"),
    ],
)
def test_only_a_better_mean_counts(means, words):
    usual = {"iou": (0.7, 0.7), "vertical_iso_mm": (1.0, 1.0)}
    assert rows({"a": record(usual | means)})[0][-1] == words


def test_few_cases_have_no_interval():
    ours, _ = rows({"a": record(cases=14, made=few)})
    assert ours[-1] == "in none" and ours[6].startswith("median 0.900 [range")


def test_parts_without_the_numbers_are_left_out_and_stale_ones_marked():
    records = {
        "single frames": record(frames=1),
        "of before": record(columns=(PRIOR,)),
        "row": record(section="ablation"),
    }
    assert shown_frame0(records) == ""
    assert rows(records | {"old": record(stale="code")})[0][0] == "`old` (STALE)"
