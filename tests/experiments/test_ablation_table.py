"""Paired differences of the ablations, from records made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fluoro_jax.experiments.ablation_table import ablation, effect, paired_difference

NOISE = np.random.default_rng(0).normal(0.0, 0.01, size=20)


def record(role, seed, shift=0.0, *, drop=0, stale=""):
    cases = [
        dict(id=n, iou=0.5 + 0.01 * n + shift, vertical_iso_mm=5.0, distance_mm=6.0)
        for n in range(20)
    ]
    if role != "base":
        for case, noise in zip(cases, NOISE, strict=True):
            case["iou"] += noise
    mean = float(np.mean([case["iou"] for case in cases]))
    values = {"iou": mean, "vertical_iso_mm": 5.0}
    column = dict(key="ours", causal=False, lookahead_frames=9, lost_frames=1)
    table = dict(
        cases=cases[drop:],
        n_cases=20,
        columns=[column],
        rows=[dict(key=k, values={"ours": dict(mean=v)}) for k, v in values.items()],
    )
    config = dict(
        seed=seed,
        study=dict(rows=256, cols=256),
        data=dict(stack="wrap"),
        gen=dict(levels=7, refine_levels=5),
        train=dict(num_steps=10_000),
    )
    fields = dict(section="ablation", role=role, part=f"{role}_{seed}", stale=stale)
    return dict(fields, table=table, config=config)


@pytest.fixture(autouse=True)
def counts(monkeypatch):
    from fluoro_jax.experiments import departures

    monkeypatch.setattr(departures, "parameter_count", lambda gen, channels: 10**7)


def cells(text, start):
    line = next(line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def table_of(*records):
    return ablation({r["part"]: r for r in records})


def test_differences_are_paired_by_case_and_seed():
    base = [record("base", 0), record("base", 1, 0.3)]
    rows = [record("no_convlstm", s, 0.3 * s - 0.4) for s in (0, 1)]
    row = cells(table_of(*base, *rows), "no convlstm")
    assert row[1:4] == ["no; 9", "0, 1", "20"] and row[9] == "1, 1"
    # the seeds differ by 0.3 and the cases by 0.2; paired, neither counts
    assert row[10].count("-0.402 [") == 2 and row[11] == "lower"
    assert cells(table_of(*base, *rows), "base")[10:] == ["-"] * 4


def test_an_effect_below_the_bases_own_spread_is_not_resolved():
    base = [record("base", 0), record("base", 1, 0.3)]
    row = cells(table_of(*base, record("one_direction", 0, 0.1)), "one direction")
    assert row[11] == "no effect resolved: the base's seeds differ by as much"


def test_a_case_missing_in_one_run_is_left_out():
    row, base = record("pooling", 0, 0.1, drop=3), record("base", 0)
    assert len(paired_difference(row, base, "iou")) == 17
    alone = cells(table_of(base, record("pooling", 7)), "pooling")
    assert alone[10:12] == ["-", "no base of this seed"]
    assert table_of(row) == ""


@pytest.mark.parametrize(
    ("ends", "n", "spread", "words"),
    [
        ([(0.1, 0.3)], 30, 0.0, "higher (one seed)"),
        ([(0.1, 0.3), (0.2, 0.3)], 30, 0.1, "higher"),
        ([(-0.1, 0.3), (0.2, 0.3)], 30, 0.0, "no effect resolved: an interval holds 0"),
        ([(0.1, 0.3), (-0.3, -0.2)], 30, 0.0, "no effect resolved: seeds disagree"),
        ([(0.1, 0.3)], 8, 0.0, "no effect resolved: fewer than 15 cases"),
        (
            *([(-0.3, -0.1)], 30, 0.25),
            "no effect resolved: the base's seeds differ by as much",
        ),
    ],
)
def test_effects(ends, n, spread, words):
    found = [dict(mean=(a + b) / 2, low=a, high=b, n=n) for a, b in ends]
    assert effect(found, spread) == words


def test_a_stale_row_is_named():
    text = table_of(record("base", 0, stale="another seed"), record("base", 1))
    assert "| base (STALE) |" in text
