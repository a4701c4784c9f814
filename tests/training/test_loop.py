from __future__ import annotations

import os
import shutil
import signal
import threading
import time

import jax
import numpy as np
import pytest
import stand_in_run
from reads import host_reads
from stand_ins import disc_batch

from fluoro_jax.errors import UserError
from fluoro_jax.training import loop, parallel
from fluoro_jax.training import nets as training_nets
from fluoro_jax.training.state import digest
from fluoro_jax.training.writer import read_rows


class StopAtTwo(stand_in_run.NoValidation):
    """Somebody ends the job while step 2 is being evaluated."""

    def __call__(self, ema):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().__call__(ema)


class Recorded:
    """Remembers which micro-batches were asked for; may spoil them all."""

    def __init__(self, spoil=False):
        self.seen, self.spoil = [], spoil

    def batch_at(self, index):
        self.seen.append(index)
        batch = disc_batch(index)
        if self.spoil:
            batch["frames"][:] = np.nan
        return batch


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr(loop, "use_compilation_cache", lambda: None)
    stand_in_run.install(monkeypatch.setattr)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(workdir, digest) of four steps in one go."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "use_compilation_cache", lambda: None)
        stand_in_run.install(patch.setattr)
        return workdir, digest(loop.train(stand_in_run.config(), workdir))


def test_nothing_compiles_in_a_thread_before_tfds_is_imported(tmp_path, monkeypatch):
    """It replaces `import` for all threads, and JAX imports while it traces."""
    done, begin = [], loop.FirstCall.begin

    def noted(call, *args):
        done.append("compiling")
        begin(call, *args)

    monkeypatch.setattr(loop, "import_tfds", lambda: done.append("imported"))
    monkeypatch.setattr(loop.FirstCall, "begin", noted)
    loop.train(stand_in_run.config(1), tmp_path)
    assert done == ["imported", "compiling"]


def test_nothing_is_read_from_a_device_between_two_logs(tmp_path, monkeypatch):
    """A read would wait for the updates under way, and the device then for the host."""
    between, logged = [False], []
    updates, log = loop._updates, loop.RunMonitor.log

    def first_updates(*args):
        answer = updates(*args)
        between[0] = True
        return answer

    def next_log(monitor, step, skipped):
        between[0] = False
        logged.append(step)
        log(monitor, step, skipped)

    monkeypatch.setattr(loop, "_updates", first_updates)
    monkeypatch.setattr(loop.RunMonitor, "log", next_log)
    main = threading.current_thread()
    refuse = lambda: between[0] and threading.current_thread() is main
    cfg = stand_in_run.config()
    cfg.train.update(num_steps=4, log_every=2, save_every=4, eval_every=4)
    with host_reads(refuse) as reads:
        loop.train(cfg, tmp_path)
    assert logged == [2, 4] and reads


@pytest.mark.slow
def test_the_critic_waits_for_its_start(tmp_path):
    cfg = stand_in_run.config()
    cfg.loss.critic_start = 3
    state = loop.train(cfg, tmp_path)
    assert int(state.critic.updates) == cfg.train.critic_updates
    assert int(state.gen.updates) == 4 * cfg.train.gen_updates


def test_a_stopped_run_goes_on_bit_equal(undisturbed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "Validation", StopAtTwo)
    with pytest.raises(SystemExit) as stopped:
        loop.train(stand_in_run.config(), tmp_path)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert "step 2 is saved" in capsys.readouterr().out
    monkeypatch.setattr(loop, "Validation", stand_in_run.NoValidation)
    state = loop.train(stand_in_run.config(), tmp_path)
    assert digest(state) == undisturbed[1]
    assert f"digest sha256 {undisturbed[1]}" in capsys.readouterr().out
    same = lambda rows: [{k: v for k, v in r.items() if "per_s" not in k} for r in rows]
    rows = [read_rows(d / "metrics.jsonl") for d in (undisturbed[0], tmp_path)]
    assert same(rows[0]) == same(rows[1])


@pytest.mark.slow
def test_a_run_with_accumulation_goes_on_bit_equal(tmp_path, monkeypatch, capsys):
    source = Recorded()
    monkeypatch.setattr(loop, "open_batches", lambda *_: source)
    cfg = stand_in_run.config(4, accumulate=3)
    micro = 3 * cfg.train.gen_updates
    whole = loop.train(cfg, tmp_path / "whole")
    assert source.seen[: 4 * micro] == list(range(4 * micro))
    assert int(whole.gen.updates) == 4 * cfg.train.gen_updates
    said = capsys.readouterr().out
    assert said.index("it needs about") < said.index("step 2: validation")

    monkeypatch.setattr(loop, "Validation", StopAtTwo)
    with pytest.raises(SystemExit):
        loop.train(cfg, tmp_path / "two")
    source.seen.clear()
    monkeypatch.setattr(loop, "Validation", stand_in_run.NoValidation)
    assert digest(loop.train(cfg, tmp_path / "two")) == digest(whole)
    assert source.seen[: 2 * micro] == list(range(2 * micro, 4 * micro))


class Refused(Exception):
    pass


def test_a_run_that_is_refused_leaves_a_workdir_for_its_corrected_form(
    undisturbed, tmp_path, monkeypatch
):
    def refuse(*_):
        raise Refused

    cfg = stand_in_run.config()
    cfg.study.num_val += 1
    with monkeypatch.context() as patch, pytest.raises(Refused):
        patch.setattr(loop, "open_batches", refuse)
        loop.train(cfg, tmp_path)
    assert not (tmp_path / "config.json").exists()
    cfg.study.num_val -= 1
    assert digest(loop.train(cfg, tmp_path)) == undisturbed[1]


def test_another_config_does_not_go_on_from_the_checkpoint(
    undisturbed, tmp_path, capsys
):
    folder = shutil.copytree(undisturbed[0], tmp_path / "copy")
    assert "gen" in (folder / "parameters.txt").read_text()
    (folder / "config.json").unlink()
    cfg = stand_in_run.config(6)
    cfg.gen.base, cfg.gen_opt.learning_rate = 8, 1e-5
    with pytest.raises(UserError, match=r"step 4 .* is of another config") as error:
        loop.train(cfg, folder)
    assert "gen.base: 4 there, 8 now; gen_opt.learning_rate" in error.value.found
    with pytest.raises(UserError, match="is of another config"):
        training_nets.restore_generator(cfg, folder)
    assert not (folder / "config.json").exists()
    loop.train(stand_in_run.config(), folder)
    said = capsys.readouterr().out
    assert "M parameters, critic" in said and len(said.splitlines()) == 3


def test_a_finished_run_is_reused(undisturbed, monkeypatch):
    def never(*_):
        raise AssertionError("a finished run must not open its data")

    monkeypatch.setattr(loop, "open_batches", never)
    state = loop.train(stand_in_run.config(), undisturbed[0])
    assert digest(state) == undisturbed[1]


def test_the_generator_comes_back(undisturbed):
    gen, params, step = training_nets.restore_generator(
        stand_in_run.config(), undisturbed[0]
    )
    stack = np.zeros((1, 3, 16, 16, 3), np.float32)
    assert step == 4
    answer = jax.eval_shape(gen.apply, {"params": params}, stack)
    assert answer.logits.shape == (1, 3, 16, 16)


def test_no_generator_before_training(tmp_path):
    with pytest.raises(UserError, match="no checkpoint"):
        training_nets.restore_generator(stand_in_run.config(), tmp_path)


@pytest.mark.parametrize("gen_updates, critic_updates", [(2, 1), (1, 3)])
def test_schedules(tmp_path, monkeypatch, gen_updates, critic_updates):
    source = Recorded()
    monkeypatch.setattr(loop, "open_batches", lambda *_: source)
    cfg = stand_in_run.config(2, gen_updates=gen_updates, critic_updates=critic_updates)
    state = loop.train(cfg, tmp_path)
    assert int(state.gen.updates) == 2 * gen_updates
    assert int(state.critic.updates) == 2 * critic_updates
    micro = max(gen_updates, critic_updates)
    assert source.seen[: 2 * micro] == list(range(2 * micro))


def test_updates_that_are_never_finite_stop_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "open_batches", lambda *_: Recorded(spoil=True))
    with pytest.raises(UserError, match="between steps 1 and 2") as error:
        loop.train(stand_in_run.config(max_skipped=5), tmp_path)
    assert "6 updates were not finite" in error.value.found


def test_an_empty_mask_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("fluoro_jax.training.monitor.COLLAPSED_BELOW", 2.0)
    with pytest.raises(UserError, match="empty masks") as error:
        loop.train(stand_in_run.config(collapse_after=2), tmp_path)
    assert "steps 1 to 2" in error.value.found
    assert "loss.warmup_steps" in error.value.fix


def test_a_batch_that_devices_cannot_share(tmp_path):
    cfg = stand_in_run.config()
    cfg.data.batch_size = 6
    with pytest.raises(UserError, match="batch_size = 6 on 4 devices"):
        loop.train(cfg, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_larger_than_memory_is_refused_before_anything_is_written(tmp_path):
    cfg = stand_in_run.config()
    cfg.data.batch_size, cfg.study.num_frames = 65536, 10_000
    with pytest.raises(UserError, match=r"data.batch_size = 65536 needs .* GiB"):
        loop.train(cfg, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_processes_need_all_three_variables(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1234")
    monkeypatch.delenv("JAX_NUM_PROCESSES", raising=False)
    with pytest.raises(UserError, match="JAX_NUM_PROCESSES"):
        parallel.start_processes()
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS")
    assert parallel.start_processes() is False


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", "")
        loop.use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/fluoro_jax/xla"
        jax.config.update("jax_compilation_cache_dir", "/elsewhere")
        loop.use_compilation_cache()
        assert jax.config.jax_compilation_cache_dir == "/elsewhere"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_run_whose_time_is_up_is_saved_and_returned(tmp_path, capsys):
    cfg = stand_in_run.config()
    loop.train(cfg, tmp_path, until=time.monotonic())
    assert "trained to step 0" in capsys.readouterr().out
    assert [int(path.name) for path in (tmp_path / "ckpt").iterdir()] == [0]
    loop.train(cfg, tmp_path)  # without a limit it goes on from there, to its end
    calls = read_rows(tmp_path / "history.jsonl")
    assert [(call["from"], call["to"]) for call in calls] == [(0, 4), (0, 4)]


def test_a_run_starts_from_given_parameters_once(tmp_path):
    cfg = stand_in_run.config()
    fresh = jax.device_get(jax.jit(stand_in_run.build(cfg).init)().gen.params)
    given = jax.tree.map(lambda leaf: leaf + np.float32(0.5), fresh)
    state = loop.train(cfg, tmp_path / "a", until=time.monotonic(), params=given)
    for tree in (state.gen.params, state.ema):
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(tree), given)
    # A run that goes on has parameters of its own.
    again = loop.train(cfg, tmp_path / "a", until=time.monotonic(), params=fresh)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(again.gen.params), given)
    other = {"another": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match="other arrays"):
        loop.train(cfg, tmp_path / "b", params=other)
