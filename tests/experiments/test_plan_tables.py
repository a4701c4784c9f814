"""Numbers of a plan's tables, from records made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.evaluation.statistics import by_person, summarise
from fluoro_jax.experiments import paper_tables, plan_tables, published


def case(number=0, iou=0.8, **more):
    numbers = dict(dice=0.9, vertical_iso_mm=1.0, horizontal_iso_mm=0.5)
    numbers |= dict(vertical_px=0.4, horizontal_px=0.2, distance_mm=1.2, confidence=0.9)
    numbers |= dict(diameter_mm=30.0, factor=2.0, heart_overlap=0.0, rib_overlap=0.5)
    numbers |= dict(spine_overlap=0.0, id=number)
    return {"set": number, "iou": iou, **numbers, **more}


def record(cases, study="subgroup", iou=None):
    interval = {"mean": iou, "low": iou, "high": iou, "n": 1, "sd": None}
    rows = [
        {"key": key, "values": {"ours": interval}} for key in ("iou", "vertical_iso_mm")
    ]
    table = {
        "cases": cases,
        "rows": rows,
        "columns": [{"key": "ours", "lost_frames": 0}],
    }
    return {"title": "a title", "config": {"study": {"name": study}}, "table": table}


def cells(text, start):
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_fine_tuning_is_compared_set_by_set():
    scratch = [case(n, 0.5 + 0.1 * n) for n in range(3) for _ in range(2)]
    tuned = [case(n, 0.6 + 0.1 * n) for n in range(3) for _ in range(2)]
    records = {"best_subgroup": record(scratch), "subgroup_frozen": record(tuned)}
    text = paper_tables.fine_tuning(records)
    rows = [line for line in text.splitlines() if "a title" in line]
    assert "| - |" in rows[0] and "0.600 [" in rows[0]
    assert "0.700 [" in rows[1] and "0.100 [0.100, 0.100]" in rows[1]


def test_means_of_sets_by_hand():
    cases = [case(1, 0.2), case(0, 0.4), case(1, 0.6), case(0, 0.8)]
    np.testing.assert_allclose(paper_tables.by_set(cases, "iou"), [0.6, 0.4])


def test_figure_5_takes_the_smallest_that_ribs_alone_cover():
    cases = [
        case(0, 0.1, diameter_mm=12.0, heart_overlap=0.9),
        case(1, 0.2, diameter_mm=14.0, rib_overlap=0.0),
        case(2, 0.3, diameter_mm=16.0),
        case(3, 0.4, diameter_mm=45.0),
        case(4, None, diameter_mm=60.0),
    ]
    text = paper_tables.figure_5({"best_group": record(cases, "group")})
    picked = [cells(text, label)[2] for label in published.FIGURE_5]
    assert picked == [f"best_group, case {n}" for n in (0, 2, 3)]


def test_table_1_means_the_easy_and_the_hard_set():
    cases = [case(0, 0.9, rib_overlap=0.1), case(0, 0.7, rib_overlap=0.1)]
    cases += [case(1, 0.5, heart_overlap=0.8), case(2, 0.6)]
    records = {n: record(cases) for n in ("best_subgroup", "subgroup_finetuned")}
    text = paper_tables.table_1(records)
    easy = [line for line in text.splitlines() if line.startswith("| easy")]
    assert "0.96, 0.98, [0.7, 0.3] | best_subgroup, set 0 | 0.80, 0.90" in easy[0]
    assert "| - | subgroup_finetuned, set 0 |" in easy[1]
    assert cells(text, "hard set")[3].startswith("0.50")


def test_table_2_stands_row_by_row_beside_the_paper():
    cases = [case(0, 0.9, factor=5.0 + 0.1 * n) for n in range(20)]
    text = paper_tables.table_2({"best_patient": record(cases, "patient")})
    row = cells(text, "56")
    assert row[1:5] == ["6.5", "0.98", "0.99", "[0.4, 0.07]"]
    assert row[5:] == ["0.900", "0.900", "[1.00, 0.50]", "[0.40, 0.20]"]
    means = np.mean(published.TABLE_2, axis=0)
    np.testing.assert_allclose(means, [0.981, 0.989, 0.295, 0.0925], atol=1e-4)


def test_confidence_ranks_cases_with_a_tumour():
    cases = [case(n, iou, confidence=iou) for n, iou in enumerate((0.2, 0.5, 0.9))]
    cases.append(case(3, None))
    row = cells(plan_tables.confidence({"a": record(cases)}), "a ")
    assert row == ["a", "0.533", "0.533", "1.00"]


def test_ablations_are_paired_by_seed():
    records = {
        "ablation_base_0": record([], iou=0.5),
        "ablation_base_1": record([], iou=0.9),
        "ablation_no_convlstm_1": record([], iou=0.85),
        "ablation_pooling_7": record([], iou=0.1),
    }
    text = plan_tables.ablation(records)
    assert cells(text, "no convlstm")[-1] == "-0.050"
    assert cells(text, "pooling")[-1] == "-"
    assert cells(text, "base")[1:3] == ["0, 1", "0.500, 0.900"]


def test_an_interval_over_people_counts_each_person_once():
    values = np.repeat([0.0, 1.0, 2.0, 3.0], 10)
    cases = [{"iou": v, "none": np.nan} for v in values]
    people = np.repeat(np.arange(4), 10)
    found = summarise(cases, resamples=500, seed=0, people=people)
    alike = summarise(cases, resamples=500, seed=0)
    assert found["iou"].n == 4 and alike["iou"].n == 40
    assert found["iou"].mean == pytest.approx(alike["iou"].mean)
    wide = lambda interval: interval.high - interval.low
    assert wide(found["iou"]) > 2.0 * wide(alike["iou"])
    assert found["none"].n == 0
    assert len(by_person(cases, np.zeros(40))) == 40
