"""The line from a simulated patient's DICOM files to a track: its command line."""

from __future__ import annotations

import pytest

from launch import patient_phantom


@pytest.mark.parametrize("argv", [[], ["--workdir=x", "extra"], ["--minutes=soon"]])
def test_a_command_that_cannot_be_done_is_refused(argv, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert patient_phantom.main(argv) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
    assert not list(tmp_path.iterdir())
