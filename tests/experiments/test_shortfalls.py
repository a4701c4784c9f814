"""Learning curves and the cases that fall short, from records made by hand."""

from __future__ import annotations

import pytest

from fluoro_jax.experiments import shortfalls


def case(number, iou, **more):
    numbers = dict(kind="hard", diameter_mm=20.0, distance_mm=1.0, empty_predictions=0)
    numbers |= dict(vertical_iso_mm=0.6, horizontal_iso_mm=0.8, spine_overlap=0.0)
    numbers |= dict(heart_overlap=0.0, diaphragm_overlap=0.0, rib_overlap=0.7)
    return {"id": number, "iou": iou, **numbers, **more}


def record(cases, curve=(), **more):
    table = {"cases": cases, "scale": {"pixel_iso_mm": 1.0}}
    fields = dict(section="group", recipe="ours", of="", table=table, curve=list(curve))
    return fields | {"config": {"init": {"parent": ""}}} | more


def test_half_a_pixel_costs_a_small_disc_more():
    # 20 mm and a pixel of 2 mm: radius 10 for 9.
    assert shortfalls.half_pixel_iou(20.0, 2.0) == pytest.approx(81 / 100)
    assert shortfalls.half_pixel_iou(1.0, 2.0) == 0.0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (dict(iou=0.91), "its size: within half a pixel"),
        (dict(iou=0.89), "over none of these"),
        (dict(iou=0.89, heart_overlap=0.2, spine_overlap=0.3), "over the spine"),
        (dict(iou=0.89, diaphragm_overlap=0.09), "over none of these"),
        (
            dict(iou=0.91, empty_predictions=2.0),
            "empty in 2 frames; over none of these",
        ),
        (
            dict(iou=0.1, distance_mm=30.0, empty_predictions=1),
            "missed, empty in 1 frame; over none of these",
        ),
        (dict(iou=0.1, distance_mm=11.0, heart_overlap=0.5), "missed; over the heart"),
    ],
)
def test_the_reason_of_a_case(more, words):
    # 20 mm and a pixel of 1 mm: half a pixel off is 0.9025.
    assert shortfalls.reason(case(0, more.pop("iou"), **more), 1.0) == words


def test_the_worst_cases_come_first_and_the_good_ones_are_counted():
    cases = [
        case(0, 0.95),
        case(1, 0.85),
        case(2, 0.4, distance_mm=4.0, heart_overlap=0.921),
    ]
    records = {
        "ours": record([*cases, case(3, None), case(4, 0.97)]),
        "theirs": record(cases, recipe="published"),
        "held out": record(cases, of="ours"),
    }
    text = shortfalls.shortfalls(records)
    assert "`ours`: 2 of 4 cases; the other 2, mean IoU 0.960." in text
    assert "mean IoU, cases over 3 mm: hard 4, 0.792, 1." in text
    assert text.count("mean IoU") == 2 and "STALE" not in text
    assert "`old` (STALE): 1 of" in shortfalls.shortfalls(
        {"old": record([case(0, 0.5)], stale=["its code"])}
    )
    rows = [line for line in text.splitlines() if line.startswith(("| 1", "| 2"))]
    assert rows[0].startswith("| 2 | hard | 20.0 | 92, 0, 0, 70 | 0.40 | 0.90 | 4.0 |")
    assert rows[0].endswith("| [0.6, 0.8] | over the heart |") and len(rows) == 2
    assert shortfalls.shortfalls({}) == ""


def test_a_learning_curve_names_its_start():
    curve = [{"step": 10, "eval/iou": 0.25}, {"step": 20, "eval/iou": 0.5}]
    child = record([], curve, config={"init": {"parent": "a"}}, stale=["its code"])
    records = {"a": record([], curve[:1]), "b": child, "c": record([])}
    lines = shortfalls.learning_curves(records).splitlines()[-2:]
    assert lines == [
        "- `a`: 10: 0.250",
        "- `b` (STALE) (from `a`): 10: 0.250, 20: 0.500",
    ]
    assert shortfalls.learning_curves({"c": record([])}) == ""
