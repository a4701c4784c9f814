"""Trackers of the comparison by name: rivals, networks, and a user's own.

A name is one of `RIVALS`; weights with an optional look-ahead, as `group@2`,
`group@whole` or `runs/mine@0`, and another `evaluation.answer`, as
`group@0+followed`, or frame 0's outline to start from, as `group@0+frame0`
(which follows one component, `tracking.posterior`); or `package.module:Name`, a class
or function that makes a tracker without arguments.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from fluoro_jax import fingerprint
from fluoro_jax.config import reads_ahead, validate, with_answer
from fluoro_jax.config_rules import ANSWERS
from fluoro_jax.errors import UserError, nearest
from fluoro_jax.evaluation.evaluate import weights_digest
from fluoro_jax.tracking.baselines.registry import KNOWLEDGE, RIVALS
from fluoro_jax.tracking.networks import network_tracker
from fluoro_jax.tracking.tracker import Tracker
from fluoro_jax.training.nets import restore_generator
from fluoro_jax.zoo import find, load, names

WHOLE = "whole"  # look-ahead of the whole window
FRAME0 = "frame0"  # frame 0's outline is where the followed component starts
# Code that networks run and most rivals do not.
NETWORKS = (
    *("models/**/*.py", "data/stack.py", "experiments/compare/entries.py"),
    *("training/nets.py", "training/precision.py", "tracking/baselines/matching.py"),
    *(f"tracking/{name}.py" for name in ("network", "networks", "one_frame")),
    *(f"tracking/{name}.py" for name in ("hypotheses", "path", "posterior", "stream")),
    *("tracking/window_answer.py", "tracking/baselines/shape.py"),
)
# The breaths that a rival on centroids is trained on are a forecaster's.
BASELINES = (
    *("tracking/baselines/**/*.py", "tracking/forecast_lstm.py"),
    "tracking/forecast_lstm_fit.py",
)


@dataclass(frozen=True)
class Entry:
    """A row of the comparison.

    Attributes:
        name: as in the config.
        knowledge: what it is given of the patient, one of `KNOWLEDGE`.
        trials: settings tried to choose its own; None if that is not stated.
        build: from (training arrays, planning phases) to a tracker; each may be None.
        learns: whether `build` is given training arrays.
        code: digest of its own code and weights.
    """

    name: str
    knowledge: str
    trials: int | None
    build: Callable[[Any, Any], Tracker]
    learns: bool
    code: str


def read_entry(name: str) -> Entry:
    """Returns the tracker of a name; nothing is built but a network's weights read.

    Raises:
        UserError: for a name that no tracker has, weights that cannot be read, or a
            module that cannot be imported.
    """
    if name in RIVALS:
        rival = RIVALS[name]
        digest = fingerprint.code(*BASELINES)
        return Entry(name, rival.knowledge, rival.trials, rival.build, True, digest)
    if ":" in name:
        return _user_entry(name)
    return _network_entry(name)


def _network_entry(name: str) -> Entry:
    weights, _, ahead = name.partition("@")
    cfg, generator, params = _weights(weights)
    ahead, *words = ahead.split("+")
    answer = _answer(name, words)
    tracker = _network(name, cfg, (generator, params), ahead, answer)
    # The config too: stack, threshold and answer are no weights.
    digest = weights_digest(params) + json.dumps(cfg.to_dict(), sort_keys=True)
    digest += fingerprint.code(*NETWORKS)
    knowledge = KNOWLEDGE[1] if FRAME0 in words else KNOWLEDGE[0]
    build = lambda training, patient: tracker
    return Entry(name, knowledge, None, build, False, digest)


def _weights(model: str) -> tuple[Any, Any, Any]:
    """Returns config, module and parameters of weights or of a run's workdir."""
    folder = Path(model).expanduser()
    if (folder / "ckpt").is_dir():
        text = (folder / "config.json").read_text(encoding="utf-8")
        cfg = validate(ConfigDict(json.loads(text)), training=False)
        generator, params, _ = restore_generator(cfg, folder)
        return cfg, generator, params
    stem, home = find(model)
    if home is None and stem not in names():
        known = [*RIVALS, *names()]
        close = nearest(stem, known)
        raise UserError(
            f"no tracker {model!r}",
            needed=f"one of {', '.join(known)}; the workdir of a run; or "
            "package.module:Name",
            why="every row of the table is a tracker by name",
            fix=f"did you mean {close}?" if close else "correct the name",
        )
    found = load(stem, folder=home)
    return found.cfg, found.generator, found.params


def _answer(name: str, words: Sequence[str]) -> str:
    """Returns the `evaluation.answer` that the words after + ask for, or ""."""
    answers = [word for word in words if word != FRAME0]
    # Only a followed component has a start.
    wrong = FRAME0 in words and answers not in ([], ["followed"])
    if wrong or len(answers) > 1 or not set(answers) <= {"", *ANSWERS}:
        raise UserError(
            f"answer {'+'.join(words)!r} of {name}",
            needed="one of " + ", ".join((*ANSWERS, FRAME0)),
            why="it says which part of the network's map is the tumour, or that the "
            "part that is followed starts at frame 0's outline",
            fix=f"{name.partition('@')[0]}@0+followed, or leave it out",
        )
    return "followed" if FRAME0 in words else "".join(answers)


def _network(
    name: str, cfg: Any, net: tuple[Any, Any], ahead: str, answer: str
) -> Tracker:
    cfg = with_answer(cfg, answer)
    window = cfg.study.num_frames
    if not ahead:
        ahead = WHOLE if reads_ahead(cfg) else "0"
    if ahead != WHOLE and not ahead.isdecimal():
        raise UserError(
            f"look-ahead {ahead!r} of {name}",
            needed=f"a number of frames from 0 to {window - 1}, or {WHOLE}",
            why="a network answers so many frames late",
            fix=f"{name.partition('@')[0]}@2, or @{WHOLE} for the whole window",
        )
    frames = window - 1 if ahead == WHOLE else int(ahead)
    return network_tracker(*net, cfg, frames)


def _user_entry(name: str) -> Entry:
    """A tracker of the user's; `knowledge` and `trials` are attributes of it."""
    module, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:  # as for config files: a module beside the command
        sys.path.append(folder)
    try:
        found: Any = importlib.import_module(module)
        make = functools.reduce(getattr, attribute.split("."), found)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"the tracker {name}: {error}",
            needed="package.module:Name that Python can import from this folder",
            why="the comparison calls Name() to make the tracker",
            fix="check the spelling, and that the folder is on PYTHONPATH",
        ) from error
    knowledge = getattr(make, "knowledge", KNOWLEDGE[0])
    if knowledge not in KNOWLEDGE[:2]:
        raise UserError(
            f"{name} with knowledge = {knowledge!r}",
            needed=" or ".join(repr(word) for word in KNOWLEDGE[:2]),
            why="the reference and the table's column follow from it",
            fix="set the class attribute `knowledge`",
        )
    source = Path(inspect.getsourcefile(make) or "")
    digest = hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else ""
    digest += fingerprint.code(*NETWORKS, *BASELINES)  # it may wrap any of them
    build = lambda training, patient: make()
    return Entry(name, knowledge, getattr(make, "trials", None), build, False, digest)
