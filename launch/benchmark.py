"""Times a part of the product, beside a peer's version of the same if asked.

python -m launch.benchmark --what=generator --preset=peer --peers=torch,linen
python -m launch.benchmark --what=stream --config=configs/best_group.py:cpu
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from configs.base import PRESETS, base_config, check_preset
from fluoro_jax.cli.commands import read_config
from fluoro_jax.config import check_platform
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import write_text
from launch.bench import (
    compilation,
    machine,
    nets,
    projector,
    scaling,
    simulate,
    stream,
    timing,
)

Row = dict[str, Any]
BENCHES: dict[str, Callable[[Any, Sequence[str], int], list[Row]]] = {
    "generator": nets.generator,
    "critic_step": nets.critic_step,
    "train_step": nets.train_step,
    "projector": projector.projector,
    "simulate": simulate.simulate,
    "stream": stream.stream,
    "long-stream": stream.long_stream,
    "input": stream.inputs,
    "scaling": scaling.scaling,
    "compile": compilation.compilation,
}
PEERS = {**nets.PEERS, "projector": projector.PEERS}
ALL_PEERS = sorted({peer for peers in PEERS.values() for peer in peers})
DTYPES = ("float32", "tf32", "bfloat16")
NETWORKS = (
    *("generator", "critic_step", "train_step", "stream", "long-stream"),
    "scaling",
)

BATCHED = ("generator", "critic_step", "train_step")  # the others have their own


def preset_config(
    preset: str, dtype: str = "", config: str | None = None, batch: int | None = None
) -> Any:
    """Returns the config of a size; "gpu" is the full size in bfloat16, on a GPU alone.

    Args:
        preset: one of `PRESETS`.
        dtype: what both networks compute in; "" leaves it.
        config: a file and its preset, taken in place of `preset`.
        batch: clips of a micro-batch; None leaves it.
    """
    cfg: Any
    if config:
        cfg = read_config("train", [f"--config={config}"])
    else:
        cfg = base_config(preset)
        cfg.name = preset
    if batch:
        cfg.data.batch_size = batch
    if dtype:
        cfg.gen.dtype = cfg.critic.dtype = (
            "bfloat16" if dtype == "bfloat16" else "float32"
        )
        cfg.matmul_precision = "tf32" if dtype == "tf32" else "highest"
    return cfg


def parse(argv: Sequence[str]) -> flags.FlagValues:
    """The flags of a command line without the program's name.

    Raises:
        UserError: for a flag or value that does not exist, or a peer that the part
            does not have.
    """
    known = flags.FlagValues()
    define: dict[str, Any] = dict(flag_values=known)
    whats = [*BENCHES, "all"]
    flags.DEFINE_enum("what", "generator", whats, "what to time", **define)
    flags.DEFINE_string("preset", "peer", f"size: {', '.join(PRESETS)}", **define)
    flags.DEFINE_string(
        "config", None, "a config's own networks, as FILE.py:PRESET", **define
    )
    flags.DEFINE_list("peers", [], f"beside whom: {', '.join(ALL_PEERS)}", **define)
    types = "the networks compute in these, in turn: " + ", ".join(DTYPES)
    flags.DEFINE_multi_enum("dtype", [], DTYPES, types, **define)
    flags.DEFINE_integer("repeats", 10, "timed runs of each", lower_bound=1, **define)
    clips = "clips of a micro-batch of " + ", ".join(BATCHED)
    flags.DEFINE_integer("batch", 1, clips, lower_bound=1, **define)
    flags.DEFINE_string(
        "json", None, "file to which one JSON line a row is added", **define
    )
    flags.DEFINE_string("trace", None, "folder for a profiler trace", **define)
    flags.DEFINE_bool("help", False, "show this", **define)
    try:
        rest = known(["benchmark", *argv])[1:]
        if rest:
            raise flags.Error(f"unread argument {rest[0]!r}")
    except flags.Error as error:
        raise UserError(
            str(error).splitlines()[0],
            needed=f"--what={'|'.join(whats)} --preset={'|'.join(PRESETS)}",
            why="nothing else can be timed",
            fix="python -m launch.benchmark --help",
        ) from error
    check_preset(known.preset, PRESETS)
    _check_peers(known.what, known.peers)
    return known


def _check_peers(what: str, peers: Sequence[str]) -> None:
    offered = ALL_PEERS if what == "all" else PEERS.get(what, ())
    for peer in peers:
        if peer not in offered:
            raise UserError(
                f"--peers={peer} with --what={what}",
                needed=f"of {', '.join(offered)}" if offered else "no --peers",
                why="only these do the same work and were checked for equal answers",
                fix=f"python -m launch.benchmark --what={what}",
            )

    for package in ("torch", "diffdrr"):
        used = any(peer.startswith(package) for peer in peers)
        if used and importlib.util.find_spec(package) is None:
            raise UserError(
                f"{package} is not installed",
                needed="the extra [peers]",
                why="it is compared with, and never a part of the product",
                fix=f"pip install 'fluoro_jax[peers]', or no --peers={package}",
            )


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark, or all; returns the exit code."""
    try:
        asked = parse(argv)
        if asked.help:
            print(__doc__, asked.main_module_help(), sep="\n")
            return 0
        check_platform(preset_config(asked.preset, config=asked.config))
        out = Path(asked.json).expanduser() if asked.json else None
        earlier = _earlier(out) if out else ""  # before minutes of work
        rows = _run(asked)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if out:
        write_text(out, earlier + "".join(json.dumps(row) + "\n" for row in rows))
    print()
    print(timing.markdown(rows))
    return 0


def _earlier(out: Path) -> str:
    """Returns the rows that a file has already; new ones are added after them.

    Raises:
        UserError: if the file is not one of rows, or cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.touch()
        with open(out, "r+", encoding="utf-8") as file:
            text = file.read()
        for line in text.splitlines():
            json.loads(line)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--json={out}: {error}",
            needed="a file that can be written, new or of earlier rows",
            why="rows are added after those that it has; nothing is overwritten",
            fix=f"another name, as --json={out.with_stem(out.stem + '_2')}",
        ) from error
    return text if not text or text.endswith("\n") else f"{text}\n"


def _run(asked: flags.FlagValues) -> list[Row]:
    """The rows of the parts asked for, with the machine's limits and record."""
    print(f"machine: {json.dumps(machine.record())}")
    limits = machine.ceilings()
    print(
        f"limits: {limits['gflop_per_s']:.1f} GFLOP/s in a large product, "
        f"{limits['gbyte_per_s']:.1f} GB/s in a large copy",
        flush=True,
    )
    trace = contextlib.nullcontext()
    if asked.trace:
        trace = jax.profiler.trace(str(Path(asked.trace).expanduser()))
    rows: list[Row] = []
    with trace:
        for what in BENCHES if asked.what == "all" else [asked.what]:
            peers = [p for p in asked.peers if p in PEERS.get(what, ())]
            # the rest have no network: once is enough
            types = asked.dtype if what in NETWORKS and asked.dtype else [""]
            for dtype in types:
                batch = asked.batch if what in BATCHED else None
                cfg = preset_config(asked.preset, dtype, asked.config, batch)
                rows += BENCHES[what](cfg, peers, asked.repeats)
    limits = limits | machine.product_limits(
        {row["precision"] for row in rows} - {None}
    )
    timing.add_shares(rows, limits)
    facts = machine.record()
    return [{**row, "machine": facts, "limits": limits} for row in rows]


if __name__ == "__main__":
    # Compile times are measured, so no program may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    jax.config.update("jax_default_matmul_precision", "highest")  # the networks' is set
    sys.exit(main(sys.argv[1:]))
