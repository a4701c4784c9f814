"""Times a part of the product, beside a peer's version of the same if asked.

python -m launch.benchmark --what=generator --preset=peer --peers=linen
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from configs.base import SCALES, base_config, check_preset
from fluoro_jax.errors import UserError
from fluoro_jax.models.critic import Critic
from fluoro_jax.models.generator import Generator
from fluoro_jax.sim import projector, solids
from fluoro_jax.studies import StudySpec
from fluoro_jax.training.losses import cross_entropy, gradient_penalty
from launch import timing
from launch.bench_simulate import simulate
from launch.peers.linen_generator import LinenGenerator, linen_params

Row = dict[str, Any]
PEERS = ("linen",)


def bench_generator(preset: str, peers: Sequence[str], repeats: int) -> list[Row]:
    """Forward pass, and loss with gradient, of one clip."""
    cfg = base_config(preset)
    rng = np.random.default_rng(0)
    stack = rng.uniform(1.0, 5.0, (*_clip_shape(cfg), 3)).astype(np.float32)
    truth = (rng.random(_clip_shape(cfg)) < 0.02).astype(np.float32)
    ours = Generator(**cfg.gen)
    params = jax.jit(ours.init)(jax.random.key(0), stack)["params"]
    nets: dict[str | None, tuple[Any, Any]] = {None: (ours, params)}
    if "linen" in peers:
        nets["linen"] = (LinenGenerator(ours), linen_params(params))
    rows = []
    for variant, make in (("forward", _forward), ("grad", _grad)):
        programs = {
            peer: timing.compile_program(make(net), weights, stack, truth)
            for peer, (net, weights) in nets.items()
        }
        names = {"what": "generator", "variant": variant, "preset": preset}
        rows += _in_turn(programs, names, repeats)
    return rows


def bench_critic_step(preset: str, peers: Sequence[str], repeats: int) -> list[Row]:
    """The critic's loss with its gradient penalty, and the gradient of both."""
    _no_peers("critic_step", peers)
    cfg = base_config(preset)
    critic = Critic(**cfg.critic)
    rng = np.random.default_rng(0)
    real = (rng.random(_clip_shape(cfg)) < 0.02).astype(np.float32)
    fake = rng.random(_clip_shape(cfg)).astype(np.float32)
    mix = rng.random(1).astype(np.float32)
    params = jax.jit(critic.init)(jax.random.key(0), real)["params"]

    def loss(params, real, fake, mix):
        score = lambda mask: cast(jax.Array, critic.apply({"params": params}, mask))
        penalty, _ = gradient_penalty(score, real, fake, mix)
        return jnp.mean(score(fake) - score(real) + cfg.loss.gp_weight * penalty)

    step = timing.compile_program(jax.value_and_grad(loss), params, real, fake, mix)
    names = {"what": "critic_step", "variant": "grad", "preset": preset}
    return _in_turn({None: step}, names, repeats)


def bench_projector(preset: str, peers: Sequence[str], repeats: int) -> list[Row]:
    """One view of a body volume, at gantry 0 and at 30 degrees."""
    _no_peers("projector", peers)
    study = base_config(preset).study
    grid, shape = solids.body_grid(study.voxel_mm)
    panel = StudySpec.from_config(study).geometry()
    mu = np.random.default_rng(0).uniform(0.0, 0.02, shape).astype(np.float32)
    rows = []
    for angle in (0.0, 30.0):
        view = dataclasses.replace(panel, gantry_deg=angle)
        program = timing.compile_program(
            lambda mu, view=view: projector.project(mu, grid, view), mu
        )
        variant = f"forward, gantry {angle:g}"
        names = {"what": "projector", "variant": variant, "preset": preset}
        rows += _in_turn({None: program}, names, repeats)
    return rows


def bench_simulate(preset: str, peers: Sequence[str], repeats: int) -> list[Row]:
    """A film by its parts, and the paper's whole data; see launch/bench_simulate.py."""
    _no_peers("simulate", peers)
    cfg = base_config(preset)
    cfg.name = preset
    return simulate(cfg, peers, repeats)


BENCHES: dict[str, Callable[[str, Sequence[str], int], list[Row]]] = {
    "generator": bench_generator,
    "critic_step": bench_critic_step,
    "projector": bench_projector,
    "simulate": bench_simulate,
}


def _clip_shape(cfg: Any) -> tuple[int, int, int, int]:
    return (1, cfg.study.num_frames, cfg.study.rows, cfg.study.cols)


def _forward(net: Any) -> Callable:
    return lambda params, stack, truth: net.apply({"params": params}, stack)


def _grad(net: Any) -> Callable:
    def loss(params, stack, truth):
        out = net.apply({"params": params}, stack)
        terms = [cross_entropy(truth, z, 20.0) for z in out]
        return jnp.mean(terms[0] + terms[1])

    return jax.value_and_grad(loss)


def _in_turn(
    programs: dict[str | None, timing.Program], names: Row, repeats: int
) -> list[Row]:
    """Warms all up, compares their answers, and only then times them in turn."""
    answers = {peer: program() for peer, program in programs.items()}
    diffs: dict[str | None, float | None] = {None: None}
    for peer in [peer for peer in programs if peer]:
        mine = answers[None]
        if names["variant"] == "grad":
            mine = (mine[0], linen_params(mine[1], gradient=True))
        diffs[peer] = timing.max_difference(mine, answers[peer])
        print(f"{names['variant']}: max |ours - {peer}| = {diffs[peer]:.2e}")
    seconds = timing.run_in_turn(list(programs.values()), repeats)
    taken = dict(zip(programs, seconds, strict=True))
    for peer in [peer for peer in programs if peer]:
        print(timing.ratio_line(names["variant"], peer, taken[None], taken[peer]))
    return [
        timing.make_row(program, taken[p], max_diff=diffs[p], peer=p, **names)
        for p, program in programs.items()
    ]


def _no_peers(what: str, peers: Sequence[str]) -> None:
    if peers:
        raise UserError(
            f"--peers={','.join(peers)} with --what={what}",
            needed="no --peers",
            why="only the generator has a peer so far",
            fix=f"python -m launch.benchmark --what={what}",
        )


def parse(argv: Sequence[str]) -> flags.FlagValues:
    """The flags of a command line without the program's name.

    Raises:
        UserError: for a flag or value that does not exist.
    """
    known = flags.FlagValues()
    define: dict[str, Any] = dict(flag_values=known)
    whats = list(BENCHES)
    flags.DEFINE_enum("what", "generator", whats, "what to time", **define)
    flags.DEFINE_string("preset", "peer", f"size: {', '.join(SCALES)}", **define)
    flags.DEFINE_multi_enum("peers", [], list(PEERS), "beside whom", **define)
    flags.DEFINE_integer("repeats", 5, "timed runs of each", lower_bound=1, **define)
    flags.DEFINE_string("json", None, "file for one JSON line a row", **define)
    flags.DEFINE_bool("help", False, "show this", **define)
    try:
        rest = known(["benchmark", *argv])[1:]
        if rest:
            raise flags.Error(f"unread argument {rest[0]!r}")
    except flags.Error as error:
        raise UserError(
            str(error).splitlines()[0],
            needed=f"--what={'|'.join(whats)} --preset={'|'.join(SCALES)}",
            why="nothing else can be timed",
            fix="python -m launch.benchmark --help",
        ) from error
    check_preset(known.preset, SCALES)
    return known


def main(argv: Sequence[str]) -> int:
    """Runs one benchmark; answers the exit code."""
    try:
        asked = parse(argv)
        if asked.help:
            print(__doc__, asked.main_module_help(), sep="\n")
            return 0
        out = Path(asked.json) if asked.json else None
        if out:  # before minutes of work
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("")
        rows = BENCHES[asked.what](asked.preset, asked.peers, asked.repeats)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    if out:
        out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print()
    print(timing.markdown(rows))
    return 0


if __name__ == "__main__":
    # A cached executable would make the compile time a lie.
    jax.config.update("jax_enable_compilation_cache", False)
    sys.exit(main(sys.argv[1:]))
