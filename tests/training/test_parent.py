from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest
import stand_in_run

from fluoro_jax.errors import UserError
from fluoro_jax.training import loop
from fluoro_jax.training import nets as training_nets
from fluoro_jax.training.parent import from_parent, read_config
from fluoro_jax.training.writer import read_rows


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(loop, "use_compilation_cache", lambda: None)
    stand_in_run.install(monkeypatch.setattr)


def equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.mark.slow
def test_a_run_starts_from_its_parents_averaged_networks(tmp_path):
    cfg = stand_in_run.config()
    parent = loop.train(cfg, tmp_path / "group")
    cfg.init.parent, cfg.seed = "group", 5
    nets = training_nets.build(cfg)
    (tmp_path / "child").mkdir()
    start = loop._first_state(nets, loop._parent(nets, tmp_path / "child"), None)
    equal(start.gen.params, parent.ema)
    equal(start.ema, parent.ema)
    equal(start.critic.params, parent.critic.params)
    equal(start.gen.opt_state, nets.init().gen.opt_state)
    assert int(start.gen.updates) == int(start.critic.updates) == 0
    trained = loop.train(cfg, tmp_path / "child")
    assert int(trained.gen.updates) == cfg.train.num_steps * cfg.train.gen_updates


@pytest.mark.slow
def test_a_parent_that_was_trained_again_is_noticed(tmp_path):
    cfg = stand_in_run.config()
    loop.train(cfg, tmp_path / "group")
    child = stand_in_run.config()
    child.init.parent = "group"
    loop.train(child, tmp_path / "child")
    loop.train(child, tmp_path / "child")
    shutil.rmtree(tmp_path / "group")
    cfg.seed = 99
    loop.train(cfg, tmp_path / "group")
    with pytest.raises(UserError, match="fine-tuned from other weights"):
        loop.train(child, tmp_path / "child")


def test_a_run_longer_than_asked_is_refused_and_its_history_kept(tmp_path):
    cfg = stand_in_run.config()
    loop.train(cfg, tmp_path)
    cfg.train.num_steps += 2
    loop.train(cfg, tmp_path)
    calls = read_rows(tmp_path / "history.jsonl")
    assert [(call["from"], call["to"]) for call in calls] == [(0, 4), (4, 6)]
    cfg.train.num_steps = 5
    with pytest.raises(UserError, match="holds a run of 6 steps"):
        loop.train(cfg, tmp_path)


def test_a_missing_parent_is_explained(tmp_path):
    with pytest.raises(UserError, match="no run in") as caught:
        read_config(tmp_path / "group")
    assert len(str(caught.value).splitlines()) == 4
    cfg = stand_in_run.config()
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "config.json").write_text(json.dumps(cfg.to_dict()))
    cfg.init.parent = "group"
    with pytest.raises(UserError, match="no checkpoint in"):
        loop.train(cfg, tmp_path / "child")


def test_another_generator_is_refused_and_another_critic_left():
    init = jax.jit(training_nets.build(stand_in_run.config()).init)
    state, parent = init(), init()
    add = lambda tree: {**tree, "more": np.zeros(3)}
    with pytest.raises(UserError, match="generator has other arrays"):
        from_parent(state, parent.replace(ema=add(parent.ema)))
    critic = parent.critic.replace(params=add(parent.critic.params))
    equal(from_parent(state, parent.replace(critic=critic)).critic, state.critic)


def test_a_parent_of_an_earlier_version_has_the_keys_of_today(tmp_path):
    old = stand_in_run.config().to_dict()
    del old["matmul_precision"], old["gen"]["patch"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    found = read_config(tmp_path)
    assert found["matmul_precision"] == "highest" and found["gen"]["patch"] == 1
