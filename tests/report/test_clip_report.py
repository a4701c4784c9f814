"""The page of one tracked clip, in a browser where there is one."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from fluoro_jax.cli.main import main
from fluoro_jax.clip import Clip
from fluoro_jax.geometry import Geometry, position_iso_mm
from fluoro_jax.io.mha import MetaImage, write_mha
from fluoro_jax.io.sidecar import write_sidecar
from fluoro_jax.io.tracks import TrackTable
from fluoro_jax.report.clip import BYTES_A_MINUTE, Tracked, outline, write_clip_report

FRAMES, SIDE = 120, 96  # a minute at 2 frames a second
VIEW = Geometry(1000.0, 1500.0, 0.0, SIDE, SIDE, (1.8, 1.2))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


def disc(row, col):
    rows, cols = np.mgrid[:SIDE, :SIDE]
    return ((rows - row) ** 2 + (cols - col) ** 2 <= 64).astype(np.float32)


@pytest.fixture(scope="module")
def tracked():
    times = 0.5 * np.arange(FRAMES)
    places = np.stack([48 + 12 * np.sin(times), 40 + 0 * times], axis=1)
    mask = np.stack([disc(*place) for place in places])
    noise = np.random.default_rng(0).normal(size=mask.shape)
    frames = (3.0 + mask + 0.2 * noise).astype(np.float32)
    clip = Clip(frames, times, VIEW, mask)
    found = np.roll(mask, 1, axis=1)  # one row down everywhere
    place = np.asarray(position_iso_mm(VIEW, places + np.array([1.0, 0.0])), float)
    status = ["ok"] * FRAMES
    found[7], place[7], status[7] = 0.0, np.nan, "missed"
    run = {
        "model": {"name": "<b>a model</b>"},
        "causal": False,
        "lookahead_frames": 5,
        "warnings": ["WARNING one"],
        "not_checked": "nothing",
        "geometry": {"sad_mm": {"value": 1000.0, "source": "geometry.json"}},
        "domain": {"value": "line_integral", "source": "geometry.json"},
    }
    table = TrackTable(times, place, tuple(status))
    confidence, latency = np.full(FRAMES, 0.9), np.linspace(5.0, 9.0, FRAMES)
    return Tracked(clip, table, found.astype(np.uint8), confidence, latency, run)


@pytest.fixture(scope="module")
def page(tracked, tmp_path_factory):
    return write_clip_report(tmp_path_factory.mktemp("page"), tracked)


def test_it_is_one_small_file_that_fetches_nothing(page):
    text = page.read_text("utf-8")
    assert len(text) < BYTES_A_MINUTE
    assert not re.search(r"""(src|href)=["']?(?!data:)[a-z/.]""", text)
    assert "http" not in text and "&lt;b&gt;a model" in text
    assert "Not a medical device" in text and "WARNING one" in text


def test_every_number_is_in_the_json(page, tracked):
    found = json.loads((page.parent / "results.json").read_text("utf-8"))
    # one row of 1.8 mm at the detector is 1.2 mm at the isocentre, and it is down
    assert found["errors"]["vertical"]["bias"] == pytest.approx(-1.2, abs=0.02)
    assert found["errors"]["without_answer_pct"] == pytest.approx(100.0 / FRAMES)
    assert found["track"]["y_iso_mm"][7] is None
    assert found["summary"]["status"] == {"ok": FRAMES - 1, "missed": 1}
    assert f"{found['errors']['distance_mm']['median']:.2f} mm" in page.read_text(
        encoding="utf-8"
    )


def test_without_a_truth_it_says_so(tracked, tmp_path):
    import dataclasses

    clip = dataclasses.replace(tracked.clip, mask=None)
    page = write_clip_report(tmp_path, dataclasses.replace(tracked, clip=clip))
    text = page.read_text("utf-8")
    assert "No truth was given" in text and "Worst frames" not in text
    assert json.loads((tmp_path / "results.json").read_text("utf-8"))["errors"] is None


@pytest.mark.parametrize("word", ["</script><b>", "<!--<script>"])
def test_no_word_of_a_track_ends_the_script_of_its_page(word, tracked, tmp_path):
    status = (word, *tracked.track.status[1:])
    edited = dataclasses.replace(
        tracked, track=dataclasses.replace(tracked.track, status=status)
    )
    text = write_clip_report(tmp_path, edited).read_text(encoding="utf-8")
    assert word not in text
    assert word.replace("<", r"\u003c") in text


def test_an_outline_surrounds_its_mask():
    mask = np.zeros((6, 8))
    mask[2:4, 3:7] = 1.0
    (line,) = outline(mask)
    x, y = np.array(line[::2]), np.array(line[1::2])
    # the border lies half a pixel about the outermost pixels' centres
    assert (x.min(), x.max(), y.min(), y.max()) == (3.0, 7.0, 2.0, 4.0)
    assert outline(np.zeros((4, 4))) == []
    assert len(outline(np.ones((4, 4)))) == 1  # at the frame's edge it is closed too


SCRIPT = """<script>
addEventListener("load", () => setTimeout(() => {
  const words = () => document.getElementById("told").textContent;
  const press = key =>
    document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  const x = () => Number(document.querySelector(".now").getAttribute("x1"));
  const seen = {errors: window.seenErrors};
  press("End"); seen.end = words(); seen.endX = x();
  press("Home"); press("ArrowRight"); seen.step = words(); seen.stepX = x();
  const trace = document.querySelector(".trace"), box = trace.getBoundingClientRect();
  trace.onclick({clientX: box.left + box.width / 2}); seen.middle = words();
  press("Home"); document.getElementById("play").click();
  setTimeout(() => {
    document.getElementById("play").click(); seen.played = words(); seen.playedX = x();
    document.title = JSON.stringify(seen); }, 2000);
}, 500));
</script></body>"""
CATCH = """<head><script>window.seenErrors = [];
addEventListener("error", e => window.seenErrors.push(e.message));</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_player_plays_and_the_traces_follow(page, tmp_path):
    text = page.read_text("utf-8").replace("<head>", CATCH, 1)
    copy = tmp_path / "page.html"
    copy.write_text(text.replace("</body>", SCRIPT), encoding="utf-8")
    argv = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    argv += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=6000"]
    done = subprocess.run(
        [*argv, copy.as_uri()],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert title, done.stdout[:500] + done.stderr[-2000:]
    seen = json.loads(title.group(1).replace("&lt;", "<").replace("&gt;", ">"))
    assert seen["errors"] == []
    assert seen["end"].startswith(f"frame {FRAMES - 1} of") and seen["endX"] == 1000
    assert seen["step"].startswith("frame 1 of") and 0 < seen["stepX"] < 10
    assert re.match(r"frame (59|60) of", seen["middle"])
    played = int(re.match(r"frame (\d+) of", seen["played"]).group(1))
    assert 3 <= played <= 5 and seen["playedX"] > 0  # two seconds at 2 frames a second


def test_the_command_reads_the_files_of_a_track(tracked, tmp_path, capsys):
    clip, out = tracked.clip, tmp_path / "out"
    write_mha(tmp_path / "clip.mha", MetaImage(clip.frames, (1.2, 1.8, 1.0)))
    write_sidecar(tmp_path / "geometry.json", clip)
    argv = ["report", str(out), f"--clip={tmp_path / 'clip.mha'}"]
    assert main(argv) == 2 and main(argv[:2]) == 2
    out.mkdir()
    write_mha(out / "masks.mha", MetaImage(tracked.masks, (1.2, 1.8, 1.0)))
    rows = ["time_s,x_iso_mm,y_iso_mm,confidence,latency_ms,status"]
    for t, (y, x) in zip(tracked.track.time_s, tracked.track.place_mm, strict=True):
        rows.append(f"{t},{x},{y},0.9,5.0,ok")
    (out / "track.csv").write_text("\n".join(rows) + "\n")
    assert main(argv) == 2  # run.json is not there
    assert len(capsys.readouterr().err.strip().splitlines()) == 12
    (out / "run.json").write_text(json.dumps(tracked.run))
    assert main(argv) == 0
    assert (out / "report.html").is_file() and "results.json" in capsys.readouterr().out
