"""The line from a patient's files to a track: its command lines."""

from __future__ import annotations

import sys

import pytest

from launch import patient_ct, patient_phantom
from launch.patient_line import ASKED, note

CT = ["--ct=ct", "--rtstruct=ct/rs.dcm", "--roi=GTV"]


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        (patient_phantom, []),
        (patient_phantom, ["--workdir=x", "extra"]),
        (patient_phantom, ["--minutes=soon"]),
        (patient_ct, CT),
        (patient_ct, ["--workdir=x", "--ct=ct"]),
        (patient_ct, ["--workdir=x", *CT, "--hard"]),
        (patient_ct, ["--workdir=x", *CT]),  # there is no such folder
    ],
)
def test_a_command_that_cannot_be_done_is_refused(
    module, argv, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert module.main(argv) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
    assert not list(tmp_path.iterdir())


def test_without_the_extra_nothing_is_drawn_and_no_traceback_shown(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    work = tmp_path / "work"
    assert patient_phantom.main([f"--workdir={work}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 4 and "fluoro_jax[dicom]" in said[3] and not work.exists()


def test_a_workdir_of_another_patient_is_refused(capsys, tmp_path):
    note(tmp_path, {"ct": "/a", "rtstruct": "/a/rs.dcm", "roi": "GTV"})
    before = (tmp_path / ASKED).read_text()
    argv = ["--ct=/a", "--rtstruct=/a/rs.dcm", "--roi=PTV", f"--workdir={tmp_path}"]
    assert patient_ct.main(argv) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 4 and "--roi=GTV" in said[0]
    assert (tmp_path / ASKED).read_text() == before
