from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from safetensors.numpy import save as to_safetensors
from zoo_run import (
    FLAGS,
    copy_of,
    make_run,
    of_other_weights,
    render_once,
    with_another_iou,
)

from fluoro_jax.cli import commands
from fluoro_jax.data.appearance import PARTS
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.summary import format_value
from fluoro_jax.evaluation.tables import read_table
from fluoro_jax.geometry import square_panel
from fluoro_jax.sim.fluoroscope import simulate
from fluoro_jax.studies import StudySpec, study_case
from fluoro_jax.tracking.network import NetworkTracker
from fluoro_jax.tracking.tracker import track_clip
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.zoo import cards
from fluoro_jax.zoo import publish as publishing
from fluoro_jax.zoo import registry as zoo
from fluoro_jax.zoo.card import DRAWN, card_markdown, limits, page, stale
from fluoro_jax.zoo.publish import first_cases, publish, recheck, training

ROOT = Path(__file__).parents[2]
TOLERANCE = 2e-3  # of a case's IoU


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "render_case", render_once(publishing.render_case))
        yield make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def shelf(run, tmp_path_factory):
    """A folder with the run's weights in both precisions; not to be changed."""
    folder = tmp_path_factory.mktemp("shelf")
    publish(run.cfg, run.workdir, name="made", folder=folder)
    publish(run.cfg, run.workdir, name="made-16", folder=folder, dtype="bfloat16")
    return folder


@pytest.fixture
def own(shelf, tmp_path):
    """A copy of the shelf's "made" that a test may break."""
    for path in shelf.glob("made.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def save(run, folder, name="made", dtype="float32", **changed):
    given = {
        "params": run.params,
        "table": read_table(run.workdir / "tables"),
        "run": {
            "cases": first_cases(run.workdir / "tables"),
            "training": {"step": 4, **training(run.workdir)},
        },
    }
    return zoo.save(name, run.cfg, **given | changed, dtype=dtype, folder=folder)


def assert_equal_trees(one, other):
    one, other = flatten_dict(one), flatten_dict(other)
    assert one.keys() == other.keys()
    for key, leaf in one.items():
        np.testing.assert_array_equal(leaf, other[key], err_msg=str(key))


def edit_card(folder, change, *, sign=True):
    path = folder / "made.json"
    card = json.loads(path.read_text("utf-8"))
    change(card)
    path.write_text(json.dumps(zoo.sign(card) if sign else card))


# --- what comes back is what was trained -------------------------------------------


def test_round_trip(run, shelf):
    weights = zoo.load("made", folder=shelf)
    assert zoo.names(folder=shelf) == ["made", "made-16"]
    assert weights.cfg.to_dict() == run.cfg.to_dict()
    generator, params, _ = restore_generator(run.cfg, run.workdir)
    assert weights.generator == generator
    assert_equal_trees(weights.params, params)
    with pytest.raises(dataclasses.FrozenInstanceError):
        weights.card = {}


@pytest.mark.parametrize("lookahead", [None, 0])
def test_the_tracker_answers_as_the_run_does(run, shelf, lookahead):
    spec = StudySpec.from_config(run.cfg.study)
    clip = simulate(study_case(spec, "test", 1).case, spec.geometry(), voxel_mm=8.0)
    generator, params, _ = restore_generator(run.cfg, run.workdir)
    frames = 9 if lookahead is None else lookahead
    ours = zoo.tracker("made", lookahead_frames=lookahead, folder=shelf)
    theirs = NetworkTracker(generator, params, run.cfg, frames)
    assert (ours.lookahead_frames, ours.causal) == (frames, frames == 0)
    pairs = zip(track_clip(ours, clip), track_clip(theirs, clip), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.probability, other.probability)
        np.testing.assert_array_equal(one.centroid_iso_mm, other.centroid_iso_mm)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (square_panel(64), "64 x 64 pixels of 5 mm"),
        (square_panel(32, detector_mm=240.0), "32 x 32 pixels of 5 mm"),
    ],
)
def test_frames_of_another_size_or_scale_are_refused(shelf, view, words):
    with pytest.raises(UserError, match=words) as caught:
        zoo.tracker("made", folder=shelf).init(view)
    assert caught.value.needed == "32 x 32 pixels of 10 mm, within 5%"


def test_bfloat16_comes_back_as_float32_and_has_its_own_numbers(run, shelf):
    weights = zoo.load("made-16", folder=shelf)
    leaves = jax.tree.leaves(weights.params)
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
    assert_equal_trees(weights.params, zoo.rounded(run.params))
    size = lambda name: (shelf / f"{name}.safetensors").stat().st_size
    assert size("made-16") < 0.6 * size("made")
    card = weights.card
    assert card["weights"]["metrics_dtype"] == card["weights"]["dtype"] == "bfloat16"
    table = read_table(run.workdir / "bfloat16" / "tables")
    assert card["metrics"]["rows"][0]["values"] == table["rows"][0]["values"]


def test_a_card_never_claims_a_precision_that_was_not_measured(run, tmp_path):
    save(run, tmp_path, dtype="bfloat16")
    card = zoo.load("made", folder=tmp_path).card
    assert card["weights"]["metrics_dtype"] == "float32, before rounding to bfloat16"


# --- the card ----------------------------------------------------------------------


def test_the_card_holds_what_the_run_measured(run, shelf):
    card = zoo.load("made", folder=shelf).card
    table = read_table(run.workdir / "tables")
    by_key = {row["key"]: row["values"] for row in card["metrics"]["rows"]}
    assert by_key == {row["key"]: row["values"] for row in table["rows"]}
    assert card["metrics"]["columns"] == table["columns"]
    iou = [case["iou"] for case in card["cases"]]
    assert np.mean(iou) == pytest.approx(by_key["iou"]["ours"]["mean"])
    assert [case["case"] for case in card["cases"]] == [3, 4, 5]
    assert (card["seed"], card["data_seed"]) == (run.cfg.seed, run.cfg.study.seed)
    assert card["training"]["wall_s"] == 2 / 4.0 + 2 / 0.5
    assert stale(card) == ""
    assert card["training"]["step"] == 4 and card["training"]["machine"]
    data = (shelf / "made.safetensors").read_bytes()
    assert card["weights"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert "Not a medical device" in card["warning"]


def test_the_table_says_on_how_many_stored_cases_its_blind_trackers_rest(run):
    notes = read_table(run.workdir / "tables")["notes"]
    told = f"{run.cfg.study.num_train} stored training cases: what blind trackers"
    assert sum(note.startswith(told) for note in notes) == 1


def test_the_card_for_people(shelf):
    card = zoo.load("made", folder=shelf).card
    text = card_markdown(card)
    iou = next(row for row in card["metrics"]["rows"] if row["key"] == "iou")
    assert format_value(iou["values"]["ours"], iou["decimals"]) in text
    for words in ("Not a medical device", "Limits:", card["weights"]["sha256"], "seed"):
        assert words in text
    assert text in page([card]) and 'zoo.tracker("made")' in page([card])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"study.name": "patient"}, "of the patient study, which are"),
        (
            {"study.name": "subgroup", "data.displaced_mm": 9.0},
            "up to 9 mm along the body from their place.",
        ),
        ({"study.photons": 1e5}, "100000 quanta a pixel"),
        ({"study.collimate": True}, "the panel follows each tumour"),
        ({"data.source": "simulator"}, "Tumours of 20 to 40 mm were trained"),
        ({"gen.bidirectional": True}, "it is not causal"),
        ({"data.randomise": "warp+exposure"}, "noise, scatter, blur and a gain"),
        ({"data.randomise": "exposure"}, "(another view, pitch, spectrum) is"),
        ({"study.num_frames": 1}, "Test clips are single frames"),
    ],
)
def test_limits_follow_the_config(run, changed, words):
    plain = ConfigDict(run.cfg.to_dict())
    plain.gen.bidirectional = False
    assert words not in " ".join(limits(plain))
    plain.update_from_flattened_dict(changed)
    assert words in " ".join(limits(plain))


def test_every_part_of_an_appearance_has_words_for_a_card():
    assert set(DRAWN) == set(PARTS)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("python /x/launch/train.py --a=b", "python -m launch.train"),
        ("python /x/bin/fluoro train --a=b", "fluoro train"),
    ],
)
def test_the_command_is_one_that_can_be_typed(run, tmp_path, line, command):
    for name in ("env.json", "metrics.jsonl"):
        (tmp_path / name).write_text((run.workdir / name).read_text("utf-8"), "utf-8")
    calls = [
        {"time": "T", "commit": commit, "command": called, "from": first, "to": 4}
        for commit, called, first in (("a", line, 0), ("b", "python again.py", 2))
    ]
    text = "".join(json.dumps(call) + "\n" for call in calls)
    (tmp_path / "history.jsonl").write_text(text)
    found = training(tmp_path)
    assert (found["command"], found["commit"]) == (f"{command} --a=b", "b")
    assert [call["from"] for call in found["history"]] == [0, 2]


def test_the_page_of_the_docs_is_that_of_the_cards():
    cards = [zoo.load(name).card for name in zoo.names()]
    assert (ROOT / "docs" / "weights.md").read_text("utf-8") == page(cards), (
        "python docs/make_weights.py"
    )


# --- what load refuses -------------------------------------------------------------


def flip_a_bit(folder):
    path = folder / "made.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def put_bytes(folder, data):
    (folder / "made.safetensors").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    edit_card(folder, lambda card: card["weights"].update(sha256=sha256))


def flatter(card):
    card["metrics"]["rows"][0]["values"]["ours"]["mean"] = 0.999


def config_of(folder, **gen):
    edit_card(folder, lambda card: card["config"]["gen"].update(gen))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_a_bit, "has sha256"),
        (lambda f: (f / "made.json").unlink(), "made.json is not there"),
        (lambda f: (f / "made.json").write_text("{"), "made.json cannot be read"),
        (lambda f: edit_card(f, lambda c: c.pop("limits")), "has no limits"),
        (lambda f: edit_card(f, flatter, sign=False), "was changed"),
        (lambda f: edit_card(f, lambda c: c.pop("card_sha256"), sign=False), "was ch"),
        (lambda f: edit_card(f, lambda c: c["weights"].pop("sha256")), "has no"),
        (lambda f: config_of(f, base=8), r"coarse/.* is \(.*such arrays"),
        (lambda f: config_of(f, refine_levels=2), r"refine/.*such arrays"),
        (lambda f: config_of(f, kernel=3), "gen.kernel = 3"),
        (lambda f: config_of(f, colour=3), "gen.colour"),
        (lambda f: put_bytes(f, b"no tensors"), "cannot be read"),
        (lambda f: put_bytes(f, to_safetensors({"a": np.ones(2)})), "cannot be read"),
        (lambda f: put_bytes(f, to_safetensors({})), "absent; .* such arrays"),
    ],
)
def test_damaged_weights_are_refused(own, damage, words):
    zoo.load("made", folder=own)
    damage(own)
    with pytest.raises(UserError, match=words) as caught:
        zoo.load("made", folder=own)
    assert len(str(caught.value).splitlines()) == 4


def test_an_unknown_name(shelf, tmp_path):
    with pytest.raises(UserError, match="did you mean made-16") as caught:
        zoo.load("made_16", folder=shelf)
    assert caught.value.needed == "one of made, made-16"
    for name, fix in (("../made", "made"), ("", r"zoo\.names"), ("zzz", r"zoo\.names")):
        with pytest.raises(UserError, match=f"no weights {name!r}(.|\n)*{fix}"):
            zoo.load(name, folder=shelf)
    assert zoo.names(folder=tmp_path / "nowhere") == []
    with pytest.raises(UserError, match="no weights 'made'"):
        zoo.load("made", folder=tmp_path / "nowhere")


# --- what save and publish refuse ----------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "../x"}, "the name '../x'"),
        ({"name": "Group CPU"}, "for example group-cpu"),
        ({"dtype": "float16"}, "dtype 'float16'"),
        ({"params": {"a": np.zeros(2_600_000, np.float32)}}, "--dtype=bfloat16"),
        ({"params": {"a": np.zeros(9_000_000, np.float32)}}, "a smaller network"),
    ],
)
def test_save_refuses_and_writes_nothing(run, tmp_path, changed, words):
    with pytest.raises(UserError, match=words):
        save(run, tmp_path / "out", **changed)
    assert not list(tmp_path.rglob("*"))


def test_a_full_disk_leaves_what_was_there(run, own, monkeypatch):
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    write = Path.write_bytes

    def fail_at_the_card(path, data):
        if ".json" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail_at_the_card)
    with pytest.raises(OSError, match="No space"):
        save(run, own, params=zoo.rounded(run.params), overwrite=True)
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_other_weights, "numbers of other weights"),
        (lambda w: (w / "tables" / "results.json").unlink(), "no .*results.json"),
        (with_another_iou, "test case 4 has IoU"),
        (lambda w: (w / "ckpt").rename(w / "gone"), "no checkpoint"),
    ],
)
def test_publish_refuses_and_writes_nothing(run, tmp_path, change, words):
    workdir = copy_of(run, tmp_path / "run")
    change(workdir)
    with pytest.raises(UserError, match=words):
        publish(run.cfg, workdir, name="made", folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_weights_are_replaced_only_when_asked(run, own):
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    for write in (save, lambda *_: publish(run.cfg, None, name="made", folder=own)):
        with pytest.raises(UserError, match="--overwrite"):
            write(run, own)
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before
    save(run, own, params=zoo.rounded(run.params), overwrite=True)
    assert (own / "made.json").read_bytes() != before["made.json"]


# ml_collections 1.1 loads config files in a deprecated way.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_the_command(run, shelf, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    argv = [*FLAGS, f"--workdir={run.workdir}", f"--folder={tmp_path}"]
    assert commands.run("publish", argv) == 2
    assert "no --name" in capsys.readouterr().err
    assert commands.run("publish", [*argv, "--name=made", "--dtyp=bfloat16"]) == 2
    assert "did you mean --dtype?" in capsys.readouterr().err
    assert commands.run("publish", [*argv, "--name=made"]) == 0
    assert str(tmp_path / "made.safetensors") in capsys.readouterr().out
    assert commands.run("publish", [*argv, "--name=made"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert commands.run("publish", [*argv, "--name=made", "--overwrite"]) == 0
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (shelf / path.name).read_bytes()


# --- every card's numbers are reproduced ---------------------------------------------


def shipped(name):
    """A name in the package as a test's parameter; large frames take minutes."""
    card = json.loads((cards.FOLDER / f"{name}.json").read_text("utf-8"))
    large = card["config"]["study"]["rows"] > 128
    return pytest.param(name, marks=pytest.mark.slow if large else ())


def assert_reproduced(weights):
    found = recheck(weights)
    assert found and len(found) == len(weights.card["cases"])
    for case, in_card, now in found:
        assert now == pytest.approx(in_card, abs=TOLERANCE), f"case {case}"


@pytest.mark.parametrize("name", [shipped(name) for name in zoo.names()])
def test_the_package_finds_its_cards_numbers_or_says_that_they_are_stale(name):
    card = zoo.load(name).card
    if words := stale(card):
        assert f"**Stale.** {words}" in card_markdown(card)
        assert words in (ROOT / "docs" / "weights.md").read_text("utf-8")
    else:
        assert_reproduced(zoo.load(name))


@pytest.mark.parametrize("name", ["made", "made-16"])
def test_made_weights_find_their_cards_numbers(shelf, name):
    weights = zoo.load(name, folder=shelf)
    assert any(case["iou"] > TOLERANCE for case in weights.card["cases"])
    assert_reproduced(weights)


def test_other_weights_do_not_find_them(shelf):
    weights = zoo.load("made", folder=shelf)
    other = jax.tree.map(lambda leaf: -np.asarray(leaf), weights.params)
    with pytest.raises(AssertionError, match="case"):
        assert_reproduced(dataclasses.replace(weights, params=other))


# --- the wheel -----------------------------------------------------------------------


def test_the_wheel_holds_weights_and_cards(shelf):
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    patterns = settings["setuptools"]["package-data"]["fluoro_jax"]
    for path in shelf.iterdir():
        packed = Path("zoo/weights") / path.name
        assert any(packed.match(pattern) for pattern in patterns), packed
    folder = resources.files("fluoro_jax.zoo") / "weights"
    files = {entry.name for entry in folder.iterdir()}
    assert "README.md" in files
    pairs = {f"{n}.{end}" for n in zoo.names() for end in ("safetensors", "json")}
    assert files == {"README.md", "causal-cpu.confidence.json", *pairs}
