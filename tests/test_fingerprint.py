"""What changes an identity and what does not."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs.base import base_config
from fluoro_jax import fingerprint
from fluoro_jax.config import validate
from fluoro_jax.config_rules import RULES
from fluoro_jax.data import dataset
from fluoro_jax.zoo import cards

ROOT = Path(__file__).parents[1]
STORED = [
    *sorted((ROOT / "docs" / "results").glob("*/*.json")),
    *(cards.FOLDER / f"{name}.json" for name in cards.names()),
]
CODE = '''"""What it is."""
from fluoro_jax.sim.body.anatomy import Anatomy

LIMIT = 3.0  # why


def double(x: int) -> int:
    """Returns twice x."""
    return 2 * x
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module and one table, to be changed."""
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    (tmp_path / "sim" / "deep").mkdir(parents=True)
    (tmp_path / "sim" / "deep" / "a.py").write_text(CODE)
    (tmp_path / "sim" / "table.csv").write_text("1,2\n")
    return tmp_path


def of(package):
    return fingerprint.code("sim/**/*.py", "sim/**/*.csv")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it is."""', '"""Another docstring."""'),
        ("  # why", ""),
        ('    """Returns twice x."""\n', ""),
        ("x: int) -> int", "x)"),
        ("2 * x", "(2  *  x)"),
        ("fluoro_jax.sim.body.anatomy", "fluoro_jax.patient.anatomy"),
    ],
)
def test_words_and_layout_do_not_count(package, old, new):
    before = of(package)
    assert old in CODE
    (package / "sim" / "deep" / "a.py").write_text(CODE.replace(old, new))
    assert of(package) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3.0", "3.1"),
        ("2 * x", "3 * x"),
        ("body.anatomy import Anatomy", "body.motion import Anatomy"),
        ("def double", "def twice"),
    ],
)
def test_code_counts(package, old, new):
    before = of(package)
    (package / "sim" / "deep" / "a.py").write_text(CODE.replace(old, new))
    assert of(package) != before


def test_data_counts_and_a_moved_file_does_not(package):
    before, names = of(package), fingerprint.files("sim/**/*")
    shutil.move(package / "sim" / "deep" / "a.py", package / "sim" / "b.py")
    assert of(package) == before
    assert fingerprint.changed(names, fingerprint.files("sim/**/*")) == []
    (package / "sim" / "table.csv").write_text("1,3\n")
    assert of(package) != before
    now = fingerprint.files("sim/**/*")
    assert fingerprint.changed(names, now) == ["sim/table.csv"]


def test_every_part_of_the_simulator_and_its_data_is_read():
    """`sim/*.py` was not recursive, and no table was read, in an earlier version."""
    found = fingerprint.files(*dataset.RENDERERS)
    for name in ("sim/body/motion.py", "sim/xray/spectrum.py", "studies/group.py"):
        assert name in found
    assert "sim/xray/tables/spectra.csv" in found
    assert "sim/body/traces/irregular.csv" in found
    scored = fingerprint.files(*fingerprint.SCORERS)
    for name in ("models/generator.py", "metrics.py", "evaluation/strata.py"):
        assert name in scored


def test_what_stands_for_an_earlier_file_is_a_file_of_today():
    """An entry of a file that has changed since says nothing, and is to be deleted."""
    now = set(fingerprint.files("**/*.py").values())
    earlier = set(fingerprint.STANDS_FOR.values())
    assert fingerprint.STANDS_FOR.keys() - earlier <= now and not now & earlier


def test_a_file_that_stands_for_its_earlier_self_has_not_changed(package, monkeypatch):
    before, hashed = fingerprint.files("sim/**/*"), of(package)
    (package / "sim" / "deep" / "a.py").write_text(CODE.replace("3.0", "3.10001"))
    now = fingerprint.files("sim/**/*")
    assert fingerprint.changed(before, now) == ["sim/deep/a.py"]
    name = "sim/deep/a.py"
    monkeypatch.setattr(fingerprint, "STANDS_FOR", {now[name]: before[name]})
    assert fingerprint.changed(before, now) == [] and of(package) == hashed
    # What was made with the file of today is not as before once it changes again.
    (package / "sim" / "deep" / "a.py").write_text(CODE.replace("3.0", "3.2"))
    later = fingerprint.files("sim/**/*")
    monkeypatch.setattr(fingerprint, "STANDS_FOR", {later[name]: before[name]})
    assert fingerprint.changed(before, later) == []
    assert fingerprint.changed(now, later) == ["sim/deep/a.py"]
    # Unless it stands for that file in turn.
    chain = {later[name]: now[name], now[name]: before[name]}
    monkeypatch.setattr(fingerprint, "STANDS_FOR", chain)
    assert fingerprint.changed(now, later) == fingerprint.changed(before, later) == []
    assert of(package) == hashed


def imported(path, seen):
    """Adds a module's path and those of all that it imports of the package."""
    if path in seen or not path.is_file():
        return
    seen.add(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in (node.module, *(f"{node.module}.{a.name}" for a in node.names)):
                imported(ROOT.joinpath(*name.split(".")).with_suffix(".py"), seen)


def test_every_module_of_tracking_that_an_evaluation_runs_decides_its_numbers():
    seen = set()
    imported(fingerprint.ROOT / "evaluation" / "evaluate.py", seen)
    names = {path.relative_to(fingerprint.ROOT).as_posix() for path in seen}
    run = {name for name in names if name.startswith(("tracking/", "evaluation/"))}
    # Confidences are calibrated by `launch.confidence` alone; extras only import.
    idle = {"tracking/confidence.py", "tracking/baselines/extras.py"}
    assert idle < run
    assert run - idle <= set(fingerprint.files(*fingerprint.SCORERS))
    assert "tracking/forecast.py" not in run


@pytest.mark.parametrize(
    "changes",
    [{"train.log_every": 7, "name": "other"}, {"train.keep": 9, "train.save_every": 1}],
)
def test_keys_that_change_no_number_are_left_out(changes):
    old, new = base_config("smoke"), base_config("smoke")
    new.update_from_flattened_dict(changes)
    assert fingerprint.config(old.to_dict()) == fingerprint.config(new.to_dict())
    assert fingerprint.different(old.to_dict(), new.to_dict()) == {}


def test_a_key_that_the_old_config_lacks_counts_with_what_was_done_then():
    old, new = base_config("smoke").to_dict(), base_config("smoke").to_dict()
    del old["gen_opt"]["schedule"]
    assert fingerprint.config(old) == fingerprint.config(new)
    new["gen_opt"]["schedule"] = "constant"
    assert fingerprint.different(old, new) == {
        "gen_opt.schedule": ("cosine", "constant")
    }
    assert fingerprint.config(old) != fingerprint.config(new)


def test_a_stored_config_without_newer_keys_is_still_valid():
    cfg = base_config("smoke")
    del cfg.gen_opt.schedule, cfg.choices
    assert validate(cfg, training=False).gen_opt.schedule == "cosine"


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_no_stored_result_is_orphaned_by_a_new_key(path):
    """Whoever adds a config key says in `ABSENT` what was done without it."""
    config = json.loads(path.read_text())["config"]
    cfg = validate(ConfigDict(config), training=False)
    assert fingerprint.different(config, cfg.to_dict()) == {}


def test_the_tables_of_keys_name_keys_that_there_are():
    assert set(fingerprint.NO_NUMBER) <= RULES.keys()
    for key, value in fingerprint.ABSENT.items():
        if key in RULES:
            assert RULES[key][0].accepts(value)
