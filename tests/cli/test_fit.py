"""`fluoro fit`: what is refused, and the line from DICOM files to weights."""

from __future__ import annotations

import pytest

from fluoro_jax.cli.main import main

GIVEN = {"ct": "ct", "rtstruct": "rs.dcm", "roi": "GTV", "out": "out"}


def told(capsys, **change):
    given = {k: v for k, v in {**GIVEN, **change}.items() if v is not None}
    assert main(["fit", *(f"--{k}={v}" for k, v in given.items())]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4
    return lines


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"rtstruct": None}, "no --rtstruct"),
        ({"roi": None}, "no --roi"),
        ({"out": None}, "no --out"),
        ({"ct": None}, "neither --ct nor --ct4d"),
        ({"ct4d": "phases"}, "both --ct and --ct4d"),
        ({"minutes": "0.5"}, "--minutes=0.5"),
        ({"minutes": "nan"}, "--minutes=nan"),
        ({"gantry-deg": "nan"}, "--gantry-deg=nan"),
        ({"seed": "-1"}, "--seed=-1"),
        ({"ct": "nowhere"}, "nowhere"),
    ],
)
def test_a_command_that_cannot_be_done_is_refused(
    change, found, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert found in told(capsys, **change)[0]
    assert not (tmp_path / "out").exists()
