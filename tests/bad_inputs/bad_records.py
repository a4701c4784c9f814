"""Plans and configs whose rows or captions no table would show."""

from __future__ import annotations

from bad import Bad

from configs import paper_all
from configs.base import base_config
from fluoro_jax.config import validate
from fluoro_jax.experiments.plan import read_plan
from fluoro_jax.studies import StudySpec


def _part(**fields):
    def call(folder):
        cfg = paper_all.get_config("smoke")
        cfg.parts.best_subgroup.update(fields)
        read_plan(cfg)

    return call


def _incomplete(folder):
    cfg = paper_all.get_config("smoke")
    del cfg.parts.best_group.section
    read_plan(cfg)


def _config(key, value):
    def call(folder):
        cfg = base_config("smoke")
        cfg.update_from_flattened_dict({key: value})
        validate(cfg, training=False)

    return call


ROWS = [
    Bad(
        "a part of no table",
        _part(section="subgruop"),
        ("section 'subgruop' of part best_subgroup", "did you mean 'subgroup'?"),
    ),
    Bad(
        "a part of no role",
        _part(role="scratsh"),
        ("role 'scratsh'", "did you mean 'scratch'?"),
    ),
    Bad("a part without a section", _incomplete, ("part best_group without section",)),
    Bad("a part of no recipe", _part(recipe="theirs"), ("recipe 'theirs'",)),
    Bad(
        "choices on no known cases",
        _config("choices", "validations"),
        ("choices = 'validations'", "--config.choices=validation"),
    ),
    Bad(
        "a schedule that is none",
        _config("critic_opt.schedule", "cosin"),
        ("critic_opt.schedule = 'cosin'", "critic_opt.schedule=cosine"),
    ),
    Bad(
        "a study that is none",
        lambda folder: StudySpec(name="groop"),
        ("study.name = groop", "subgroup_shuffled"),
    ),
]
