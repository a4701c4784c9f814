"""What of the code a row of the comparison rests on."""

from __future__ import annotations

from fluoro_jax import fingerprint
from fluoro_jax.experiments.compare import entries
from fluoro_jax.experiments.compare.entries import NETWORKS, read_entry
from fluoro_jax.experiments.compare.records import SOURCES


def test_code_of_networks_decides_their_rows_and_no_rivals(monkeypatch):
    network, rival = "causal-cpu@0", "static_frame0"
    before = {name: read_entry(name).code for name in (network, rival)}
    monkeypatch.setattr(entries, "NETWORKS", ("tracking/posterior.py",))
    assert read_entry(network).code != before[network]
    assert read_entry(rival).code == before[rival]
    # What is in both would make rivals track again.
    assert not set(NETWORKS) & set(SOURCES)
    assert all(fingerprint.files(source) for source in NETWORKS)
