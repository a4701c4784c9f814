"""Seconds by stage: inner stages pause outer ones, and nothing is counted twice."""

from __future__ import annotations

import threading
import time

import pytest

from fluoro_jax import stages


@pytest.fixture(autouse=True)
def fresh():
    stages.reset()
    yield
    stages.reset()


def test_inner_stages_pause_the_outer_one():
    with stages.timed("outer"):
        time.sleep(0.02)
        with stages.timed("inner"):
            time.sleep(0.06)
    found = stages.split(1.0)
    assert 0.0 <= found["outer"] < found["inner"] <= 0.2
    assert sum(found.values()) == pytest.approx(1.0, abs=0.2)


def test_another_thread_is_beside_and_not_in_the_sum():
    def work():
        with stages.timed("compiling"):
            time.sleep(0.12)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    found = stages.split(5.0)
    assert found["compiling" + stages.BESIDE] >= 0.1
    assert found["everything else"] == 5.0
    assert "where 5 s went" in stages.describe(5.0)


def test_a_stage_that_fails_is_counted(capsys):
    with pytest.raises(ValueError, match="no"), stages.stage("figures", part="drawing"):
        raise ValueError("no")
    assert "drawing" in stages.split(1.0)
    assert "figures" in capsys.readouterr().err
