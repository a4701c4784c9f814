"""Trackers that are told true places: what they are given, and what is scored."""

from __future__ import annotations

import json

import jax
import numpy as np
from fake_scenarios import settings, use_discs

from fluoro_jax.experiments.compare.run import compare
from fluoro_jax.tracking.baselines import centroids

NAMES = ("centroids_delayed", "centroids_first_6s")


def test_frames_whose_truth_is_told_are_not_scored(tmp_path, monkeypatch):
    network = centroids.CentroidNetwork()
    params = network.init(jax.random.key(0), np.zeros((1, centroids.TAPS)))
    monkeypatch.setattr(centroids, "fit", lambda: params)
    use_discs(monkeypatch, frames=40)
    table = compare(settings(trackers=NAMES), tmp_path, scenarios="clinic")
    assert {row["knowledge"] for row in table["rows"]} == {"past truth"}
    assert [row["n"] for row in table["rows"]] == [2, 2]
    told = {}
    for path in (tmp_path / "records" / "clinic").glob("*.json"):
        record = json.loads(path.read_text())
        for case in record["cases"]:
            scored = np.array([d is not None for d in case["distance_mm"]])
            told[record["tracker"]] = np.array(case["time_s"])[~scored]
    assert not len(told["centroids_delayed"])
    # Frame 0 is shown to all alike; `summary` leaves it out.
    until_s = centroids.LABELLED_S
    np.testing.assert_allclose(
        told["centroids_first_6s"], np.arange(0.25, until_s + 0.1, 0.25)
    )
