import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from fluoro_jax.data import batches
from fluoro_jax.models.critic import Critic
from fluoro_jax.models.generator import Generator
from fluoro_jax.sim import fluoroscope
from fluoro_jax.sim.body import solids
from fluoro_jax.studies import PRESETS
from fluoro_jax.training.precision import describe_precision
from launch import benchmark
from launch.bench import (
    flops,
    machine,
    timing,
)
from launch.bench import (
    nets as bench_nets,
)
from launch.bench import (
    projector as bench_parts,
)
from launch.bench import (
    scaling as bench_scaling,
)
from launch.bench import (
    simulate as bench_simulate,
)
from launch.bench import (
    table as bench_table,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Compiling is nearly all of the time here: two levels and one."""
    monkeypatch.setitem(base.SCALES, "smoke", (16, 16.0, 2, 1, 4, 8, 1))
    limits = {"gflop_per_s": 50.0, "gbyte_per_s": 5.0}
    monkeypatch.setattr(machine, "ceilings", lambda: limits)


@pytest.mark.slow
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
        work = row["gflop_by_hand"]
        assert row["gflop_per_s"] == pytest.approx(1e3 * work / row["median_ms"])
        assert row["share_of_flops"] == pytest.approx(row["gflop_per_s"] / 50.0)
        assert row["share_of_bandwidth"] == pytest.approx(row["gbyte_per_s"] / 5.0)
        assert row["machine"]["cores"] >= 1
    text = capsys.readouterr().out
    assert text.index("max |ours - linen|") < text.index("linen / ours")
    assert text.count("| generator |") == 4


@pytest.fixture
def thin_bodies(monkeypatch):
    """Drawing a body takes 20 s to compile: an even one stands in, counted."""
    rendered = []

    def render(case, geometry, *, voxel_mm):
        rendered.append(voxel_mm)
        shape = (len(case.time_s), geometry.rows, geometry.cols)
        return jnp.full(shape, 3.0) + 0.0 * case.anatomy.bmi

    monkeypatch.setattr(fluoroscope, "render_body", render)
    monkeypatch.setattr(fluoroscope, "render_areal_density", render)
    monkeypatch.setattr(batches, "render_body", render)
    shares = lambda *args, **named: {"rib": render(*args, **named)}
    monkeypatch.setattr(bench_simulate, "overlap", shares)
    monkeypatch.setattr(bench_simulate, "COPY_MIB", 4)
    return rendered


@pytest.mark.usefixtures("thin_bodies")
@pytest.mark.parametrize(
    "what",
    [
        "projector",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("critic_step", "stream")
        ),
    ],
)
def test_other_rows_have_all_keys(what, capsys):
    assert benchmark.main([f"--what={what}", "--preset=smoke", "--repeats=1"]) == 0
    assert f"| {what} |" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_a_long_stream_says_how_memory_grows(capsys, monkeypatch):
    from launch.bench import stream

    monkeypatch.setattr(stream, "LONG", 20)
    argv = ["--what=long-stream", "--config=configs/causal.py:smoke", "--repeats=1"]
    assert benchmark.main(argv) == 0
    printed = capsys.readouterr().out
    assert "over 20 frames; resident " in printed
    assert "| long-stream |" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("thin_bodies")
def test_input_rows_say_what_is_made_beside_what_is_eaten(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    argv = ["--what=input", "--preset=smoke", "--repeats=2", f"--json={out}"]
    assert benchmark.main(argv) == 0
    rows = {r["variant"]: r for r in map(json.loads, out.read_text().splitlines())}
    assert list(rows) == ["train step", "dataset", "simulator"]
    batch = base.base_config("smoke").data.batch_size
    step, made = rows["train step"], rows["simulator"]
    assert step["examples_per_s"] > 0 and step["median_ms"] > 0
    most = 1e3 * batch / made["min_ms"]
    assert 0 < made["examples_per_s"] <= most * (1 + 1e-6)
    assert "times what a train step consumes" in capsys.readouterr().out


def test_projector_volume_of_the_full_preset():
    grid, mu = bench_parts.projector_volume(base.base_config("full").study.voxel_mm)
    assert mu.shape == (176, 128, 192) and grid.spacing_mm == (2.0, 2.0, 2.0)
    assert grid.origin_mm == (-191.0, -127.0, -175.0)
    for face in (mu[[0, -1]], mu[:, [0, -1]], mu[:, :, [0, -1]]):
        assert face.max() < 0.03 * mu.max()  # DiffDRR's sum is right only then


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("what", ["generator", "critic_step", "train_step"])
def test_pytorch_gives_the_same_numbers(what, tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "rows.jsonl"
    argv = [f"--what={what}", "--preset=smoke", "--peers=torch", "--repeats=1"]
    assert benchmark.main([*argv, f"--json={out}"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    found = [row["max_diff_to_peer"] for row in rows if row["peer"] == "torch"]
    assert len(found) == (2 if what == "generator" else 1)
    assert all(0.0 < off < 1e-4 for off in found)


def test_all_parts_have_a_place_for_every_peer():
    known = set(benchmark.BENCHES)
    assert known == {
        *("generator", "critic_step", "train_step", "projector", "simulate"),
        *("stream", "long-stream", "input", "scaling", "compile"),
    }
    assert set(benchmark.PEERS) < known
    asked = benchmark.parse(["--what=all", "--peers=linen", "--preset=gpu"])
    assert asked.what == "all" and asked.peers == ["linen"]
    cfg = benchmark.preset_config("gpu")
    assert cfg.gen.dtype == "bfloat16" and cfg.study.rows == 256
    assert benchmark.preset_config("gpu", "float32").critic.dtype == "float32"
    for name in benchmark.DTYPES:
        assert describe_precision(benchmark.preset_config("gpu", name)) == name


@pytest.mark.slow
def test_all_runs_each_part_and_a_trace_is_written(monkeypatch, tmp_path, capsys):
    seen = []
    networks = lambda cfg, peers, repeats: seen.append((cfg.gen.dtype, peers)) or []
    parts = {"projector": benchmark.BENCHES["projector"], "generator": networks}
    monkeypatch.setattr(benchmark, "BENCHES", parts)
    argv = ["--what=all", "--preset=smoke", "--repeats=1", "--peers=linen"]
    argv += ["--dtype=float32", "--dtype=bfloat16", f"--trace={tmp_path}"]
    assert benchmark.main(argv) == 0
    # the projector has no network: once
    assert capsys.readouterr().out.count("| projector |") == 4
    assert seen == [("float32", ["linen"]), ("bfloat16", ["linen"])]
    assert [p.stat().st_size > 0 for p in tmp_path.rglob("*.xplane.pb")] == [True]


@pytest.mark.slow
def test_diffdrr_gives_the_same_images(tmp_path):
    pytest.importorskip("diffdrr")
    out = tmp_path / "rows.jsonl"
    argv = ["--what=projector", "--preset=quickstart", "--repeats=1"]
    argv += ["--peers=diffdrr_siddon,diffdrr_trilinear", f"--json={out}"]
    assert benchmark.main(argv) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    images = [r for r in rows if r["peer"] and r["variant"].startswith("forward")]
    assert len(images) == 4
    for row in images:  # line integrals up to 2.7; Siddon's voxels are constant
        bound = 1e-3 if row["peer"] == "diffdrr_trilinear" else 5e-2
        assert 0.0 < row["max_diff_to_peer"] < bound


@pytest.mark.parametrize(
    "argv",
    [
        ["--what=nothing"],
        ["--preset=huge"],
        ["--repeats=0"],
        ["--what=simulate", "--peers=linen"],
        ["--what=critic_step", "--peers=torch_compile"],
        ["word"],
    ],
)
def test_a_mistake_is_four_lines_and_exit_code_two(argv, capsys):
    assert benchmark.main(argv) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 4


def test_without_pytorch_the_message_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    argv = ["--what=critic_step", "--preset=smoke", "--peers=torch"]
    assert benchmark.main(argv) == 2
    assert "[peers]" in capsys.readouterr().err


def test_interval_of_the_median_by_order_statistics():
    low, high, cover = timing.median_interval(np.arange(10.0)[::-1])
    assert (low, high) == (1.0, 8.0)  # second smallest and second largest of ten
    assert cover == pytest.approx(1 - 2 * 11 / 1024)
    low, high, cover = timing.median_interval(np.arange(3.0))
    assert (low, high) == (0.0, 2.0) and cover == pytest.approx(0.75)


def test_work_counted_by_hand_is_xla_s_where_it_has_no_loop():
    net = dict(levels=2, base=16, cap=32)
    gen = Generator(refine_levels=1, bidirectional=False, **net)
    critic = Critic(**net)
    stack, mask = jnp.ones((1, 1, 32, 32, 3)), jnp.ones((1, 1, 32, 32))
    for module, x in ((gen, stack), (critic, mask)):
        params = jax.eval_shape(module.init, jax.random.key(0), x)
        compiled = jax.jit(module.apply).lower(params, x).compile()
        params = params["params"]
        if module is gen:
            ours = flops.generator_gflop(params, 32 * 32, 1)
        else:
            ours = flops.unet_gflop(params, 32 * 32, 1, first=net["levels"] - 1)
        theirs = compiled.cost_analysis()["flops"] / 1e9
        # XLA counts norms and gates too, and no tap on the padding around a frame.
        assert ours == pytest.approx(theirs, rel=0.15)


def test_limits_of_this_machine(monkeypatch):
    monkeypatch.undo()
    limits = machine.ceilings(size=128, mib=1, repeats=2)
    assert limits["gflop_per_s"] > 0.1 and limits["gbyte_per_s"] > 0.01
    assert machine.product_limits(["tf32"], size=64) == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = machine.product_limits(["tf32", "bfloat16"], size=64, repeats=1)
    assert set(found) == {"gflop_per_s_tf32", "gflop_per_s_bfloat16"}
    row = {"gflop_per_s": 5.0, "gbyte_per_s": None, "precision": "tf32"}
    timing.add_shares([row], {"gflop_per_s": 10.0, "gflop_per_s_tf32": 20.0})
    assert row["share_of_flops"] == 0.25


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["critic", "generator"])
def test_scaling_rows_count_collectives_and_agree(kind, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench_scaling, "UPDATES", (kind,))
    two = jax.devices()[:2]
    monkeypatch.setattr(jax, "local_devices", lambda: two)
    out = tmp_path / "rows.jsonl"
    argv = ["--what=scaling", "--preset=smoke", "--repeats=1", f"--json={out}"]
    assert benchmark.main(argv) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["devices"], r["clips"]) for r in rows] == [
        *((1, 1), (2, 2)),  # weak
        *((1, 2), (2, 2)),  # strong
    ]
    for row in rows:
        assert row["all_reduces"] == 1
        # besides the gradients a sum and a count of each metric
        assert 4 <= row["all_reduced_values"] - row["parameters"] <= 20
        if row["devices"] == 1:
            assert row["max_diff_to_one_device"] == row["max_diff_of_moment"] == 0.0
        assert row["max_diff_of_moment"] < 1e-4 * row["largest_moment"]
    assert capsys.readouterr().out.count("1 all-reduce an update") == len(rows)


def test_all_reduces_are_read_from_compiled_text():
    text = """
      %a = f32[7,2]{1,0} all-reduce(%b), channel_id=1, to_apply=%add
      %c = (f32[3]{0}, f32[]) all-reduce-start(%d, %e), channel_id=2
      %f = f32[3]{0} all-reduce-done(%c)
      %g = f32[9]{0} fusion(%all-reduce.1), calls=%all-reduce
    """
    assert bench_scaling.all_reduces(text) == [14, 4]


def test_a_peer_that_cannot_run_is_a_row_that_says_so(monkeypatch, tmp_path, capsys):
    class Torch:
        @staticmethod
        def generator_program(peer, *args, **kwargs):
            raise timing.PeerFailed(f"no C++ compiler for {peer}")

    compiled = lambda *_, **known: timing.Program(lambda: None, **known)
    monkeypatch.setattr(timing, "compile_program", compiled)
    monkeypatch.setattr(bench_nets, "_torch", lambda cfg: Torch)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    out = tmp_path / "rows.jsonl"
    argv = ["--preset=smoke", "--peers=torch_compile_bf16", "--repeats=1"]
    assert benchmark.main([*argv, "--dtype=bfloat16", f"--json={out}"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["precision"] for r in rows] == ["bfloat16", None] * 2
    for row in rows[1::2]:
        assert set(timing.KEYS) <= set(row)
        assert row["median_ms"] is None and "C++ compiler" in row["note"]
    capsys.readouterr()
    assert bench_table.main([str(out)]) == 0
    assert capsys.readouterr().out.count("no C++ compiler for torch_compile_bf16") == 2


@pytest.mark.parametrize("what", ["critic_step", "train_step"])
def test_without_such_a_device_the_peer_is_a_row_too(
    what, monkeypatch, tmp_path, capsys
):
    class Torch:
        def __getattr__(self, name):
            raise timing.PeerFailed("PyTorch has no GPU")

    nothing = timing.Program(lambda: None)
    monkeypatch.setattr(timing, "compile_program", lambda *_, **known: nothing)
    monkeypatch.setattr(bench_nets, "our_step", lambda *_: nothing)
    monkeypatch.setattr(bench_nets, "_torch", lambda cfg: Torch())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    out = tmp_path / "rows.jsonl"
    argv = [f"--what={what}", "--preset=smoke", "--peers=torch", "--repeats=1"]
    assert benchmark.main([*argv, "--batch=3", f"--json={out}"]) == 0
    ours, peer = (json.loads(line) for line in out.read_text().splitlines())
    assert ours["batch"] == peer["batch"] == 3 and ours["median_ms"] is not None
    assert peer["median_ms"] is None and "no GPU" in peer["note"]


def test_a_batch_costs_as_many_clips(monkeypatch, tmp_path):
    shapes = []

    def compiled(function, weights, stack, truth, **known):
        shapes.append(stack.shape)
        return timing.Program(lambda: None, **known)

    monkeypatch.setattr(timing, "compile_program", compiled)
    rows = {}
    for batch in (1, 2):
        cfg = benchmark.preset_config("smoke", batch=batch)
        rows[batch] = bench_nets.generator(cfg, [], 1)
    assert [shape[0] for shape in shapes] == [1, 1, 2, 2]
    for one, two in zip(rows[1], rows[2], strict=True):
        assert two["gflop_by_hand"] == pytest.approx(2.0 * one["gflop_by_hand"])


def row_of(peer, median_ms, **more):
    row = dict.fromkeys(timing.KEYS)
    row |= dict(what="generator", variant="grad", preset="peer", peer=peer)
    facts = dict(processor="A", cores=2, devices=1, device="cpu", jax="1", load_1min=0)
    return {**row, "median_ms": median_ms, "p95_ms": 9.0, "machine": facts, **more}


def test_the_short_table_divides_a_peer_by_the_row_of_ours_above_it(tmp_path, capsys):
    rows = [
        row_of(None, 2.0, share_of_flops=0.25, share_of_bandwidth=0.5),
        row_of("torch", 3.0),
        row_of(None, 4.0, precision="bfloat16"),
        row_of("torch_bf16", 3.0),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert bench_table.main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("A, 2 cores, 1 cpu, jax 1")
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines[-4:]]
    assert [c[-1] for c in cells] == ["", "1.50", "", "0.75"]
    assert cells[0][2:] == ["ours", "", "2", "9", "50%", ""]
    assert cells[2][3] == "bfloat16"
    path.write_text("not json")
    for argv in ([str(path)], [str(tmp_path / "none")], []):
        assert bench_table.main(argv) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 4


def test_rows_are_added_to_those_of_a_file(tmp_path, monkeypatch):
    out = tmp_path / "rows.jsonl"
    out.write_text('{"what": "earlier"}')
    monkeypatch.setattr(benchmark, "_run", lambda asked: [{"what": "new"}])
    monkeypatch.setattr(benchmark.timing, "markdown", lambda rows: "")
    assert benchmark.main([f"--json={out}"]) == 0
    rows = [json.loads(line)["what"] for line in out.read_text().splitlines()]
    assert rows == ["earlier", "new"]

    def fail(asked):
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "_run", fail)
    with pytest.raises(KeyboardInterrupt):
        benchmark.main([f"--json={out}"])
    assert len(out.read_text().splitlines()) == 2


def test_the_table_has_help(capsys):
    assert bench_table.main(["--help"]) == 0
    assert "rows.jsonl" in capsys.readouterr().out
