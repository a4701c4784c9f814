"""What the records of docs say of a network is of the network in the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs import paper_all
from fluoro_jax.experiments.plan import read_plan
from fluoro_jax.zoo import load

RECORDS = Path(__file__).parents[2] / "docs/results/paper_all_cpu"
PUBLISHED = {
    n: p for n, p in read_plan(paper_all.get_config("cpu")).items() if p.weights
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_record_is_of_the_run_whose_weights_are_published(name):
    record = json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))
    card = load(PUBLISHED[name].weights).card
    first, last = record["history"][0], record["history"][-1]
    run, cases = card["training"], record["table"]["cases"]
    # Scored as the run or as its weights, with nothing but bfloat16 in between.
    by_id = {case["id"]: case["iou"] for case in cases}
    for case in card["cases"]:
        assert by_id[case["case"]] == pytest.approx(case["iou"], abs=0.02)
    assert (first["time"], last["to"]) == (run["begun"], run["step"])
    if "published" in record:
        assert record["published"]["sha256"] == card["weights"]["sha256"]
