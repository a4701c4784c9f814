from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from fakes import FRAMES, arrays_of, clip_of, config

from fluoro_jax.evaluation import summary, tables
from fluoro_jax.evaluation.evaluate import methods, write_frames
from fluoro_jax.evaluation.statistics import Interval
from fluoro_jax.evaluation.strata import trained_beyond


def row_of(table, key):
    return next(row for row in table["rows"] if row["key"] == key)


def test_a_value_is_the_mean_over_cases_of_means_over_frames(results):
    run = results.runs["ours"]
    by_hand = np.mean([score.iou.mean() for score in run.scores])
    value = row_of(results.table, "iou")["values"]["ours"]
    assert value["mean"] == pytest.approx(by_hand) and value["n"] == 4
    assert value["low"] <= by_hand <= value["high"]


def test_units_of_one_error_agree(results):
    vertical = {
        unit: row_of(results.table, f"vertical_{unit}")["values"]["static"]["mean"]
        for unit in ("px", "detector_mm", "iso_mm")
    }
    assert vertical["detector_mm"] == pytest.approx(15.0 * vertical["px"])
    assert vertical["iso_mm"] == pytest.approx(10.0 * vertical["px"])


def test_every_column_says_what_it_was_given(results):
    given = {c["key"]: c["given"] for c in results.table["columns"]}
    assert given["ours"] == "frame 0 and its mask" and given["static"] == "none"
    assert summary.reference_given({"given": "nothing"}) == "none"  # older tables
    assert all(
        "causal" in c and "lookahead_frames" in c for c in results.table["columns"]
    )


def test_paired_difference_is_taken_case_by_case(results):
    line = next(p for p in results.table["paired"] if p["key"] == "static")
    cases = zip(results.runs["ours"].cases, results.runs["static"].cases, strict=True)
    by_hand = np.mean([ours["iou"] - other["iou"] for ours, other in cases])
    assert line["values"]["iou"]["mean"] == pytest.approx(by_hand)


def test_paper_stands_beside_and_few_cases_are_cautioned(results):
    text = tables.to_markdown(results.table)
    assert "0.92 (journal 0.93 ± 0.04)" in text and "CAUTION: only 4 cases" in text
    assert " [range " in text and "| median " in text
    assert "| vertical error [mm at isocentre] | 1.6 |" in text


@pytest.mark.parametrize(
    ("stack", "lstm", "lookahead"),
    [
        ("wrap", "all", {"ours": FRAMES - 1, "ours_online": 0}),
        ("single", "all", {"ours": FRAMES - 1, "ours_online": 0}),
        ("single", "none", {"ours": 0}),
    ],
)
def test_a_network_that_reads_no_other_frame_stands_once(stack, lstm, lookahead):
    cfg = config()
    cfg.data.stack, cfg.gen.lstm = stack, lstm
    columns = methods(cfg, None, None, arrays_of([clip_of(10, 10, 3)]))
    named = {c.key: c.tracker for c in columns if c.key.startswith("ours")}
    shown, guarded = named.pop("ours_frame0"), named.pop("ours_template_frame0")
    assert shown.lookahead_frames == named["ours"].lookahead_frames
    assert (guarded.inner, guarded.threshold) == (shown.inner, cfg.evaluation.threshold)
    assert shown.template is None and guarded.template is not None
    ours = named
    assert {key: t.lookahead_frames for key, t in ours.items()} == lookahead


def test_json_and_csv_give_the_numbers_back(results, tmp_path):
    tables.write_tables(results.table, tmp_path)
    assert tables.read_table(tmp_path) == json.loads(json.dumps(results.table))
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    found = [x for x in lines if (x["measure"], x["tracker"]) == ("dice", "ours")]
    value = row_of(results.table, "dice")["values"]["ours"]
    assert float(found[0]["mean"]) == value["mean"]
    assert found[0]["high95"] == ""  # four cases have no interval
    assert float(found[0]["max"]) == value["most"]
    led = {x["measure"]: x for x in lines if x["tracker"] == "static"}
    median_mm = results.table["lead"]["static"]["median_mm"]
    assert float(led["distance_median_mm"]["mean"]) == median_mm
    assert {"distance_p90_mm", "missed_pct_of_cases"} <= set(led)


def test_frames_and_cases_are_written_whole(results, tmp_path):
    write_frames(results.runs, results.arrays, tmp_path)
    with (tmp_path / "per_frame.csv").open() as file:
        frames = list(csv.DictReader(file))
    with (tmp_path / "per_case.csv").open() as file:
        cases = list(csv.DictReader(file))
    assert len(frames) == 5 * 4 * 4 and len(cases) == 5 * 4
    mine = [
        float(x["iou"]) for x in frames if (x["tracker"], x["case"]) == ("ours", "2")
    ]
    case = next(x for x in cases if (x["tracker"], x["case"]) == ("ours", "2"))
    assert float(case["iou"]) == pytest.approx(np.mean(mine))


def test_strata_split_by_size_and_overlap(results):
    counts = {line["label"]: line["n"] for line in results.table["strata"]}
    assert counts["over the heart (> 10 % of the mask)"] == 3
    sizes = [n for label, n in counts.items() if label.startswith("diameter")]
    assert sum(sizes) == 4


def test_what_was_trained_beyond_the_stored_sizes_is_said():
    data = config().data
    assert trained_beyond(data, 20.0, 40.0) == ("none trained", "none trained")
    data.source = "simulator"
    words = ("simulated down to 10 mm", "none trained")
    assert trained_beyond(data, 20.0, 40.0) == words
    assert trained_beyond(data, 5.0, 39.0)[1] == "simulated up to 40 mm"


def test_nothing_is_a_dash_and_valid_json():
    record = tables.as_record(Interval(float("nan"), float("nan"), float("nan"), 0))
    assert summary.format_value(record, 2) == "-"
    assert json.dumps(record, allow_nan=False)
    full = tables.as_record(Interval(0.91234, 0.9, 0.95, 30, 0.04))
    assert summary.format_value(full, 3) == "0.912 [0.900, 0.950]"


def test_the_distance_leads_and_the_short_form_has_eight_rows(results):
    text = tables.to_markdown(results.table)
    rows = [line.split("|")[1].strip() for line in text.splitlines() if "|" in line]
    assert rows[5:9] == [*summary.LEAD_LABELS, "IoU"]
    short = tables.to_markdown(results.table, short=True)
    rows = [line.split("|")[1].strip() for line in short.splitlines() if "|" in line]
    assert rows[2:5] == ["reference given", "causal", "lookahead [frames]"]
    assert len(rows[5:]) == 8 and rows[-1] == "empty predictions [frames]"


def test_a_baseline_ahead_of_the_network_is_named(results):
    values = row_of(results.table, "iou")["values"]
    swap = {"ours": "static", "static": "ours"}
    rows = [
        dict(r, values={k: r["values"][swap.get(k, k)] for k in r["values"]})
        for r in results.table["rows"]
    ]
    notes = summary.baselines_ahead(dict(results.table, rows=rows))
    mean = f"{values['ours']['mean']:.3f}"
    assert any("“static”" in note and f"IoU ({mean};" in note for note in notes)
    assert not any("“static”" in note for note in results.table["notes"])


def test_where_a_clip_is_one_frame_the_outline_of_frame_0_is_not_named_as_better(
    results,
):
    rows = [
        dict(r, values={k: r["values"]["static"] for k in r["values"]})
        | {"values": {**r["values"], "ours": {"mean": -1.0}}}
        for r in results.table["rows"]
        if r["higher_is_better"]
    ]
    table = dict(results.table, rows=rows)
    count = len(summary.baselines_ahead(table))
    table["n_frames"] = table["n_cases"]
    notes = summary.baselines_ahead(table)
    assert 0 < len(notes) < count
    assert not any("frame 0" in note for note in notes)
