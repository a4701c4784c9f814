"""A calibration beside weights is of exactly these weights, or refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ml_collections import ConfigDict

from fluoro_jax import zoo
from fluoro_jax.errors import UserError
from fluoro_jax.evaluation.evaluate import weights_digest
from fluoro_jax.tracking.confidence import NAMES, Calibration, Origin
from fluoro_jax.zoo.calibration import calibration_beside

PARAMS = {"kernel": np.arange(4.0)}
OWN = Origin(weights_digest(PARAMS), 0, 0.5)
F = len(NAMES)
RULE = Calibration((0.0,) * F, (1.0,) * F, (0.5,) * F, 0.1, 2.0, 30, OWN)


def config(answer="followed", threshold=0.5):
    return ConfigDict({"evaluation": {"answer": answer, "threshold": threshold}})


def written(tmp_path, rule):
    path = tmp_path / "net.confidence.json"
    path.write_text(rule.to_json(), encoding="utf-8")
    return path


def test_its_own_is_read_and_none_is_none(tmp_path):
    assert calibration_beside(tmp_path / "no", config(), PARAMS, 0) is None
    assert calibration_beside(written(tmp_path, RULE), config(), PARAMS, 0) == RULE


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"weights": "0" * 64}, "weights 000000000000"),
        ({"lookahead_frames": 9}, "look-ahead 9"),
        ({"threshold": 0.4}, "threshold 0.4"),
        (None, "an unknown tracker"),
    ],
)
def test_one_of_another_tracker_is_refused(tmp_path, change, word):
    origin = None if change is None else dataclasses.replace(OWN, **change)
    path = written(tmp_path, dataclasses.replace(RULE, origin=origin))
    with pytest.raises(UserError, match=word) as error:
        calibration_beside(path, config(), PARAMS, 0)
    assert len(str(error.value).splitlines()) == 4


def test_an_answer_that_is_not_followed_reads_none(tmp_path):
    path = written(tmp_path, RULE)
    assert calibration_beside(path, config("mask"), PARAMS, 0) is None
    path.write_text("damaged", encoding="utf-8")
    assert calibration_beside(path, config("component"), PARAMS, 0) is None


def test_the_packages_calibration_is_of_its_weights():
    followed = zoo.tracker("causal-cpu", answer="followed")
    assert followed.calibration.cases >= 180
    assert followed.cfg.evaluation.answer == "followed"
    plain = zoo.tracker("causal-cpu")
    assert plain.cfg == zoo.load("causal-cpu").cfg
    assert not isinstance(plain, type(followed))
    # Weights without a calibration can be followed too.
    assert zoo.tracker("group", answer="followed").calibration is None
    with pytest.raises(UserError, match="reads no later frame"):
        zoo.tracker("causal-cpu", answer="followed", lookahead_frames=2)
    with pytest.raises(UserError, match="one of mask, component, followed"):
        zoo.tracker("group", answer="best")
