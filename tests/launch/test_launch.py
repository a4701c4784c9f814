from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

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
    call = parse("--config.seed=3", verb="reproduce", default_config=SMOKE[9:])
    assert call.workdir == Path("runs/paper_group_smoke")
    assert call.cfg.seed == 3


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
