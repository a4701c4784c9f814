"""The config of the comparison: its keys and what each may hold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ml_collections import FrozenConfigDict

from fluoro_jax.config import Config
from fluoro_jax.config_rules import FLAG, RULES, TEXT, Rule
from fluoro_jax.errors import UserError, nearest
from fluoro_jax.experiments.compare.scenarios import SCENARIOS, SEEDS
from fluoro_jax.fingerprint import leaves
from fluoro_jax.studies import STUDIES


def _number(least: float, most: float, example: float, unit: str) -> Rule:
    def accepts(x: Any) -> bool:
        return type(x) in (int, float) and least <= x <= most

    return Rule(accepts, f"{least:g} to {most:g} {unit}".strip(), example)


def _list_of(rule: Rule) -> Rule:
    """A rule for one or more different values of a rule."""

    def accepts(x: Any) -> bool:
        some = isinstance(x, tuple | list) and len(x) > 0 and len(set(x)) == len(x)
        return some and all(rule.accepts(one) for one in x)

    return Rule(accepts, f"different values, each {rule.needed}", (rule.example,))


def _one_of(names: Mapping[str, Any]) -> Rule:
    text = "one of " + ", ".join(names)
    accepts = lambda x: isinstance(x, str) and x in names
    return Rule(accepts, text, next(iter(names)), tuple(names))


_STUDY = {name: study for name, study in STUDIES.items() if not study.of_sets}
_CLIP = "clips are rendered by it"
_TRAINED = "rivals that learn are fitted to these training cases"
_FORECAST = "forecasters read it; it was chosen on the tuning seeds"
_PHASES = Rule(
    lambda x: type(x) is int and 4 <= x <= 20, "a whole number from 4 to 20", 10
)
# Those that judge confidences make no table.
_TABLED = {name: seed for name, seed in SEEDS.items() if name != "judged"}
_NAME_OR_NONE = Rule(
    lambda x: isinstance(x, str), 'a tracker of the table, or "" for the rule', ""
)
_SECONDS = _number(0.01, 600.0, 20.0, "s")
_TABLE: tuple[tuple[str, Rule, str], ...] = (
    ("name", TEXT, "it names the table"),
    ("trackers", _list_of(TEXT), "they are the rows of the table"),
    ("scenarios", _list_of(_one_of(SCENARIOS)), "they are the parts of the table"),
    ("clips.seeds", _one_of(_TABLED), "the table is of seeds that chose nothing"),
    ("clips.cases training.cases", RULES["study.num_test"][0], "it counts patients"),
    ("clips.seconds", _number(2.0, 60.0, 20.0, "s"), _CLIP),
    ("clips.frames_per_s", _number(0.5, 60.0, 4.0, "frames a second"), _CLIP),
    ("clips.keep", FLAG, "rendered clips are kept in the workdir for the next call"),
    ("clips.most_frames", RULES["study.num_frames"][0], "fast clips are cut to it"),
    ("clips.rows", RULES["study.rows"][0], _CLIP),
    ("clips.detector_mm", RULES["study.detector_mm"][0], _CLIP),
    ("clips.voxel_mm clips.phases_voxel_mm", RULES["study.voxel_mm"][0], _CLIP),
    ("clips.phases", _PHASES, "planning scans have so many phases"),
    ("training.study", _one_of(_STUDY), _TRAINED),
    ("training.seed", RULES["seed"][0], _TRAINED),
    ("evaluation.bootstrap", RULES["evaluation.bootstrap"][0], "it counts resamples"),
    ("evaluation.seed", RULES["seed"][0], "resamples are drawn from it"),
    ("forecast.of", _NAME_OR_NONE, "its traces are forecast, whatever their errors"),
    ("forecast.horizons_s", _list_of(_SECONDS), "delays of treatment systems"),
    ("forecast.unscored_s", _number(0.0, 60.0, 20.0, "s"), _FORECAST),
)
_READ: Mapping[str, Rule] = {  # by forecasters, see `tracking.forecast`
    "window_s": _SECONDS,
    "tap_s": _SECONDS,
    "line_s": _SECONDS,
    "taps": Rule(
        lambda x: type(x) is int and 2 <= x <= 50, "a whole number from 2 to 50", 6
    ),
    "ridge": _number(0.0, 1e3, 0.01, ""),
    "forgetting": _number(0.5, 1.0, 0.99, ""),
    "step": _number(0.0, 2.0, 0.2, ""),
    "kernel_mm": _number(0.01, 100.0, 1.0, "mm"),
    "trials": RULES["train.num_steps"][0],
}
_FORECASTERS: Mapping[str, tuple[str, ...]] = {
    "linear": ("line_s", "trials"),
    "ridge": ("window_s", "tap_s", "taps", "ridge", "trials"),
    "rls": ("tap_s", "taps", "ridge", "forgetting", "trials"),
    "nlms": ("tap_s", "taps", "step", "trials"),
    "kernel_density": ("window_s", "tap_s", "taps", "kernel_mm", "trials"),
    "lstm": ("trials",),
}
_OF_FORECASTS = {
    f"forecast.{name}.{key}": (_READ[key], _FORECAST)
    for name, keys in _FORECASTERS.items()
    for key in keys
}
CONFIG_RULES: Mapping[str, tuple[Rule, str]] = MappingProxyType(
    {key: (rule, why) for keys, rule, why in _TABLE for key in keys.split()}
    | _OF_FORECASTS
)


def check(cfg: Config) -> FrozenConfigDict:
    """Returns the config of a comparison, checked and no longer to be changed.

    Raises:
        UserError: a key that is unknown or missing, or a value that is impossible.
    """
    found = dict(leaves(cfg))
    for key in found:
        if key not in CONFIG_RULES:
            close = nearest(key, CONFIG_RULES)
            raise UserError(
                f"unknown config key {key} = {found[key]!r}",
                needed="a key of configs/trackers.py",
                why="nothing reads this key, so setting it would do nothing",
                fix=f"did you mean {close}?" if close else "remove it",
            )
    missing = [key for key in CONFIG_RULES if key not in found]
    if missing:
        raise UserError(
            "config without " + ", ".join(missing),
            needed="every key of configs/trackers.py",
            why="a comparison has no hidden defaults",
            fix="begin with get_config() of configs/trackers.py",
        )
    for key, (rule, why) in CONFIG_RULES.items():
        if not rule.accepts(found[key]):
            raise UserError(
                f"{key} = {found[key]!r}",
                needed=rule.needed,
                why=why,
                fix=f"for example --config.{key}={rule.example}",
            )
    return FrozenConfigDict(cfg)


def chosen(words: str, known: Any, flag: str) -> list[str]:
    """Returns the names of a comma-separated flag in the order of `known`.

    Args:
        words: as typed; "" means all.
        known: the config's names.
        flag: its name, for messages.

    Raises:
        UserError: for a name that the config does not have.
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    for name in names:
        if name not in known:
            close = nearest(name, known)
            raise UserError(
                f"--{flag}={name}",
                needed="some of " + ", ".join(known),
                why="the config does not list it",
                fix=f"did you mean {close}?" if close else "correct the name",
            )
    return [name for name in known if name in names] if names else list(known)
