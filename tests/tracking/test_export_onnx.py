"""`fluoro export --onnx`: with stand-ins for its packages, and with the packages."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import json
import types
from pathlib import Path

import numpy as np
import pytest
from small_weights import SIDE, put_weights, random_params, small_config

from fluoro_jax import zoo
from fluoro_jax.cli import main as cli
from fluoro_jax.errors import UserError
from fluoro_jax.metrics import centroid_px
from fluoro_jax.tracking import export, export_onnx
from fluoro_jax.tracking.network import forward
from fluoro_jax.training.precision import make_generator

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "run_onnx.py"


@functools.cache
def exported(stack):
    cfg = small_config(stack)
    return export.export_network(make_generator(cfg), random_params(cfg), cfg)


def stand_ins(change):
    """Modules whose program is the JAX function itself, its first result changed."""

    def to_onnx(function, shapes, *, input_names, output_names, **options):
        assert options == {"opset": export_onnx.OPSET}
        assert len(shapes) == len(input_names)
        given.update(function=function, inputs=input_names, outputs=output_names)
        return types.SimpleNamespace(SerializeToString=lambda: b"onnx")

    def run(names, feed):
        assert names is None and list(feed) == given["inputs"]
        results = given["function"](*feed.values())
        first, *rest = results if isinstance(results, tuple) else (results,)
        assert len(rest) + 1 == len(given["outputs"])
        return [change(np.asarray(first)), *map(np.asarray, rest)]

    given = {}
    session = lambda content, options, providers: types.SimpleNamespace(run=run)
    checker = types.SimpleNamespace(check_model=lambda model, full_check: None)
    return (
        types.SimpleNamespace(checker=checker),
        types.SimpleNamespace(
            SessionOptions=types.SimpleNamespace, InferenceSession=session
        ),
        types.SimpleNamespace(to_onnx=to_onnx),
    )


@pytest.fixture
def pretend(monkeypatch):
    """Puts stand-ins in place of the packages."""

    def put(change=lambda answer: answer):
        modules = stand_ins(change)
        monkeypatch.setattr(export_onnx, "import_packages", lambda: modules)
        monkeypatch.setattr(export_onnx, "version", lambda name: "1")

    return put


@pytest.mark.parametrize("stack", ["moving_past", "edge"])
def test_the_onnx_program_is_compared_on_the_frames_of_the_export(stack, pretend):
    pretend(lambda answer: answer + np.float32(5e-5))
    program = exported(stack)
    found = export_onnx.to_onnx(program, threshold=0.5)
    assert found.max_abs_difference == pytest.approx(5e-5, rel=0.2)
    assert found.content == b"onnx" and set(found.made_with) >= {"jax2onnx"}
    # A threshold just above the largest answer, and below the changed one.
    middle = float(program.checked_answers.max()) + 1e-5
    found = export_onnx.to_onnx(program, threshold=middle)
    assert found.mask_px == 0 and found.mask_px_changed >= 1


@pytest.mark.parametrize(
    "change", [lambda x: x + np.float32(5e-4), lambda x: x * np.nan]
)
def test_an_onnx_program_that_answers_otherwise_is_refused(change, pretend):
    pretend(change)
    with pytest.raises(UserError, match="ONNX program's probabilities differ"):
        export_onnx.to_onnx(exported("edge"), threshold=0.5)


def test_a_network_that_cannot_be_converted_is_four_lines(pretend, monkeypatch):
    pretend()
    packages = export_onnx.import_packages()

    def fail(*args, **options):
        raise NotImplementedError("no plugin for\n'erf_inv'")

    packages[2].to_onnx = fail
    with pytest.raises(UserError, match="no plugin for 'erf_inv'") as raised:
        export_onnx.to_onnx(exported("edge"), threshold=0.5)
    assert len(str(raised.value).splitlines()) == 4 and "--onnx" in raised.value.fix


@pytest.mark.parametrize("absent", ["jax2onnx", "onnxruntime"])
def test_without_the_packages_the_commands_are_named(
    absent, tmp_path, monkeypatch, capsys
):
    put_weights(tmp_path, "small", "edge")
    real = importlib.import_module

    def absent_import(name, *args):
        if name in export_onnx.PACKAGES:
            if name == absent:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return types.SimpleNamespace()
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", absent_import)
    out = tmp_path / "out"
    assert cli.main(["export", str(tmp_path), "--onnx", f"--out={out}"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and not out.exists()
    lines = captured.err.splitlines()
    assert len(lines) == 4 and f"{absent} is not installed" in lines[0]
    assert "pip install 'fluoro_jax[onnx]'" in lines[3]
    assert "pip install --no-deps 'jax2onnx==0.17.1'" in lines[3]


def test_model_onnx_is_written_described_and_replaced(pretend, tmp_path, capsys):
    pytest.importorskip("flatbuffers")
    pretend()
    put_weights(tmp_path, "small", "edge")
    out = tmp_path / "out"
    words = ["export", str(tmp_path), f"--out={out}"]
    assert cli.main([*words, "--onnx"]) == 0
    assert "ONNX: largest difference of a probability" in capsys.readouterr().out
    assert (out / "model.onnx").read_bytes() == b"onnx"
    told = json.loads((out / "model.json").read_text("utf-8"))
    digest = hashlib.sha256(b"onnx").hexdigest()
    assert told["files"]["model.onnx"]["sha256"] == digest
    assert told["onnx"]["max_abs_difference"] <= export_onnx.MAX_DIFF
    assert told["onnx"]["max_abs_difference_allowed"] == export_onnx.MAX_DIFF
    # Without --onnx nothing of it is left, and model.json is otherwise the same.
    assert cli.main(words) == 2
    assert cli.main([*words, "--overwrite"]) == 0
    assert not (out / "model.onnx").exists()
    plain = json.loads((out / "model.json").read_text("utf-8"))
    del told["onnx"], told["files"]["model.onnx"]
    # jax.export's bytes differ from call to call in one process.
    del told["files"]["model.bin"], plain["files"]["model.bin"]
    assert plain == told


def test_nothing_is_written_where_the_onnx_program_answers_otherwise(
    pretend, tmp_path, capsys
):
    pytest.importorskip("flatbuffers")
    pretend(lambda answer: answer + np.float32(1e-2))
    put_weights(tmp_path, "small", "edge")
    out = tmp_path / "out"
    assert cli.main(["export", str(tmp_path), "--onnx", f"--out={out}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 4
    assert not out.exists()


def test_the_example_is_short_and_names_no_jax():
    text = EXAMPLE.read_text("utf-8")
    assert len(text.splitlines()) <= 60
    assert "import jax" not in text and "fluoro_jax" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "side", "count"),
    [
        ("moving_past", SIDE, 8),
        ("edge", SIDE, 4),
        ("causal-cpu", 256, 12),
        ("group", 256, 10),
    ],
)
def test_the_example_answers_as_the_network(model, side, count, tmp_path):
    """With the packages themselves; random frames, of which the networks find parts."""
    for package in export_onnx.PACKAGES:
        pytest.importorskip(
            package, reason=f"{package} is not installed: docs/export.md"
        )
    spec = importlib.util.spec_from_file_location("run_onnx", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    if side == SIDE:
        put_weights(tmp_path, "small", model)
    name, folder = zoo.find(str(tmp_path) if side == SIDE else model)
    out = tmp_path / "out"
    source = str(tmp_path) if side == SIDE else model
    assert cli.main(["export", source, "--onnx", f"--out={out}"]) == 0
    rng = np.random.default_rng(1)
    frames = rng.uniform(1.0, 5.0, (count, side, side)).astype(np.float32)
    found = example.run(*example.load(out), frames)
    weights = zoo.load(name, folder=folder)
    stack = weights.cfg.data.stack
    expected = forward(weights.generator, stack, weights.params, frames[None])
    expected = np.asarray(expected)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=export_onnx.MAX_DIFF)
    if side != SIDE:
        masks = expected >= 0.5
        assert masks.any()
        np.testing.assert_allclose(
            centroid_px(found >= 0.5), centroid_px(masks), rtol=0, atol=0.1
        )
