"""Precision: a value of the config, applied to every program of a network, recorded."""

from __future__ import annotations

import concurrent.futures
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import further

from configs import paper_group
from configs.base import base_config
from fluoro_jax.config import validate
from fluoro_jax.errors import UserError
from fluoro_jax.models.generator import Generator, predict
from fluoro_jax.tracking.network import forward
from fluoro_jax.training import parallel, workdir
from fluoro_jax.training.nets import build
from fluoro_jax.training.precision import describe_precision, precision_name
from fluoro_jax.training.step import make_critic_update, make_gen_update

WORDS = {"highest": "HIGHEST", "tf32": "HIGH"}  # XLA's own, in the lowered text


def small(**changes):
    cfg = paper_group.get_config("smoke")
    cfg.study.update(rows=16, cols=16, num_frames=2)
    cfg.gen.update(levels=2, refine_levels=1, base=4, cap=4)
    cfg.critic.update(levels=1, base=4, cap=4)
    cfg.data.batch_size = 4
    cfg.update_from_flattened_dict(changes)
    return cfg


def batch_of(cfg):
    clip = jax.ShapeDtypeStruct(
        (4, 1, cfg.study.num_frames, cfg.study.rows, cfg.study.cols), jnp.float32
    )
    return {
        "frames": clip,
        "mask": clip,
        "id": jax.ShapeDtypeStruct((4, 1), jnp.int32),
    }


def products(text):
    """The lines of a lowered program that multiply."""
    words = ("stablehlo.convolution", "stablehlo.dot_general")
    return [line for line in text.splitlines() if any(w in line for w in words)]


def precision_words(line):
    return {
        w
        for w in ("DEFAULT", "HIGHEST", "HIGH")
        if f"precision {w}>" in line or (f"[{w}, {w}]" in line)
    }


@pytest.mark.parametrize("precision", WORDS)
@pytest.mark.parametrize("make", [make_gen_update, further(make_critic_update)])
def test_every_product_of_an_update_has_the_precision_asked_for(precision, make):
    """Backward passes too, and in a thread, as `FirstCall` compiles."""
    cfg = small(matmul_precision=precision)
    nets = build(cfg)
    tx = nets.gen_tx if make is make_gen_update else nets.critic_tx
    update = make(cfg, nets.gen, nets.critic, tx)
    state = jax.eval_shape(nets.init)
    lower = lambda: jax.pmap(
        update, axis_name=parallel.AXIS, in_axes=(None, 0), out_axes=(None, None)
    ).lower(state, batch_of(cfg))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        lines = products(pool.submit(lower).result().as_text())
    assert len(lines) > 20
    exact = {"HIGHEST"}  # SSIM's windows say their own
    found = [precision_words(line) for line in lines]
    assert all(words and words <= {WORDS[precision]} | exact for words in found)
    assert any(WORDS[precision] in precision_words(line) for line in lines)


@pytest.mark.parametrize("precision", WORDS)
def test_answers_of_a_tracker_have_the_precision_asked_for(precision):
    cfg = small(matmul_precision=precision)
    nets = build(cfg)
    params = jax.eval_shape(nets.init).ema
    frames = jax.ShapeDtypeStruct((1, 2, 16, 16), jnp.float32)
    lines = products(forward.lower(nets.gen, "edge", params, frames).as_text())
    found = [precision_words(line) for line in lines]
    assert found and all(words == {WORDS[precision]} for words in found)


@pytest.mark.thorough
def test_a_cpu_computes_the_same_bits_at_any_precision():
    """So the default changes no stored number."""
    if jax.default_backend() != "cpu":
        pytest.skip("an accelerator rounds")
    cfg = small()
    rng = np.random.default_rng(0)
    stack = rng.uniform(1.0, 5.0, (1, 2, 16, 16, 3)).astype(np.float32)
    nets = [Generator(**cfg.gen)]
    nets += [build(small(matmul_precision=name)).gen for name in WORDS]
    params = jax.jit(nets[0].init)(jax.random.key(0), stack)["params"]
    answers = [
        np.asarray(jax.jit(predict, static_argnums=0)(n, params, stack)) for n in nets
    ]
    assert np.ptp(answers[0]) > 0.0
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "float32"),
        ({"matmul_precision": "tf32"}, "tf32"),
        ({"gen.dtype": "bfloat16", "critic.dtype": "bfloat16"}, "bfloat16"),
        ({"gen.dtype": "bfloat16"}, "bfloat16, critic float32"),
        (
            {"gen.dtype": "bfloat16", "matmul_precision": "tf32"},
            "bfloat16, critic tf32",
        ),
    ],
)
def test_records_name_the_precision(changes, words, tmp_path):
    cfg = small(**changes)
    assert describe_precision(cfg) == words
    assert precision_name(cfg) == words.split(",")[0]
    workdir.record(cfg, tmp_path, start=0)
    env = json.loads((tmp_path / "env.json").read_text())
    assert env["precision"] == words and "xla_flags" in env


def test_tf32_without_a_float32_network_is_refused():
    cfg = base_config("smoke")
    cfg.matmul_precision = "tf32"
    cfg.gen.dtype = cfg.critic.dtype = "bfloat16"
    with pytest.raises(UserError, match="matmul_precision = 'tf32'") as caught:
        validate(cfg, training=False)
    assert len(str(caught.value).splitlines()) == 4
    cfg.critic.dtype = "float32"
    validate(cfg, training=False)
