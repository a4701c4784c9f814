from __future__ import annotations

import pytest

from configs.trackers import PRESETS, get_config
from fluoro_jax.errors import UserError
from fluoro_jax.experiments.compare.settings import CONFIG_RULES, check


@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_every_preset_is_valid_and_frozen(preset):
    cfg = get_config(preset)
    frozen = check(cfg)
    assert frozen.to_dict() == cfg.to_dict()
    with pytest.raises(AttributeError):
        frozen.name = "other"


@pytest.mark.parametrize("key", CONFIG_RULES)
def test_none_is_refused_and_the_example_of_each_rule_is_accepted(key):
    rule, _ = CONFIG_RULES[key]
    assert not rule.accepts(None)
    assert rule.accepts(rule.example)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clips.seeds", "validation"),
        ("clips.cases", 0),
        ("clips.seconds", 1e9),
        ("clips.frames_per_s", float("nan")),
        ("trackers", ()),
        ("trackers", ("static_blind", "static_blind")),
        ("scenarios", ("clinc",)),
        ("training.study", "subgroup"),
        ("forecast.horizons_s", (0.0,)),
        ("forecast.rls.taps", 1),
        ("evaluation.seed", -1),
    ],
)
def test_impossible_value(key, value):
    cfg = get_config("smoke")
    with cfg.ignore_type():
        cfg.update_from_flattened_dict({key: value})
    with pytest.raises(UserError) as caught:
        check(cfg)
    text = str(caught.value)
    assert text.startswith(f"ERROR   {key} = ") and len(text.splitlines()) == 4


def test_unknown_and_missing_keys():
    cfg = get_config("smoke")
    cfg.clips.second = 3.0
    with pytest.raises(UserError, match=r"did you mean clips\.seconds"):
        check(cfg)
    cfg = get_config("smoke")
    del cfg.clips.rows
    with pytest.raises(UserError, match=r"without clips\.rows"):
        check(cfg)
    with pytest.raises(UserError, match="smoke"):
        get_config("nope")
