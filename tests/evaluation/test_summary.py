"""What is read from a table, new or stored by an older version."""

from __future__ import annotations

import pytest

from fluoro_jax.evaluation import summary

FEW = dict(mean=0.5, low=0.4, high=0.6, n=8, sd=0.1)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (dict(FEW, n=15), "0.50 [0.40, 0.60]"),
        (
            dict(FEW, median=0.55, least=0.1, most=0.9),
            "median 0.55 [range 0.10 to 0.90]",
        ),
        (FEW, "0.50 (n = 8)"),  # stored before medians were
        (dict(FEW, n=1, median=0.5, least=0.5, most=0.5), "0.50 (n = 1)"),
        (dict(FEW, mean=None, n=0), "-"),
    ],
)
def test_no_interval_is_printed_for_few_cases(record, text):
    assert summary.format_value(record, 2) == text


def test_old_tables_give_what_they_hold():
    columns = [
        dict(key="ours", causal=False, lookahead_frames=9, lost_frames=3),
        dict(key="static", causal=True, lookahead_frames=0, empty_predictions=2),
    ]
    cases = [dict(distance_mm=d, si_mm=16.0) for d in (1.0, 3.0, None, 11.0)]
    table = dict(columns=columns, cases=cases, scale=dict(pixel_iso_mm=3.0))
    assert [summary.empty_predictions(c) for c in columns] == [3, 2]
    assert [summary.causality(c) for c in columns] == ["no; 9", "yes; 0"]
    cells = summary.lead_cells(summary.lead_of(table))
    assert cells == ["3.00", "9.40", "33.3 (1 of 3)"]
    assert summary.lead_cells(summary.lead_of(table, "static")) == ["-"] * 3
    with pytest.raises(KeyError, match="no tracker 'flow'"):
        summary.column(table, "flow")
    # the stored SI amplitude stands for the vertical range; nothing for the other
    assert summary.no_motion(table, "vertical_iso_mm") == ""
    assert "spans 16.00 mm" in summary.no_motion(table, "vertical_iso_mm", 20.0)
    assert summary.no_motion(table, "horizontal_iso_mm") == "motion not recorded"


@pytest.mark.parametrize(
    ("span", "tolerance", "still"),
    [(0.48, 0.3, True), (1.4, 0.0, True), (2.0, 2.5, True), (2.0, 0.3, False)],
)
def test_an_axis_moves_by_a_pixel_and_by_the_tolerance(span, tolerance, still):
    table = dict(scale=dict(pixel_iso_mm=1.5, truth_span_mm=[40.0, span]))
    assert bool(summary.no_motion(table, "horizontal_iso_mm", tolerance)) is still
    assert summary.no_motion(table, "vertical_iso_mm", tolerance) == ""
    assert summary.no_motion(table, "iou", 100.0) == ""
