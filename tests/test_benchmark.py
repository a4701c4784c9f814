import json

import pytest

from configs import base
from launch import benchmark, timing


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Compiling is nearly all of the time here: two levels and one."""
    monkeypatch.setitem(base.SCALES, "smoke", (16, 16.0, 2, 1, 4, 8, 1))


def test_generator_rows_and_equal_outputs(tmp_path, capsys):
    out = tmp_path / "rows" / "rows.jsonl"
    argv = ["--preset=smoke", "--peers=linen", "--repeats=2", f"--json={out}"]
    assert benchmark.main(argv) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["variant"], r["peer"]) for r in rows] == [
        ("forward", None),
        ("forward", "linen"),
        ("grad", None),
        ("grad", "linen"),
    ]
    for row in rows:
        assert set(timing.KEYS) <= set(row)
        assert 0 < row["median_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["compile_s"] > 0 and row["gflop"] > 0 and row["peak_mib"] > 0
        assert (row["max_diff_to_peer"] is None) == (row["peer"] is None)
        if row["peer"]:
            assert row["max_diff_to_peer"] < 1e-4
    text = capsys.readouterr().out
    assert text.index("max |ours - linen|") < text.index("linen / ours")
    assert text.count("| generator |") == 4


@pytest.mark.parametrize("what", ["critic_step", "projector"])
def test_other_rows_have_all_keys(what, capsys):
    assert benchmark.main([f"--what={what}", "--preset=smoke", "--repeats=1"]) == 0
    assert f"| {what} |" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["--what=nothing"],
        ["--preset=huge"],
        ["--repeats=0"],
        ["--what=simulate", "--peers=linen"],
        ["word"],
    ],
)
def test_a_mistake_is_four_lines_and_exit_code_two(argv, capsys):
    assert benchmark.main(argv) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 4
