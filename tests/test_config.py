from __future__ import annotations

import importlib

import jax
import pytest

from configs import ablation
from configs.ablation import VARIANTS
from configs.base import SCALES, base_config
from fluoro_jax.config import reads_ahead, validate
from fluoro_jax.config_rules import RULES
from fluoro_jax.errors import UserError

PRESETS = [("paper_group", p) for p in ("", *SCALES)]
PRESETS += [("quickstart", p) for p in ("", "quickstart", "smoke")]
PRESETS += [("ablation", p) for p in ("", "ablation", "smoke")]
PRESETS += [("ablation", f"{p}/{row}") for p in ablation.PRESETS for row in VARIANTS]


def refused(cfg) -> str:
    with pytest.raises(UserError) as caught:
        validate(cfg)
    text = str(caught.value)
    assert len(text.splitlines()) == 4
    return text


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_config_and_preset_is_valid(name, preset):
    cfg = importlib.import_module(f"configs.{name}").get_config(preset)
    frozen = validate(cfg, training=False)  # batch against devices: a test of its own
    assert frozen.to_dict() == cfg.to_dict()
    with pytest.raises(AttributeError):
        frozen.seed = 1


@pytest.mark.parametrize("name", ["paper_group", "quickstart", "ablation"])
def test_unknown_preset_names_the_presets(name):
    with pytest.raises(UserError, match="smoke") as caught:
        importlib.import_module(f"configs.{name}").get_config("nope")
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize("row", VARIANTS)
@pytest.mark.parametrize("preset", ablation.PRESETS)
def test_a_row_of_the_ablation_changes_what_it_says_and_its_name(preset, row):
    base = dict(leaves(ablation.get_config(preset).to_dict()))
    found = dict(leaves(ablation.get_config(f"{preset}/{row}").to_dict()))
    assert {k for k in base if base[k] != found[k]} == {"name", *VARIANTS[row]}
    assert {k: found[k] for k in VARIANTS[row]} == VARIANTS[row]


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def test_unknown_row_names_the_rows():
    with pytest.raises(UserError, match="no_convlstm, no_refinement"):
        ablation.get_config("smoke/no_lstm")


@pytest.mark.parametrize(
    ("stack", "lstm", "both", "ahead"),
    [
        ("edge", "none", False, True),
        ("wrap", "none", False, True),
        ("causal", "all", False, False),
        ("causal", "none", True, False),
        ("single", "all", True, True),
        ("single", "bottom", False, False),
        ("single", "none", True, False),
    ],
)
def test_what_reads_ahead(stack, lstm, both, ahead):
    cfg = base_config()
    cfg.update_from_flattened_dict(
        {"data.stack": stack, "gen.lstm": lstm, "gen.bidirectional": both}
    )
    assert reads_ahead(cfg) == ahead
    validate(cfg)


BAD = {
    "study.num_train": 0,
    "study.rows": 0,
    "study.seed": -1,
    "study.voxel_mm": float("nan"),
    "data.batch_size": 0,
    "data.stack": "wrapp",
    "data.source": "simulater",
    "data.random_start": 1,
    "gen.levels": 0,
    "gen.refine_levels": -1,
    "gen.lstm": "skips",
    "gen.resample": "max",
    "init.frozen": "top",
    "critic.levels": 2.5,
    "gen.kernel": 3,
    "gen.lstm_kernel": 2,
    "gen.dtype": "float16",
    "critic.output": "relu",
    "critic_opt.learning_rate": 0.0,
    "gen_opt.b1": 1.0,
    "loss.l1": -1.0,
    "train.ema_decay": 1.0,
    "train.log_every": 0,
    "train.keep": True,
    "evaluation.threshold": 1.0,
    "seed": None,
}


@pytest.mark.parametrize(("key", "value"), BAD.items())
def test_impossible_value(key, value):
    cfg = base_config()
    with cfg.ignore_type():
        cfg.update_from_flattened_dict({key: value})
    assert refused(cfg).startswith(f"ERROR   {key} = ")


@pytest.mark.parametrize("key", RULES)
def test_none_is_refused_and_the_example_of_each_rule_is_accepted(key):
    rule, _ = RULES[key]
    assert not rule.accepts(None)
    assert rule.accepts(rule.example)


def test_misspelt_name_and_key_are_corrected():
    cfg = base_config()
    cfg.data.stack = "causl"
    assert "causal" in refused(cfg).splitlines()[3]
    cfg = base_config()
    cfg.gen.level = 3
    assert "gen.levels" in refused(cfg).splitlines()[3]


def test_missing_key():
    cfg = base_config()
    del cfg.gen.levels
    assert "gen.levels" in refused(cfg)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"study.rows": 100}, "study.rows = 100 with gen.levels = 7"),
        ({"study.cols": 255}, "study.cols = 255"),
        ({"gen.levels": 8}, "--config.gen.levels=7"),
        ({"gen.refine_levels": 8}, "gen.refine_levels = 8"),
        ({"critic.levels": 8}, "critic.levels = 8"),
        ({"gen.group_size": 3}, "gen.base = 16 with gen.group_size = 3"),
        ({"critic.group_size": 3}, "critic.base = 16 with critic.group_size = 3"),
        ({"gen.cap": 8}, "gen.cap = 8 with gen.base = 16"),
        ({"data.stack": "causal"}, "gen.bidirectional=False"),
        ({"data.batch_size": 6}, "data.batch_size = 6 on 4 devices"),
    ],
)
def test_values_that_do_not_go_together(changes, words):
    assert jax.device_count() == 4
    cfg = base_config()
    cfg.update_from_flattened_dict(changes)
    assert words in refused(cfg)


def test_evaluation_needs_no_divisible_batch():
    cfg = base_config()
    cfg.data.batch_size = 3
    assert validate(cfg, training=False).data.batch_size == 3


def test_the_fix_for_frames_is_itself_valid():
    cfg = base_config()
    cfg.study.update(rows=100, cols=100)
    fix = refused(cfg).splitlines()[3]
    size = int(fix.rsplit("=", 1)[1])
    cfg.study.update(rows=size, cols=size)
    validate(cfg)
