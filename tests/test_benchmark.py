import json

import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from fluoro_jax.sim import fluoroscope, solids
from fluoro_jax.studies import PRESETS
from launch import bench_simulate, benchmark, timing


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


@pytest.fixture
def thin_bodies(monkeypatch):
    """Drawing a body takes 20 s to compile: an even one stands in, counted."""
    filmed = []

    def film(case, geometry, *, voxel_mm):
        filmed.append(voxel_mm)
        shape = (len(case.time_s), geometry.rows, geometry.cols)
        return jnp.full(shape, 3.0) + 0.0 * case.anatomy.bmi

    monkeypatch.setattr(fluoroscope, "film_body", film)
    monkeypatch.setattr(fluoroscope, "film_paths", film)
    shares = lambda *args, **named: {"rib": film(*args, **named)}
    monkeypatch.setattr(bench_simulate, "overlap", shares)
    monkeypatch.setattr(bench_simulate, "COPY_MIB", 4)
    return filmed


def test_simulate_rows_say_what_a_voxel_and_a_ray_cost(thin_bodies, tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    argv = ["--what=simulate", "--preset=smoke", "--repeats=2", f"--json={out}"]
    assert benchmark.main(argv) == 0
    rows = {r["variant"]: r for r in map(json.loads, out.read_text().splitlines())}
    assert set(rows) == {
        "body",
        "body, two materials",
        "tumour",
        "spectrum",
        "panel",
        "overlap",
        "copy",
    }
    voxels = 10 * np.prod(solids.body_grid(16.0)[1])
    body, copy = rows["body"], rows["copy"]
    assert body["ns_per_voxel"] == pytest.approx(1e6 * body["median_ms"] / voxels)
    assert rows["tumour"]["ns_per_voxel"] is None
    per_pixel = rows["tumour"]["ns_per_sample"]
    assert per_pixel == pytest.approx(rows["tumour"]["median_ms"] * 1e6 / 2560)
    moved_gb = 2e-9 * bench_simulate.COPY_PASSES * 4 * 2**20
    rate = moved_gb / (1e-3 * copy["median_ms"])
    assert copy["copy_gbyte_per_s"] == pytest.approx(rate)
    assert body["floor_ns"] == pytest.approx(8.0 / rate)
    assert body["resident_mib"] > 50
    # two programs, then the first person and the subset
    assert len(thin_bodies) == 3 + 2 * (1 + bench_simulate.SUBSET[0])
    assert 0 < body["whole_data_s"] < body["whole_data_overlap_s"]
    text = capsys.readouterr().out
    assert "estimated from 2 bodies with 3 tumours each" in text
    assert "540 cases, 5400 frames" in text and "resident set" in text


def test_limits_are_named_at_the_size_they_are_for():
    row = {"variant": "body", "median_ms": 3000.0, "ns_per_voxel": 2.0}
    row |= {"ns_per_sample": None, "floor_ns": 0.5}
    line = bench_simulate.line_of(row, PRESETS["group_full"])
    assert "(limit 4000 ms)" in line and "2.000 ns per voxel (4.00 floors)" in line
    assert "limit" not in bench_simulate.line_of(row, PRESETS["group_smoke"])


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
