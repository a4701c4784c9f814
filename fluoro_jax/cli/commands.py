"""Parses command lines into runs and formats user errors."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from ml_collections.config_flags import config_flags

from fluoro_jax.cli.surroundings import (
    explained,
    of_the_system,
    prepare,
    settle_flags,
    unbroken,
)
from fluoro_jax.cli.verbs import (
    CHECKS_ITS_CONFIG,
    EXTRA,
    REQUIRED,
    SWITCHES,
    VERBS,
    with_usual_config,
)
from fluoro_jax.config import check_platform, unknown_key, validate
from fluoro_jax.errors import UserError, nearest
from fluoro_jax.interrupts import INTERRUPTED, acknowledged, raise_if_pressed
from fluoro_jax.io.files import expand_path

USAGE = """usage: {verb} --config=FILE.py[:preset] --workdir=DIR [--config.KEY=VALUE]

  --config      a config file, as configs/paper_group.py:smoke
  --config.KEY  another value for one key, as --config.train.num_steps=100
  --workdir     folder of the run{default}
  --data_dir    folder of stored studies; by default <workdir>/data
{extra}  --debug       show the Python traceback of an error"""
PARSING = "Error whilst parsing config file"  # ml_collections, of any exception
BROKEN = (flags.Error, OSError, ImportError, SyntaxError, NameError)  # config files
BROKEN += (AttributeError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class Call:
    """Holds the values of a command line."""

    cfg: ConfigDict
    workdir: Path
    data_dir: Path | None
    extra: dict[str, str] = field(default_factory=dict)
    usual: ConfigDict | None = None  # the config file's own values


def run(verb: str, argv: Sequence[str] | None = None) -> int:
    """Runs one of `VERBS`.

    Args:
        verb: which.
        argv: the arguments after the program's name; by default this process's.

    Returns:
        The exit code: 0, 2 after a user's error (four lines on stderr), 130 after
        Ctrl-C, 141 when stdout was closed.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    default = "; by default runs/<name of the config>" * (verb == "reproduce")
    if {"--help", "-h", "-help", "--helpfull"} & set(argv):
        lines = [f"  --{k:<11} {words}\n" for k, words in EXTRA.get(verb, {}).items()]
        usage = USAGE.format(verb=verb, default=default, extra="".join(lines))
        return unbroken(lambda: print(usage))
    work = lambda: _work(verb, parse(verb, argv))
    return guarded(work, debug=bool({"--debug", "--debug=true"} & set(argv)))


def guarded(work: Callable[[], None], *, debug: bool, option: str = "--workdir") -> int:
    """Runs `work`; turns a user's error into four lines on stderr.

    Args:
        work: the command.
        debug: show the traceback of a user's error too.
        option: of the command line, says where the command writes.

    Returns:
        The exit code: 0, 2 after a user's error, 130 after Ctrl-C, 141 when stdout
        was closed.
    """
    return unbroken(lambda: _guarded(work, debug=debug, option=option))


def _guarded(work: Callable[[], None], *, debug: bool, option: str) -> int:
    try:
        with acknowledged():
            prepare()
            work()
    except SystemExit as stop:
        if stop.code != INTERRUPTED:
            raise
        return INTERRUPTED
    except BrokenPipeError:  # an OSError too; `unbroken` answers it
        raise
    except (UserError, OSError, RuntimeError, MemoryError) as error:
        told = _told(error, option)
        if told is None:  # a fault of the program, not of the user
            raise
        if debug:
            traceback.print_exc()
        print(told, file=sys.stderr, flush=True)
        return 2
    return 0


def _told(error: Exception, option: str) -> UserError | None:
    """Returns what a user is told about an error, None if it is the program's."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        return of_the_system(error, option)
    return explained(error)


def parse(verb: str, argv: Sequence[str]) -> Call:
    """Reads the flags and the config; nothing is checked but that it can be read.

    Raises:
        UserError: for flags, keys, values or files that are not there or not legal.
    """
    argv = with_usual_config(verb, argv)
    values = _read(verb, argv)
    cfg, workdir = values.config, values.workdir
    if not workdir and verb == "reproduce":
        workdir = f"runs/{cfg.name}"
    if not workdir:
        raise _missing("workdir", "runs/first", "where the run stands")
    given = {name: values[name].value for name in EXTRA.get(verb, {})}
    extra = {name: value for name, value in given.items() if value}
    for name, example in REQUIRED.get(verb, {}).items():
        if name not in extra:
            raise _missing(name, example, EXTRA[verb][name])
    data_dir = expand_path(values.data_dir) if values.data_dir else None
    usual = _read(verb, [f"--config={_config_value(argv)}"]).config
    return Call(cfg, expand_path(workdir), data_dir, extra, usual)


def read_config(verb: str, argv: Sequence[str]) -> ConfigDict:
    """The config of `--config=FILE.py[:preset] --config.KEY=VALUE ...`, unchecked.

    Raises:
        UserError: for flags, keys, values or files that are not there or not legal.
    """
    return _read(verb, argv).config


def _read(verb: str, argv: Sequence[str]) -> flags.FlagValues:
    values = _define([verb, *argv])
    try:
        rest = values([verb, *argv])[1:]
        cfg = values.config
        if cfg is not None:
            cfg.to_dict()
    except BROKEN as error:
        raise _explain(error, argv, values) from error
    if rest:
        raise _unread(rest[0])
    if cfg is None:
        raise _missing("config", "configs/quickstart.py:smoke", "what to run")
    return values


def _work(verb: str, call: Call) -> None:
    from fluoro_jax.studies import StudySpec
    from fluoro_jax.training.parallel import start_processes
    from fluoro_jax.training.workdir import locked

    settle_flags(call.cfg)
    start_processes()  # before anything else touches JAX
    module, name = VERBS[verb]
    if verb in CHECKS_ITS_CONFIG:
        work = getattr(importlib.import_module(module), name)
        work(call.cfg, call.workdir, data_dir=call.data_dir, **call.extra)
        return
    if "parts" in call.cfg:
        _work_plan(verb, call)
        return
    if call.extra and verb == "reproduce":
        raise UserError(
            f"--{' and --'.join(call.extra)} with a config of one run",
            needed="a plan of parts, as configs/paper_all.py",
            why="a single run has no parts to choose from",
            fix=f"leave --{' and --'.join(call.extra)} out",
        )
    training = verb in ("train", "reproduce")
    cfg = validate(call.cfg, training=training, usual=call.usual)
    check_platform(cfg)
    StudySpec.from_config(cfg.study)
    work = getattr(importlib.import_module(module), name)
    raise_if_pressed()  # the import may have swallowed a Ctrl-C
    with locked(call.workdir) if training else contextlib.nullcontext():
        try:
            work(cfg, call.workdir, data_dir=call.data_dir, **call.extra)
        except (RuntimeError, MemoryError) as error:
            from fluoro_jax.training import memory

            if told := memory.explained(error, cfg):
                raise told from error
            raise


def _work_plan(verb: str, call: Call) -> None:
    from fluoro_jax.experiments.plan import reproduce_plan

    if verb != "reproduce":
        raise UserError(
            f"{verb} with a plan of parts ({call.cfg.name})",
            needed="the config of one run",
            why="only reproduce goes through the parts of a plan",
            fix=f"python -m launch.reproduce, or fluoro reproduce, in place of {verb}",
        )
    names = call.extra.get("only", "").split(",")
    extra = {**call.extra, "only": [n.strip() for n in names if n.strip()]}
    reproduce_plan(call.cfg, call.workdir, data_dir=call.data_dir, **extra)


def _define(argv: list[str]) -> flags.FlagValues:
    """A set of flags of its own, so that a process may parse more than once."""
    values = flags.FlagValues()
    sys.modules.pop("config_config", None)  # or names of an earlier file shine through
    config_flags.DEFINE_config_file(
        "config", None, "the config", flag_values=values, sys_argv=argv
    )
    for name in ("workdir", "data_dir"):
        flags.DEFINE_string(name, None, "a folder", flag_values=values)
    for name, words in EXTRA.get(argv[0], {}).items():
        switch = name in SWITCHES
        define = flags.DEFINE_boolean if switch else flags.DEFINE_string
        define(name, None, words, flag_values=values)
    flags.DEFINE_boolean("debug", False, "show the traceback", flag_values=values)
    _let_import(argv)
    return values


def _let_import(argv: list[str]) -> None:
    """Config files import their neighbours (`from configs.base import ...`)."""
    value = _config_value(argv)
    folders = [Path.cwd()]
    if value:
        folders.append(Path(value.split(":")[0]).resolve().parent.parent)
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def _config_value(argv: Sequence[str]) -> str | None:
    for word, after in zip(argv, [*argv[1:], None], strict=True):
        name, equals, value = word.partition("=")
        if name in ("--config", "-config"):
            return value if equals else after
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain(
    error: Exception, argv: Sequence[str], values: flags.FlagValues
) -> UserError:
    for one in _chain(error):
        if isinstance(one, UserError):  # from the config file itself
            return one
    text = " ".join(str(error).split())
    if isinstance(error, flags.UnrecognizedFlagError):
        name = getattr(error, "flagname", "")
        extra = sorted({w for words in EXTRA.values() for w in words if w in values})
        known = ["config", "config.KEY", "workdir", "data_dir", *extra, "debug"]
        close = nearest(name, known)
        return UserError(
            f"unknown flag --{name}",
            needed=f"--{', --'.join(known[:-1])} or --{known[-1]}",
            why="no command reads a flag of that name",
            fix=f"did you mean --{close}?" if close else "leave it out; see --help",
        )
    if PARSING in text:
        return _broken(str(error), _config_value(argv))
    key = _key_in(text, argv)
    if key and isinstance(error, AttributeError | KeyError):
        return unknown_key(key, flag="--config.")
    if isinstance(error, flags.Error):
        return _bad_value(error, text)
    return _unreadable(error, _config_value(argv))


def _short(text: str, most: int = 160) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


def _bad_value(error: Exception, text: str) -> UserError:
    text = _short(text)
    if isinstance(error, flags.IllegalFlagValueError) and "config." in text:
        return UserError(
            text,
            needed="a value of the type that the key has in configs/base.py",
            why="a config keeps the type of every value",
            fix="correct the value; see configs/base.py for what stands there",
        )
    return UserError(
        text,
        needed="--config=FILE.py[:preset], then --config.KEY=VALUE, and --workdir=DIR",
        why="the command line cannot be read",
        fix="write --config first and a value after every =; see --help",
    )


def _key_in(text: str, argv: Sequence[str]) -> str | None:
    """The override `--config.KEY` of `argv` whose last word the message names."""
    for word in argv:
        match = re.match(r"--?(?:no)?config\.([^=]+)", word)
        if match and any(
            f"'{p}'" in text or f'"{p}"' in text or p == text
            for p in match[1].split(".")
        ):
            return match[1]
    return None


def _unreadable(error: Exception, value: str | None) -> UserError:
    path = Path((value or "").split(":")[0])
    if not path.is_file():
        near = nearest(path.name, [p.name for p in path.parent.glob("*.py")])
        fix = f"did you mean {path.parent / near}?" if near else "check the path"
        return UserError(
            f"no config file {path}",
            needed="a Python file with get_config(preset), as in configs/",
            why="every value of a run comes from its config",
            fix=f"{fix} (relative to {Path.cwd()})",
        )
    cause = list(_chain(error))[-1]  # the first error, behind absl's own
    lines = str(cause).strip().splitlines() or [""]
    return UserError(
        f"config file {path} cannot be loaded ({type(cause).__name__}: "
        f"{_short(lines[-1])})",
        needed="a Python file whose get_config(preset) returns a ConfigDict",
        why="every value of a run comes from its config",
        fix="correct the file; --debug shows where it failed",
    )


def _broken(text: str, value: str | None) -> UserError:
    """A config file that raised, from the traceback that ml_collections formats."""
    path = Path((value or "").split(":")[0])
    lines = re.findall(rf'File "[^"]*{re.escape(path.name)}", line (\d+)', text)
    raised = re.findall(r"^(\w+(?:\.\w+)*): (.*)$", text, re.MULTILINE)
    kind, words = raised[-1] if raised else ("error", text.splitlines()[-1])
    where = f", line {lines[-1]}" if lines else ""
    return UserError(
        f"config file {path}{where}: {kind}: {_short(words)}",
        needed="a Python file whose get_config(preset) returns a ConfigDict",
        why="every value of a run comes from its config, and keeps its type",
        fix="correct that line; --debug shows the traceback",
    )


def _missing(name: str, example: str, meaning: str) -> UserError:
    return UserError(
        f"no --{name}",
        needed=f"--{name}, for example --{name}={example}",
        why=f"it says {meaning}",
        fix=f"add --{name}={example}",
    )


def _unread(word: str) -> UserError:
    return UserError(
        f"{word!r} on the command line",
        needed="flags only, as --config=FILE.py --workdir=DIR",
        why="a word without a flag would have no effect",
        fix=f"remove {word!r}, or write the flag it belongs to before it",
    )
