"""Numbers of a plan's tables, from records made by hand."""

from __future__ import annotations

import numpy as np

from fluoro_jax.experiments import paper_tables, plan_tables, published


def case(number=0, iou=0.8, **more):
    numbers = dict(dice=0.9, vertical_iso_mm=1.0, horizontal_iso_mm=0.5)
    numbers |= dict(vertical_px=0.4, horizontal_px=0.2, distance_mm=1.2, confidence=0.9)
    numbers |= dict(diameter_mm=30.0, factor=2.0, heart_overlap=0.0, rib_overlap=0.5)
    numbers |= dict(spine_overlap=0.0, id=number)
    return {"set": number, "iou": iou, **numbers, **more}


def record(cases, section="subgroup", role="scratch", **more):
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 30, "sd": None}
    row = dict(label="IoU", decimals=3, higher_is_better=True)
    clock = dict(key="phase_prior_frame0", label="phase prior + frame 0")
    table = {
        "cases": cases,
        "n_cases": len(cases),
        "n_frames": 10 * len(cases),
        "rows": [
            dict(row, key=key, values={"ours": interval, clock["key"]: interval})
            for key in ("iou", "vertical_iso_mm")
        ],
        "columns": [
            dict(key="ours", causal=False, lookahead_frames=9, lost_frames=0),
            dict(clock, given="frame 0 and its mask", causal=True, lookahead_frames=0),
        ],
    }
    config = dict(init=dict(parent=""), train=dict(num_steps=750))
    config |= dict(gen_opt=dict(learning_rate=1e-3))
    fields = dict(section=section, role=role, recipe="ours", paper=section, of="")
    return dict(fields, title="a title", stale="", config=config, table=table) | more


def cells(text, start):
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_fine_tuning_is_compared_set_by_set():
    scratch = [case(n, 0.5 + 0.01 * n) for n in range(15) for _ in range(2)]
    tuned = [case(n, 0.6 + 0.01 * n) for n in range(15) for _ in range(2)]
    config = record([])["config"] | {"init": {"parent": "group"}}
    records = {
        "group": record([], "group", ""),
        "a": record(scratch),
        "b": record(tuned, role="finetuned", config=config),
        "shuffled": record(tuned, role=""),
    }
    text = paper_tables.fine_tuning(records)
    rows = [line for line in text.splitlines() if "a title" in line]
    assert len(rows) == 2 and "| no; 9 | 15 | 750 |" in rows[0]
    assert "| - |" in rows[0] and "0.570 [" in rows[0]
    assert "0.670 [" in rows[1] and "0.100 [0.100, 0.100]" in rows[1]
    assert "| 750 + 750 |" in rows[1]  # what the parent was trained for counts
    parents = record([])["config"] | {"init": {"parent": "first"}}
    records["group"] = record([], "group", "", config=parents)
    records["first"] = record([], "riding", "")
    assert "| 750 + 750 + 750 |" in paper_tables.fine_tuning(records)
    few = {name: record(scratch[:6]) for name in "a"}
    assert "median 0.510 [range 0.500 to 0.520]" in paper_tables.fine_tuning(few)


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
    text = paper_tables.figure_5({"best_group": record(cases, "group", "")})
    picked = [cells(text, label)[2] for label in published.FIGURE_5]
    assert picked == [f"best_group, case {n}" for n in (0, 2, 3)]


def test_table_1_means_the_easy_and_the_hard_set():
    cases = [case(0, 0.9, rib_overlap=0.1), case(0, 0.7, rib_overlap=0.1)]
    cases += [case(1, 0.5, heart_overlap=0.8), case(2, 0.6)]
    tuned = record(cases, role="finetuned", paper="")
    records = {"best_subgroup": record(cases), "subgroup_finetuned": tuned}
    text = paper_tables.table_1(records)
    easy = [line for line in text.splitlines() if line.startswith("| easy")]
    assert "[0.7, 0.3] | best_subgroup, set 0 | no; 9 | 2 | 0.80, 0.90" in easy[0]
    assert "| - | subgroup_finetuned, set 0 |" in easy[1]
    assert cells(text, "hard set")[5].startswith("0.50")


def test_table_2_stands_row_by_row_beside_the_paper():
    cases = [case(0, 0.9, factor=5.0 + 0.1 * n) for n in range(20)]
    runs = {"a": record(cases, "patient", ""), "b": record([], "patient", of="a")}
    text = paper_tables.table_2(runs)
    assert "a (no; 9): IoU" in text and "b (" not in text
    row = cells(text, "56")
    assert row[1:5] == ["6.5", "0.98", "0.99", "[0.4, 0.07]"]
    assert row[5:] == ["0.900", "0.900", "[1.00, 0.50]", "[0.40, 0.20]"]
    means = np.mean(published.TABLE_2, axis=0)
    np.testing.assert_allclose(means, [0.981, 0.989, 0.295, 0.0925], atol=1e-4)


def test_confidence_ranks_cases_with_a_tumour():
    cases = [case(n, iou, confidence=iou) for n, iou in enumerate((0.2, 0.5, 0.9))]
    cases.append(case(3, None))
    row = cells(plan_tables.confidence({"a": record(cases)}), "a ")
    assert row == ["a", "no; 9", "3", "0.533", "0.533", "1.00"]


def test_a_renamed_part_keeps_its_table():
    cases = [case(n, 0.5) for n in range(20)]
    renamed = {"anything": record(cases)}
    assert "anything, set" in paper_tables.table_1(renamed)
    assert "a title" in paper_tables.fine_tuning(renamed)


def test_a_baseline_that_beats_the_network_is_named_part_by_part():
    made = record([case(0)])
    assert plan_tables.baselines_better({"a": made}) == ""
    made["table"]["rows"][0]["values"]["phase_prior_frame0"] = {"mean": 0.9}
    text = plan_tables.baselines_better({"a": made})
    assert "- `a`: The baseline “phase prior + frame 0”" in text
    assert "IoU (0.900; network 0.500)" in text
