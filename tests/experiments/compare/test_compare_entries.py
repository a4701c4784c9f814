"""What of the code a row of the comparison rests on."""

from __future__ import annotations

import pytest
from fake_scenarios import settings
from ml_collections import ConfigDict

from fluoro_jax import fingerprint
from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare import entries
from fluoro_jax.experiments.compare.entries import NETWORKS, read_entry
from fluoro_jax.experiments.compare.records import SOURCES
from fluoro_jax.experiments.compare.settings import check


def test_code_of_networks_decides_their_rows_and_no_rivals(monkeypatch):
    network, rival = "causal-cpu@0", "static_frame0"
    before = {name: read_entry(name).code for name in (network, rival)}
    monkeypatch.setattr(entries, "NETWORKS", ("tracking/posterior.py",))
    assert read_entry(network).code != before[network]
    assert read_entry(rival).code == before[rival]
    # What is in both would make rivals track again.
    assert not set(NETWORKS) & set(SOURCES)
    assert all(fingerprint.files(source) for source in NETWORKS)


def test_the_seeds_that_judge_confidences_make_no_table():
    cfg = ConfigDict(settings().to_dict())
    cfg.clips.seeds = "judged"
    with pytest.raises(UserError, match="judged"):
        check(cfg)
