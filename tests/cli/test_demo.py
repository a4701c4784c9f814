"""The example patient: files of the package, and a page at the end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fluoro_jax import zoo
from fluoro_jax.cli.main import main
from fluoro_jax.data.patient_bodies import PATIENT, read_patient
from fluoro_jax.patient import demo
from fluoro_jax.patient.demo import EXAMPLE


def test_the_examples_files_are_small_cited_and_whole():
    assert (EXAMPLE / PATIENT).stat().st_size < 2e6
    words = (EXAMPLE / "README.md").read_text("utf-8")
    assert "CC BY 3.0" in words and "10.7937/K9/TCIA.2015.LO9QL9SX" in words
    patient = read_patient(EXAMPLE / PATIENT)
    assert patient.hu.shape[0] == 1 and patient.hu.min() >= -1000
    name, folder = zoo.find(str(EXAMPLE))
    card = zoo.load(name, folder=folder).card
    assert "one patient" in card["limits"][0] and "/tmp" not in json.dumps(card)


def test_another_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("mine")
    assert main(["demo", f"--out={tmp_path}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_the_demo_ends_with_a_page_that_found_the_tumour(tmp_path, monkeypatch):
    usual = demo.example_clip
    monkeypatch.setattr(demo, "example_clip", lambda: usual(frames=14))
    assert main(["demo", f"--out={tmp_path / 'out'}", "--no-open"]) == 0
    results = json.loads((tmp_path / "out/tracked/results.json").read_text("utf-8"))
    assert results["errors"]["frames"] == 14
    assert results["errors"]["distance_mm"]["median"] < 1.5
    assert np.ptp(results["truth"]["y_iso_mm"]) > 1.0  # and it moved
