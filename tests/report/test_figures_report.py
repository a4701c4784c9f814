from __future__ import annotations

import re

import numpy as np
import pytest
from fakes import VIEW, clip_of, config
from matplotlib import image

from fluoro_jax.geometry import Geometry
from fluoro_jax.report import drawing, figures
from fluoro_jax.report.study import compare, headline, verdict, write_report
from fluoro_jax.report.study_figures import choose_examples, study_figures


@pytest.fixture(scope="module")
def pictures(results):
    return study_figures(results, results.workdir / "figures")


def test_every_figure_is_there_and_shows_something(pictures):
    assert len(pictures) == 5
    for picture in pictures:
        pixels = image.imread(picture.path)[..., :3]
        assert pixels.shape[0] > 200 and pixels.shape[1] > 400
        assert pixels.std() > 0.05 and picture.caption


def test_figures_with_numbers_have_a_csv(results, pictures):
    folder = results.workdir / "figures"
    trace = np.genfromtxt(folder / "trace.csv", delimiter=",", names=True)
    assert len(trace) == 4 and "truth_vertical_mm" in trace.dtype.names
    assert np.ptp(trace["truth_vertical_mm"]) > 10  # two to four pixels of 10 mm
    errors = np.genfromtxt(folder / "errors.csv", delimiter=",", names=True)
    assert (np.diff(errors["ours_pct"]) >= 0).all()
    assert (folder / "learning.csv").read_text(encoding="utf-8").count("eval/iou") == 4


def test_a_log_cut_short_is_read_up_to_there(results, tmp_path):
    curves = figures.read_curves(results.workdir / "metrics.jsonl")
    assert curves["train/l1"][0] == [1, 2, 3, 4]
    assert figures.learning_curves(tmp_path / "none.jsonl", tmp_path / "x.png") is None


def test_examples_are_the_extremes_of_truth_and_the_worst(results):
    titles = " ".join(example.title for example in choose_examples(results))
    assert "smallest tumour" in titles
    assert "heart" in titles


def test_trace_with_empty_predictions_is_drawn(results, tmp_path):
    clip = results.clips[0]
    truth = np.asarray(clip.centroid_px)
    found = truth.copy()
    found[1] = np.nan
    figure = figures.traces(
        clip,
        {"truth": truth, "ours": found},
        tmp_path / "t.png",
        labels={"truth": "truth", "ours": "ours"},
        title="t",
        caption="c",
    )
    assert figure.path.exists()
    columns = np.genfromtxt(tmp_path / "t.csv", delimiter=",", names=True)
    assert np.isnan(columns["ours_vertical_mm"][1])


def test_a_method_of_a_new_key_is_drawn(results, tmp_path):
    scores = {key: run.scores for key, run in results.runs.items()}
    scores |= {"optical_flow": scores["ours"], "another": scores["static"]}
    figure = figures.error_distribution(
        scores, tmp_path / "e.png", labels={key: key for key in scores}
    )
    assert figure.path.exists()
    errors = np.genfromtxt(tmp_path / "e.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(errors["optical_flow_pct"], errors["ours_pct"])
    styles = figures.styles_of(scores)
    assert len({*styles.values()}) == len(styles)
    assert styles["ours"] == figures.STYLES["ours"]


def test_superior_is_up_and_patient_left_is_right_at_gantry_0():
    left, right, bottom, top = drawing.extent_mm(VIEW)
    assert top == pytest.approx(160) and bottom == pytest.approx(-160)
    assert left == pytest.approx(-160) and right == pytest.approx(160)
    assert drawing.right_of_image(0.0) == "left"
    assert drawing.right_of_image(90.0) == "posterior"


@pytest.fixture(scope="module")
def page(results, pictures):
    recorded = {
        "words": "A minute of breathing.",
        "figures": pictures[1:2],
        "rows": [
            dict(key="ours", label="ours, 1 s behind", given="none", causal=False)
            | dict(lookahead_frames=2, iou=0.8, vertical_mm=1.0, horizontal_mm=0.5)
            | dict(p95_mm=3.0, within_3mm=95.0, empty_predictions=0, frames=120)
        ],
    }
    path = write_report(
        results.workdir / "report.html",
        results.table,
        pictures,
        cfg=config(),
        geometry=Geometry(1000.0, 1536.0, 90.0, 32, 40, (0.4, 0.3), (1.0, 2.0)),
        recorded=recorded,
    )
    return path.read_text(encoding="utf-8")


def test_report_holds_everything_itself(page, pictures):
    assert not re.search(r"""(src|href)=["']?(https?:|//|file:)""", page)
    assert "<script" not in page and "@import" not in page
    assert page.count("data:image/png;base64,") == len(pictures) + 1


def test_report_says_what_it_is(page, results):
    assert "Not a medical device" in page
    assert "ours, 1 s behind" in page and "no env.json" in page
    assert "0.4, 0.3 mm" in page and "SI, AP" in page  # geometry provenance
    row = next(r for r in results.table["rows"] if r["key"] == "iou")
    assert f"{row['values']['ours']['mean']:.3f}" in page
    assert "Caution: 4 cases" in page
    assert "undecided: fewer than 15 cases" in page and "[range " in page
    assert "missed: over 10 mm" in page and "yes; 0" in page


def test_better_means_that_intervals_do_not_touch():
    low = {"mean": 1.0, "low": 0.9, "high": 1.1}
    high = {"mean": 2.0, "low": 1.5, "high": 2.5}
    wide = {"mean": 1.2, "low": 1.0, "high": 1.6}
    nothing = {"mean": None, "low": None, "high": None}
    assert compare(high, low, up=True) == "better"
    assert compare(high, low, up=False) == "worse"
    assert compare(low, high, up=False) == "better"
    assert compare(wide, high, up=True) == "undecided"
    assert compare(nothing, high, up=True) == "undecided"
    assert compare(dict(high, n=8), dict(low, n=8), up=True) == "undecided"


def test_headline_names_what_is_not_shown(results):
    lines = verdict(results.table)
    assert {line["measure"] for line in lines} == {
        "IoU",
        "vertical error [mm at isocentre]",
        "horizontal error [mm at isocentre]",
    }
    assert "Better than every baseline that uses no image" in headline(
        [dict(line, result="better") for line in lines]
    )
    assert "NOT shown" in headline([dict(line, result="worse") for line in lines])


def test_a_baseline_given_frame_0_alone_is_blind(results):
    lines = verdict(results.table)
    assert {x["against"] for x in lines if x["blind"] == "yes"} == {
        *("static", "phase prior", "phase prior + frame 0"),
    }
    kept = [
        dict(x, result="worse" if x["against"] == "phase prior + frame 0" else "better")
        for x in lines
    ]
    assert "NOT shown" in headline(kept)


def test_no_verdict_on_an_axis_without_motion(results):
    still = dict(results.table["scale"], truth_span_mm=[40.0, 0.48])
    lines = verdict(dict(results.table, scale=still))
    across = [line for line in lines if line["measure"].startswith("horizontal")]
    assert {line["result"] for line in across} == {"no verdict"}
    assert "the truth spans 0.48 mm" in across[0]["why"]
    rest = [x if x in across else dict(x, result="better") for x in lines]
    assert "IoU and vertical" in headline(rest) and "No verdict on" in headline(rest)
    unknown = {k: v for k, v in still.items() if k != "truth_span_mm"}
    lines = verdict(dict(results.table, scale=unknown))
    assert lines[-1]["why"] == "motion not recorded"


def test_the_enlarged_region_holds_the_outlines_and_stays_in_the_frame():
    mask = np.asarray(clip_of(28, 10, 2).mask) >= 0.5
    left, right, bottom, top = drawing.crop_mm(VIEW, mask, margin_mm=10.0)
    assert right - left == pytest.approx(top - bottom)
    assert left >= -160 and right <= 160 and bottom >= -160 and top <= 160
    # columns 8 to 13 hold the discs: pixel centres at -75 and -25 mm
    assert left <= -75 and right >= -25
    whole = drawing.crop_mm(VIEW, np.zeros((2, 32, 32), bool))
    assert whole == drawing.extent_mm(VIEW)
