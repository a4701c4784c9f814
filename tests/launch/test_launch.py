from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax.numpy as jnp
import pytest

from fluoro_jax import __version__
from fluoro_jax.cli import commands
from fluoro_jax.cli import main as cli
from fluoro_jax.errors import UserError

SMOKE = "--config=configs/paper_group.py:smoke"
# ml_collections 1.1 loads config files in a deprecated way.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def parse(*argv, verb="train", **kwargs):
    return commands.parse(verb, argv, **kwargs)


def test_a_row_of_the_ablation_by_its_name():
    cfg = parse("--config=configs/ablation.py:smoke/no_convlstm", "--workdir=w").cfg
    assert (cfg.name, cfg.gen.lstm) == ("ablation_smoke_no_convlstm", "none")


def test_flags_reach_the_config():
    call = parse(
        SMOKE,
        "--workdir=w",
        "--data_dir",
        "d",
        "--config.train.num_steps=7",
        "--config.gen.bidirectional=False",
    )
    assert (call.workdir, call.data_dir) == (Path("w"), Path("d"))
    assert call.cfg.name == "paper_group_smoke"
    assert call.cfg.train.num_steps == 7
    assert call.cfg.gen.bidirectional is False
    assert parse(SMOKE, "--workdir=w").cfg.train.num_steps == 4


def test_defaults():
    call = parse(SMOKE, "--config.seed=3", verb="reproduce")
    assert call.workdir == Path("runs/paper_group_smoke")
    assert call.cfg.seed == 3


def test_weights_bring_a_config_along():
    words = ("--ct=c.mha", "--workdir=w", "--model=clinic")
    call = parse(*words, verb="real_anatomy")
    assert call.extra == {"ct": "c.mha", "model": "clinic"}
    for more, said in (
        ([SMOKE], "--model and --config"),
        (["--config.seed=1"], "--model and --config.seed"),
    ):
        with pytest.raises(UserError, match=said):
            parse(*words, *more, verb="real_anatomy")
    for more in ([], ["--model="]):  # of a shell's variable that is not set
        with pytest.raises(UserError, match="no --config"):
            parse(*words[:2], *more, verb="real_anatomy")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([SMOKE], "no --workdir"),
        (["--workdir=w"], "no --config"),
        (["--config=configs/paper_grup.py", "--workdir=w"], "paper_group.py"),
        (["--config=configs/paper_group.py:nope", "--workdir=w"], "smoke, quickstart"),
        ([SMOKE, "--workdr=w"], "--workdir?"),
        ([SMOKE, "--workdir=w", "--config.gen.level=3"], "--config.gen.levels?"),
        ([SMOKE, "--workdir=w", "--config.gn.levels=3"], "--config.gen.levels?"),
        ([SMOKE, "--workdir=w", "--config.gen.levels=abc"], "config.gen.levels"),
        ([SMOKE, "--workdir=w", "--config.gen.levels"], "config.gen.levels"),
        (["--config.seed=1", SMOKE, "--workdir=w"], "--config first"),
        ([SMOKE, "w"], "'w' on the command line"),
    ],
)
def test_mistakes_are_four_lines_and_exit_code_2(argv, words, capsys):
    assert commands.run("train", argv) == 2
    text = capsys.readouterr().err
    assert words in text
    assert text.startswith("ERROR ")
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize(
    "text", ["def get_config(:", "import nowhere", "x = 1", "raise ValueError('odd')"]
)
def test_a_broken_config_file(text, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.py") as caught:
        parse(f"--config={path}", "--workdir=w")
    assert len(str(caught.value).splitlines()) == 4


def fail_with(monkeypatch, error):
    def work(verb, call):
        raise error

    monkeypatch.setattr(commands, "_work", work)
    return commands.run("train", [SMOKE, "--workdir=w"])


def test_full_disk_and_ctrl_c(monkeypatch, capsys):
    assert fail_with(monkeypatch, OSError(errno.ENOSPC, "full", "w/x")) == 2
    text = capsys.readouterr().err
    assert "w/x" in text and len(text.splitlines()) == 4
    assert fail_with(monkeypatch, KeyboardInterrupt()) == 130
    with pytest.raises(OSError, match="fault"):
        fail_with(monkeypatch, OSError(errno.EIO, "fault"))


def test_a_home_folder_may_be_written_short(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    call = parse(SMOKE, "--workdir=~/x", "--data_dir=~/data")
    assert call.workdir == Path("/home/somebody/x")
    assert call.data_dir == Path("/home/somebody/data")


def test_a_refused_value_s_hint_is_the_config_file_s_own(capsys):
    argv = [SMOKE, "--workdir=w", "--config.gen_opt.learning_rate=1e9"]
    assert commands.run("train", argv) == 2
    hint = capsys.readouterr().err.splitlines()[3]
    assert hint.endswith("the config file has --config.gen_opt.learning_rate=0.001")


def test_a_long_error_of_a_config_file_is_cut(tmp_path, capsys):
    path = tmp_path / "fork.py"
    path.write_text(
        "from configs.base import base_config\n"
        "def get_config(preset=''):\n"
        "    c = base_config('smoke')\n"
        "    c.update(gen=dict(levels='" + "x" * 900 + "'))\n"
        "    return c\n"
    )
    assert commands.run("train", [f"--config={path}", "--workdir=w"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and max(map(len, lines)) < 320
    assert "fork.py, line 4: TypeError: " in lines[0]


def test_double_precision_is_told_to_be_ignored(monkeypatch, capsys):
    monkeypatch.setenv("JAX_ENABLE_X64", "True")
    done = []
    work = lambda: done.append(jnp.ones(1, jnp.float64).dtype)
    with warnings.catch_warnings(action="ignore"):
        assert commands.guarded(work, debug=False) == 0
    assert done == ["float32"]
    assert "JAX_ENABLE_X64 is ignored" in capsys.readouterr().err


@pytest.mark.multiprocess
def test_simulation_is_exact_unless_told_otherwise():
    """JAX would take an accelerator's short products; networks say their own."""
    shows = "import jax; print(jax.config.jax_default_matmul_precision)"
    code = f"from fluoro_jax.cli.surroundings import prepare; prepare(); {shows}"
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    for given in ({}, {"JAX_DEFAULT_MATMUL_PRECISION": "high"}):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**env, **given},
        )
        assert done.stdout.strip() == given.get(
            "JAX_DEFAULT_MATMUL_PRECISION", "highest"
        )


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("name", "value"), [("JAX_PLATFORMS", "tpux"), ("XLA_FLAGS", "--xla_nonsense=1")]
)
def test_surroundings_that_jax_refuses_are_four_lines(name, value, tmp_path):
    command = [sys.executable, "-m", "launch.train", SMOKE, f"--workdir={tmp_path}/w"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, name: value}
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 4, done.stderr
    assert value in done.stderr and name in done.stderr


@pytest.mark.multiprocess
@pytest.mark.parametrize("module", ["fluoro_jax.cli.main", "launch.train"])
def test_a_closed_output_is_no_error(module):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # 0: unbuffered, where argparse lets it pass


def test_debug_shows_the_traceback(capsys):
    assert commands.run("train", [SMOKE, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_refused_config_writes_nothing(tmp_path, capsys):
    workdir = tmp_path / "run"
    argv = [SMOKE, f"--workdir={workdir}", "--config.study.rows=33"]
    assert commands.run("train", argv) == 2
    assert "study.rows = 33" in capsys.readouterr().err
    assert not workdir.exists()


def test_the_verb_gets_the_checked_config(monkeypatch):
    seen = []
    take = lambda cfg, workdir, data_dir: seen.append((cfg, workdir, data_dir))
    monkeypatch.setattr(commands, "VERBS", {"train": (__name__, "taken")})
    monkeypatch.setattr(sys.modules[__name__], "taken", take, raising=False)
    assert cli.main(["train", SMOKE, "--workdir=w"]) == 0
    ((cfg, workdir, data_dir),) = seen
    assert (cfg.study.rows, workdir, data_dir) == (32, Path("w"), None)
    with pytest.raises(AttributeError):
        cfg.seed = 1


def test_help_and_doctor(capsys):
    assert commands.run("train", ["--help"]) == 0
    assert "--workdir" in capsys.readouterr().out
    assert cli.main(["doctor"]) == 0
    assert "cpu" in capsys.readouterr().out


@pytest.mark.multiprocess
def test_module_exits_with_2():
    command = [sys.executable, "-m", "launch.train", SMOKE, "--workdir=w"]
    command.append("--config.gen.level=3")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 4


@pytest.mark.multiprocess
def test_version_without_jax():
    code = (
        "import sys; from fluoro_jax.cli import main as cli\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"fluoro {__version__}\n"), done.stderr
