"""`fluoro fit`: what is refused, and the line from DICOM files to weights."""

from __future__ import annotations

import json

import numpy as np
import patients
import pytest
from lung_sphere import CENTRES, GRID, sphere

from fluoro_jax.cli import fit
from fluoro_jax.cli.main import main, parser
from fluoro_jax.errors import UserError
from fluoro_jax.io.contours import rasterise
from fluoro_jax.io.ct import write_ct
from fluoro_jax.io.dicom.write_ct import write_rtstruct

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
        ({"gantry-deg": "0,360"}, "--gantry-deg=0,360"),
        ({"gantry-deg": "0,left"}, "--gantry-deg=0,left"),
        ({"gantry-deg": ""}, "--gantry-deg="),
        ({"seed": "-1"}, "--seed=-1"),
        ({"init": "auto", "minutes": "19"}, "--init=auto with --minutes=19"),
        ({"init": "grup"}, "no weights 'grup'"),
        ({"ct": "nowhere"}, "nowhere"),
        ({"ct": "nowhere.nii.gz"}, "nowhere.nii.gz"),
        ({"gtv-mask": "gtv.mha"}, "--gtv-mask with --rtstruct"),
        (
            {"gtv-mask": "gtv.mha", "rtstruct": None, "ct": None, "ct4d": "phases"},
            "--gtv-mask with --ct4d",
        ),
        ({"gtv-mask": "gtv.mha", "rtstruct": None}, "--roi=GTV with --gtv-mask"),
        ({"phase": "a=50"}, "--phase without --ct4d"),
        ({"reference-phase": "50"}, "--reference-phase without --ct4d"),
        ({"ct": None, "ct4d": "phases", "phase": "50"}, "--phase '50'"),
        ({"ct": None, "ct4d": "phases", "phase": "a=late"}, "--phase 'a=late'"),
    ],
)
def test_a_command_that_cannot_be_done_is_refused(
    change, found, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert found in told(capsys, **change)[0]
    assert not (tmp_path / "out").exists()


def read_options(*argv):
    asked = parser().parse_args(["fit", *map(str, argv)])
    return fit.options_from(asked)


def test_a_fit_goes_on_from_what_it_started_from(tmp_path):
    given = [f"--{k}={v}" for k, v in GIVEN.items()]
    old = fit._asked(read_options(*given))
    assert old.pop("init") == "scratch"
    (tmp_path / "fit.json").write_text(json.dumps({"asked": old}))
    fit._check_same(tmp_path / "fit.json", fit._asked(read_options(*given)))
    other = fit._asked(read_options(*given, "--init=group"))
    with pytest.raises(UserError, match="--init was scratch, is group"):
        fit._check_same(tmp_path / "fit.json", other)


def test_one_angle_is_recorded_as_earlier_fits_have_it():
    given = [f"--{k}={v}" for k, v in GIVEN.items()]
    one = fit._asked(read_options(*given, "--gantry-deg=90"))
    several = fit._asked(read_options(*given, "--gantry-deg=0,90"))
    assert one["gantry_deg"] == 90.0 and several["gantry_deg"] == [0.0, 90.0]


def test_a_ct_and_a_mask_from_files_make_a_patient(tmp_path):
    hu, roi = sphere(CENTRES[0])
    share = rasterise(roi, GRID, hu.shape)
    write_ct(tmp_path / "ct.mha", hu, GRID)
    write_ct(tmp_path / "gtv.mha", (share > 0.5).astype(np.uint8), GRID)
    given = (f"--ct={tmp_path / 'ct.mha'}", f"--out={tmp_path / 'out'}")
    mask = f"--gtv-mask={tmp_path / 'gtv.mha'}"
    patient, told = fit._prepare(read_options(*given, mask))
    np.testing.assert_allclose(patient.centre_mm, CENTRES[:1], atol=0.2)
    np.testing.assert_allclose(told["isocentre_mm"], CENTRES[0], atol=0.2)
    voxels = np.count_nonzero(share > 0.5)
    assert told["volume_ml"] == pytest.approx(0.008 * voxels, rel=1e-3)
    assert told["isocentre"].endswith("gtv.mha (no plan given)")
    assert told["sources"]["roi"] == {"mask": str(tmp_path / "gtv.mha")}
    # The same from contours on the same file.
    write_rtstruct(tmp_path / "rs.dcm", [roi])
    contours = (f"--rtstruct={tmp_path / 'rs.dcm'}", "--roi=GTV")
    again, told = fit._prepare(read_options(*given, *contours))
    np.testing.assert_allclose(again.centre_mm, patient.centre_mm, atol=0.2)
    assert "taken as the same" in told["sources"]["roi"]["frame_of_reference"]


def test_phases_that_the_files_do_not_name_are_stated(tmp_path):
    folders = patients.write_4d(tmp_path / "ct", (0, 25, 50, 75))
    for name, folder in zip("abcd", folders.values(), strict=True):
        patients.change_all(folder, SeriesDescription=name)
    write_rtstruct(tmp_path / "rs.dcm", [patients.cylinder()], percent=None)
    given = [f"--ct4d={tmp_path / 'ct'}", f"--rtstruct={tmp_path / 'rs.dcm'}"]
    given += ["--roi=GTV", f"--out={tmp_path / 'out'}"]
    with pytest.raises(UserError, match="0 breathing phases") as caught:
        fit._read(read_options(*given))
    assert "--phase SERIES=PERCENT" in caught.value.fix
    given += ["--phase=a=0", "--phase=b=30", "--phase=d=60"]
    with pytest.raises(UserError, match="of no phase") as caught:
        fit._read(read_options(*given))
    assert "--reference-phase PERCENT" in caught.value.fix
    with pytest.raises(UserError, match="--reference-phase 50") as caught:
        fit._read(read_options(*given, "--reference-phase=50"))
    assert caught.value.needed == "one of the phases: 0, 30, 60"
    phases, rois, _ = fit._read(read_options(*given, "--reference-phase=30"))
    assert list(phases.percents) == [0, 30, 60] and list(rois) == [1]
    with pytest.raises(UserError, match="'a=0', a second time"):
        read_options(*given, "--phase=a=0")
