import dataclasses
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from fluoro_jax.cli import main as cli
from fluoro_jax.cli.simulate import cases, options, run
from fluoro_jax.errors import UserError
from fluoro_jax.geometry import iec_to_lps, square_panel
from fluoro_jax.io import animation as drawing
from fluoro_jax.io.mha import read_mha
from fluoro_jax.io.read_clip import read_clip
from fluoro_jax.io.trackrad import read_trackrad
from fluoro_jax.sim.tumor.tumor import tumor_mask
from fluoro_jax.sim.xray.exposure import varian_fluoro

# ml_collections 1.1 loads config files in a deprecated way.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
ROOT = Path(__file__).parents[2]
SMALL = ["--rows=32", "--voxel-mm=8", "--num-frames=3", "--frame-s=0.8"]
QUICK = [*SMALL, "--shape=lobulated", "--photons=20000", "--quiet"]


def options_of(*words):
    args, rest = cli.parser().parse_known_args(["simulate", *words])
    return options.options_from(args, rest)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two cases, written once by the command itself."""
    out = tmp_path_factory.mktemp("sim") / "clips"
    assert cli.main(["simulate", "--cases=2", f"--out={out}", *QUICK]) == 0
    return out


@pytest.fixture(scope="module")
def second():
    """What case 1 must hold."""
    asked = options_of("--out=x", *QUICK)
    spec, _ = cases.study_spec(asked)
    drawn = cases.draw_case(spec, asked, 1)
    return drawn, *cases.simulate_case(drawn, spec)


def test_what_is_written_reads_back(written, second):
    drawn, clip, _ = second
    got = read_trackrad(written / "case_0001")
    np.testing.assert_array_equal(got.labels, clip.mask)
    np.testing.assert_array_equal(got.frames, clip.frames)
    assert got.frames.shape == (3, 32, 32) and got.labels.sum() > 0
    assert got.rate_hz == pytest.approx(1.25)
    assert got.pixel_mm == pytest.approx((10.0, 10.0))
    soft = read_mha(written / "case_0001" / "targets" / "case_0001_coverage.mha")
    soft = np.transpose(soft.array)
    assert (soft[got.labels == 1] > 0).all() and soft.max() <= 1.0
    fine = dataclasses.replace(
        clip.geometry, rows=512, cols=512, pixel_mm=(0.9375, 0.9375)
    )
    mask_of = jax.jit(lambda at: tumor_mask(fine, drawn.case.tumor, iec_to_lps(at)))
    shadow = [np.asarray(mask_of(at)).sum() for at in np.asarray(clip.centre_mm)]
    area = np.array(shadow) / 16**2
    np.testing.assert_allclose(soft.sum((1, 2)), area, rtol=0.1)
    want = cases.coverage_of(clip, drawn.case.tumor)
    np.testing.assert_array_equal(soft, want)


def test_what_is_written_is_a_clip(written, second):
    _, clip, _ = second
    read = read_clip(written / "case_0001")
    assert read.geometry == square_panel(32) and read.domain == clip.domain
    np.testing.assert_array_equal(read.frames, clip.frames)
    np.testing.assert_array_equal(read.mask, clip.mask)
    np.testing.assert_allclose(read.time_s, clip.time_s)


def test_truth_is_whole_and_says_where_it_is_from(written, second):
    drawn, clip, seen = second
    truth = json.loads((written / "case_0001" / "truth.json").read_text())
    np.testing.assert_allclose(truth["centroid_px"], clip.centroid_px, rtol=1e-6)
    np.testing.assert_allclose(truth["centre_mm"], clip.centre_mm, rtol=1e-6)
    np.testing.assert_allclose(truth["mask_area_px"], clip.mask.sum((1, 2)))
    assert (truth["case"], truth["number"], truth["seed"]) == ("case_0001", 1, 0)
    geometry = truth["geometry"]
    assert geometry["rows"] == {"value": 32, "source": "command line"}
    assert geometry["cols"]["source"] == "as rows"
    assert geometry["gantry_deg"] == {"value": 0.0, "source": "default"}
    assert set(geometry) == {f.name for f in dataclasses.fields(clip.geometry)}
    for name in ("rib", "heart", "spine", "diaphragm"):
        share = np.array(truth[f"overlap_{name}"])
        assert share.shape == (3,) and ((share >= 0) & (share <= 1)).all()
    assert min(truth["contrast"]) > 0 and min(truth["contrast_to_noise"]) > 0
    np.testing.assert_allclose(truth["contrast"], seen["contrast"], rtol=1e-6)
    assert len(truth["tumor"]["shape"]["offset"]) >= 3
    assert truth["tumor"]["diameter_mm"] == truth["labels"]["diameter_mm"]
    assert truth["anatomy"]["scale_ap"] == float(drawn.case.anatomy.scale_ap)
    assert truth["breathing"]["si_mm"] == float(drawn.case.breathing.si_mm)
    si = np.ptp(np.asarray(clip.centre_mm)[:, 1])
    assert truth["range_mm"]["SI"] == pytest.approx(si)


def test_pictures_move_and_show_the_outline(written, second):
    _, clip, _ = second
    with Image.open(written / "case_0001" / "clip.gif") as animation:
        assert (animation.n_frames, animation.size) == (3, (256, 256))
        assert animation.info["duration"] == 800 and animation.info["loop"] == 0
        animation.seek(1)
        pixels = np.asarray(animation.convert("RGB")).astype(int)
    orange = np.abs(pixels - drawing.OUTLINE).sum(-1) < 60
    want = drawing.edge(np.kron(clip.mask[1] > 0, np.ones((8, 8), bool)))
    assert orange[want].mean() > 0.9 and orange[~want].mean() < 0.02
    with Image.open(written / "contact_sheet.png") as sheet:
        assert sheet.size == (3 * 256, 2 * (256 + drawing.MARGIN_PX))


def test_webp_moves_too_and_one_frame_is_a_film(second, tmp_path):
    _, clip, _ = second
    one = clip.replace(frames=clip.frames[:1], mask=clip.mask[:1], time_s=np.zeros(1))
    for name, animation, count in (("a.webp", clip, 3), ("b.gif", one, 1)):
        drawing.write_animation(tmp_path / name, animation)
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == count


def test_a_killed_simulation_goes_on(written, monkeypatch, tmp_path, capsys):
    """The same command keeps what is finished and makes what is missing."""
    out = tmp_path / "clips"
    shutil.copytree(written / "case_0001", out / "case_0001")
    shutil.copytree(written / "case_0001", out / ".unfinished-99999999" / "case_0000")
    monkeypatch.setattr(run, "draw_case", lambda spec, options, number: number)
    monkeypatch.setattr(run, "simulate_case", lambda drawn, spec, exposure: (drawn, {}))
    monkeypatch.setattr(run, "truth_of", lambda drawn, *rest, **more: {})
    made = []

    def write(staging, drawn, clip, *, truth, suffix):
        made.append(drawn)
        (staging / "case_0000").mkdir(parents=True)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(run, "_write_case", write)
    monkeypatch.setattr(run, "_put", lambda staging, out, name: None)
    again = ["simulate", "--cases=2", f"--out={out}", *QUICK]
    assert cli.main(again[:-1]) == 0
    assert made == [0] and "going on: 1 of 2" in capsys.readouterr().err
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.size[0] == 3 * 256
    assert not (out / ".unfinished-99999999").exists()
    whole = ["simulate", "--cases=2", f"--out={written}", *QUICK[:-1]]
    assert cli.main(whole) == 0
    assert made == [0] and "already" in capsys.readouterr().err


def test_finished_cases_are_replaced_only_when_asked(written, capsys):
    before = (written / "case_0000" / "truth.json").read_bytes()
    mine = written / "notes.txt"
    mine.write_text("mine")
    again = ["simulate", "--cases=1", f"--out={written}", "--seed=5", *QUICK]
    assert cli.main(again) == 2
    text = capsys.readouterr().err
    assert "--overwrite" in text and len(text.splitlines()) == 4
    assert (written / "case_0000" / "truth.json").read_bytes() == before
    copy = {p: p.read_bytes() for p in (written / "case_0001").rglob("*.mha")}
    assert cli.main([*again, "--overwrite"]) == 0
    assert (written / "case_0000" / "truth.json").read_bytes() != before
    assert all(p.read_bytes() == data for p, data in copy.items())
    names = {p.name for p in written.iterdir()}
    assert names == {"case_0000", "case_0001", "contact_sheet.png", "notes.txt"}
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("finished", [0, 1])
def test_a_full_disk_leaves_whole_cases_only(finished, tmp_path, monkeypatch, capsys):
    real, calls = run.write_animation, []

    def fails(path, clip):
        calls.append(path)
        if len(calls) > finished:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, clip)

    monkeypatch.setattr(run, "write_animation", fails)
    out = tmp_path / "clips"
    assert cli.main(["simulate", "--cases=2", f"--out={out}", *QUICK]) == 2
    text = capsys.readouterr().err
    assert "No space left" in text and len(text.splitlines()) == 4
    left = {p.name for p in out.iterdir()} if out.exists() else set()
    assert left == ({"case_0000"} if finished else set())
    assert out.exists() == bool(finished)


def test_ctrl_c_leaves_nothing_half_written(tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "write_trackrad", stop)
    argv = ["simulate", "--cases=1", f"--out={tmp_path / 'a'}", *QUICK]
    assert cli.main(argv) == 130
    assert not (tmp_path / "a").exists()


def test_cases_depend_on_seed_and_number_alone(second):
    first = options_of("--out=x", "--cases=9", *QUICK)
    spec, _ = cases.study_spec(first)
    same, other = (cases.draw_case(spec, first, n).case for n in (1, 2))
    want = second[0].case
    assert jax.tree.all(jax.tree.map(np.array_equal, same, want))
    assert float(other.tumor.diameter_mm) != float(want.tumor.diameter_mm)
    reseeded = options_of("--out=x", "--seed=1", *QUICK)
    spec, _ = cases.study_spec(reseeded)
    drawn = cases.draw_case(spec, reseeded, 1).case
    assert float(drawn.tumor.diameter_mm) != float(want.tumor.diameter_mm)


def test_hearts_beat_unless_asked_not_to(written, second):
    truth = json.loads((written / "case_0001" / "truth.json").read_text())
    assert truth["frames"]["heartbeat"] and not truth["frames"]["periodic"]
    asked = options_of("--out=x", "--no-heartbeat", *QUICK)
    spec, _ = cases.study_spec(asked)
    still = cases.draw_case(spec, asked, 1).case
    assert still.periodic and not still.heartbeat
    beating = second[0].case
    assert beating.heartbeat
    # no random number is moved
    parts = lambda case: (case.anatomy, case.breathing, case.tumor)
    same = jax.tree.map(np.array_equal, parts(still), parts(beating))
    assert jax.tree.all(same)


@pytest.mark.slow
def test_an_x_ray_machine_takes_the_clip(second):
    """The same truth, another picture: what the panel of `--kvp` reads."""
    drawn, ideal, _ = second
    asked = options_of("--out=x", *SMALL, "--shape=lobulated", "--kvp=80")
    spec, sources = cases.study_spec(asked)
    machine = cases.machine_of(asked, spec.geometry())
    clip, seen = cases.simulate_case(drawn, spec, machine)
    np.testing.assert_array_equal(clip.mask, ideal.mask)
    want = cases.fl.simulate(
        drawn.case,
        spec.geometry(),
        drawn.noise_key,
        voxel_mm=spec.voxel_mm,
        exposure=varian_fluoro(80.0, 0.4),
    )
    np.testing.assert_array_equal(clip.frames, want.frames)
    assert clip.domain == "log" and np.isfinite(clip.frames).all()
    assert np.abs(clip.frames - ideal.frames).max() > 0.1
    assert "contrast_to_noise" not in seen
    truth = cases.truth_of(
        drawn, clip, seen, spec=spec, sources=sources, exposure=machine
    )
    assert truth["exposure"]["tube"]["kvp"] == 80.0 and truth["exposure"]["mas"] == 0.4
    assert "panel" in truth["frames"]["holds"]
    assert truth["frames"]["photons"] == {"value": 0.0, "source": "off, as --kvp is on"}
    json.dumps(truth)


@pytest.mark.parametrize("panel", ["varian", "elekta"])
def test_the_air_gap_is_that_of_the_view(panel):
    """SDD 1500 less SAD 1000 less half a patient of 240 mm, whatever the panel."""
    asked = options_of("--out=x", *SMALL, "--kvp=90", f"--panel={panel}")
    spec, _ = cases.study_spec(asked)
    machine = cases.machine_of(asked, spec.geometry())
    assert machine.scatter.gap_mm == 380.0


def test_the_diameter_asked_for_is_the_tumours(second):
    asked = options_of("--out=x", "--diameter-mm=9", *QUICK)
    spec, _ = cases.study_spec(asked)
    drawn = cases.draw_case(spec, asked, 1)
    assert float(drawn.case.tumor.diameter_mm) == drawn.labels["diameter_mm"] == 9.0
    body = second[0].case.anatomy
    assert float(drawn.case.anatomy.scale_ap) == float(body.scale_ap)


@pytest.mark.parametrize(
    "kind", ["irregular", pytest.param("trace:quiet", marks=pytest.mark.slow)]
)
def test_other_breathing_keeps_exhale_and_amplitude(kind, second):
    asked = options_of("--out=x", f"--breathing={kind}", *QUICK)
    spec, _ = cases.study_spec(asked)
    drawn = cases.draw_case(spec, asked, 1)
    si, ap = cases.fl.breathing_displacement_mm(drawn.case.breathing, drawn.case.time_s)
    want = second[0].case.breathing
    assert min(si.min(), ap.min()) == pytest.approx(0.0, abs=1e-3)
    assert 0.3 < float(si.max()) / float(want.si_mm) < 1.0001
    assert 0.3 < float(ap.max()) / float(want.ap_mm) < 1.0001
    # This clip is shorter than a breath, so the curve keeps its usual depth of 1.
    turned = drawn.case.breathing
    assert float(turned.si_mm) == pytest.approx(float(want.si_mm), rel=1e-4)
    assert float(turned.ap_mm) == pytest.approx(float(want.ap_mm), rel=1e-4)
    assert not drawn.case.periodic and drawn.labels["breathing"] == kind
    labels = (drawn.labels["si_mm"], drawn.labels["ap_mm"])
    assert labels == pytest.approx((float(si.max()), float(ap.max())))
    clear = cases.fl.lung_clearance_mm(
        drawn.case.anatomy, drawn.case.breathing, drawn.case.tumor, drawn.case.time_s
    )
    assert float(clear) >= 0.0


@pytest.mark.parametrize("number", [10, 13])
def test_a_body_can_take_other_breathing(number):
    """With exhale where the record has it, these move from -18 to 30, -36 to 37 mm."""
    asked = options_of("--out=x", "--breathing=irregular", *QUICK)
    spec, _ = cases.study_spec(asked)
    case = cases.draw_case(spec, asked, number).case
    si, _ = cases.fl.breathing_displacement_mm(case.breathing, case.time_s)
    assert si.min() > -1e-3 and si.max() <= 40.0


def test_the_usual_depth_of_a_recording_is_no_sighs():
    at_s = np.arange(0.0, 200.0, 0.1)
    breath = 5.0 * (1.0 - np.cos(2.0 * np.pi * at_s / 4.0))
    sigh = np.where((at_s > 100.0) & (at_s < 104.0), 3.0, 1.0)
    assert cases._usual_depth(sigh * breath, 45) == pytest.approx(10.0, rel=1e-6)
    assert cases._usual_depth(breath, 5000) == pytest.approx(10.0, rel=1e-6)


def test_a_shallow_stretch_of_a_recording_stays_shallow(second, monkeypatch):
    """It had been turned up to the whole amplitude, by up to ten times."""
    at_s = np.arange(0.0, 200.0, 0.1)
    breath = 1.0 - np.cos(2.0 * np.pi * at_s / 4.0)
    quiet = np.where(at_s < 150.0, 10.0, 2.0) * breath
    monkeypatch.setattr(cases, "load_trace", lambda name: (quiet, 10.0))
    time_s = np.arange(0.0, 5.0, 0.1, dtype=np.float32)
    case = dataclasses.replace(second[0].case, time_s=time_s)
    starts = np.random.default_rng(0)
    seen = [cases._other_breathing(starts, "trace:x", case) for _ in range(20)]
    moves = [cases.fl.breathing_displacement_mm(b, case.time_s)[0] for b in seen]
    depth = np.array([np.ptp(mm) for mm in moves]) / float(case.breathing.si_mm)
    assert depth.max() < 1.0001 and depth.min() == pytest.approx(0.2, rel=0.01)
    assert depth.max() == pytest.approx(1.0, rel=1e-3)


def test_the_deepest_breath_of_a_long_clip_has_the_amplitude_that_was_drawn(second):
    time_s = np.arange(0.0, 60.0, 0.1, dtype=np.float32)
    case = dataclasses.replace(second[0].case, time_s=time_s)
    for kind in ("irregular", "trace:quiet"):
        seen = cases._other_breathing(np.random.default_rng(0), kind, case)
        moves = cases.fl.breathing_displacement_mm(seen, time_s)
        deepest = [float(np.max(mm)) for mm in moves]
        want = [float(case.breathing.si_mm), float(case.breathing.ap_mm)]
        assert deepest == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_chest_follows_a_recording_within_a_breath(seed, second):
    """The lag had counted in clip lengths, 5.4 s of a clip of 60 s."""
    time_s = np.arange(0.0, 60.0, 0.1, dtype=np.float32)
    lag = np.float32(0.1)
    own = dataclasses.replace(second[0].case.breathing, period_s=60.0, ap_lag=lag)
    case = dataclasses.replace(second[0].case, breathing=own, time_s=time_s)
    rng = np.random.default_rng(seed)
    seen = cases._other_breathing(rng, "trace:quiet", case)
    si, ap = (np.asarray(s) for s in cases.breathing_signal(seen, time_s))
    np.testing.assert_allclose(ap[5:], si[:-5], atol=1e-4)
    # Nowhere is it held at the recording's first or last sample.
    assert min(np.abs(np.diff(ap)[:3]).max(), np.abs(np.diff(si)[-3:]).max()) > 1e-4


def test_a_clip_longer_than_the_recording_is_refused(tmp_path):
    words = ["--breathing=trace:quiet", "--rows=32", "--frame-s=0.5"]
    most = options_of("--out=x", *words, "--num-frames=131")
    assert cases.study_spec(most)[0].num_frames == 131
    more = options_of(f"--out={tmp_path / 'x'}", *words, "--num-frames=132")
    with pytest.raises(UserError, match="stand still") as error:
        cases.study_spec(more)
    assert "65.5 s with --breathing=trace:quiet" in str(error.value)
    assert "at most 65 s" in str(error.value)


def test_a_clip_of_part_of_a_breath_shows_part_of_it(second, monkeypatch):
    breath = 5.0 * (1.0 - np.cos(2.0 * np.pi * np.arange(0.0, 200.0, 0.1) / 4.0))
    monkeypatch.setattr(cases, "load_trace", lambda name: (breath, 10.0))
    time_s = np.arange(0.0, 0.6, 0.1, dtype=np.float32)
    case = dataclasses.replace(second[0].case, time_s=time_s)
    for seed in range(5):
        seen = cases._other_breathing(np.random.default_rng(seed), "trace:x", case)
        moves = cases.fl.breathing_displacement_mm(seen, time_s)[0]
        assert np.ptp(moves) < 0.4 * float(case.breathing.si_mm)


def test_a_config_gives_the_film_and_options_change_it(monkeypatch):
    monkeypatch.chdir(ROOT)
    asked = options_of(
        "--out=x",
        "--config=configs/paper_group.py:smoke",
        "--config.study.num_frames=7",
        "--gantry-deg=90",
    )
    spec, sources = cases.study_spec(asked)
    assert (spec.rows, spec.voxel_mm, spec.num_frames) == (32, 8.0, 7)
    assert (spec.gantry_deg, spec.seed) == (90.0, 0)
    assert sources["gantry_deg"] == "command line"
    assert sources["rows"] == "configs/paper_group.py:smoke"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cases=0"], "at least 1"),
        (["--seed=-1"], "from 0 to 4294967295"),
        (["--shape=lobed"], "did you mean --shape lobulated?"),
        (["--breathing=cycl"], "did you mean --breathing cycle?"),
        (["--picture=png"], "one of gif, webp"),
        (["--rowz=3"], "did you mean --rows?"),
        (["extra"], "'extra' on the command line"),
        (["--config.seed=3"], "without --config"),
        (["--rows=0"], "ERROR   --rows 0\n"),
        (["--photons=-1"], "ERROR   --photons -1.0\n"),
        (["--voxel-mm=nan"], "ERROR   --voxel-mm nan\n"),
        (["--shape=cube"], "fix     --shape sphere, the default"),
        (["--diameter-mm=4"], "from 5 to 60 mm"),
        (["--diameter-mm=nan"], "from 5 to 60 mm"),
        (["--density-g-cc=0.1"], "from 0.3 to 1.2 g/cc"),
        (["--config=configs/paper_grup.py"], "paper_group.py"),
        (["--config=configs/paper_group.py", "--config.study.rovs=1"], "study.rows?"),
        (["--mas=1"], "--mas 1 without --kvp"),
        (["--kvp=80", "--photons=9"], "one of them"),
        (["--kvp=30"], "kvp = 30"),
        (["--kvp=80", "--mas=-1"], "mas = -1"),
        (["--kvp=80", "--panel=siemens"], "one of varian, elekta"),
        (["--rows=many"], "invalid int value: 'many'"),
        (["--frame-s=1e9"], "ERROR   --frame-s 1e+09\n"),
        (["--breathing=trace:quiet", "--frame-s=40"], "at most 65 s"),
    ],
)
def test_mistakes_are_four_lines_and_exit_code_2(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(ROOT)
    argv = ["simulate", f"--out={tmp_path / 'clips'}", *SMALL, *words]
    try:
        code = cli.main(argv)
    except SystemExit as stop:  # argparse's own way
        code = stop.code
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if not line.startswith("first case")]
    assert (code, len(lines)) == (2, 4), text
    assert said in text and lines[0].startswith("ERROR")
    assert not (tmp_path / "clips").exists()


def test_without_a_folder_or_with_a_file_in_its_place(tmp_path, capsys):
    assert cli.main(["simulate", *SMALL]) == 2
    assert "no --out" in capsys.readouterr().err
    (tmp_path / "a").write_text("here")
    assert cli.main(["simulate", f"--out={tmp_path / 'a'}", *SMALL, "--debug"]) == 2
    text = capsys.readouterr().err
    assert "is a file" in text and "Traceback" in text
    with pytest.raises(UserError, match="no --out"):
        options_of()


def test_unknown_words_of_other_verbs_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--now"])
    text = capsys.readouterr().err
    assert stop.value.code == 2
    assert "--now" in text and len(text.splitlines()) == 4


def test_progress_tells_the_time_left(capsys):
    asked = options_of("--out=x", "--cases=3")
    assert list(run._progress(asked)) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert "compiling, once" in lines[0]
    assert lines[1].startswith("case 1 of 3: 0 s, 0 s left") and len(lines) == 4
    assert list(run._progress(dataclasses.replace(asked, quiet=True))) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.multiprocess
def test_help_without_jax():
    code = (
        "import sys; from fluoro_jax.cli import main as cli\n"
        "try: cli.main(['simulate', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--gantry-deg" in done.stdout and "default 128" in done.stdout
