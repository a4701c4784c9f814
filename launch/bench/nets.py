"""Generator, critic and the whole adversarial step, beside their peers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from fluoro_jax.data.stack import stack_frames
from fluoro_jax.models.critic import Critic
from fluoro_jax.training import parallel
from fluoro_jax.training.losses import cross_entropy, gradient_penalty
from fluoro_jax.training.nets import build
from fluoro_jax.training.precision import (
    at_precision,
    make_generator,
    precision_name,
)
from fluoro_jax.training.state import per_example, stream, to_host
from fluoro_jax.training.step import make_critic_update, make_gen_update, merge
from launch.bench import flops, timing
from launch.bench.peers.linen_generator import LinenGenerator, linen_params

Row = dict[str, Any]
TORCH = (
    "torch",
    "torch_compile",
    "torch_bf16",
    "torch_compile_bf16",
    "torch_channels_last",
)
PEERS = {
    "generator": ("linen", *TORCH),
    "critic_step": ("torch", "torch_bf16"),  # the compiler refuses two derivatives
    "train_step": ("torch",),
}


def clip_shape(cfg: Any) -> tuple[int, int, int, int]:
    """`[B, T, H, W]` of a micro-batch of the study's frames."""
    study = cfg.study
    return (cfg.data.batch_size, study.num_frames, study.rows, study.cols)


def generator(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Forward pass, and loss with gradient, of a micro-batch."""
    rng = np.random.default_rng(0)
    shape = clip_shape(cfg)
    stack = rng.uniform(1.0, 5.0, (*shape, 3)).astype(np.float32)
    truth = (rng.random(shape) < 0.02).astype(np.float32)
    ours = make_generator(cfg)
    params = jax.jit(ours.init)(jax.random.key(0), stack)["params"]
    frames = shape[0] * shape[1]
    forward_gflop = flops.generator_gflop(params, shape[2] * shape[3], frames)
    rows = []
    for variant, wrap, passes in (("forward", _forward, 1), ("grad", _grad, 3)):
        programs, make = _generators(
            cfg, (ours, params), (stack, truth), variant, wrap, passes * forward_gflop
        )
        names = {"what": "generator", "variant": variant, **_names(cfg)}
        failed = timing.add_peers(programs, peers, make, names)
        rows += timing.compare(programs, names, repeats) + failed
    return rows


def _generators(
    cfg: Any, net: tuple, arrays: tuple, variant: str, wrap: Callable, gflop: float
) -> tuple[dict[str | None, timing.Program], Callable[[str], timing.Program]]:
    """Returns our program, and what makes a peer's."""
    ours, params = net
    known = {"gflop_by_hand": gflop, "precision": precision_name(cfg)}
    compiled = lambda net, weights: timing.compile_program(
        at_precision(cfg, wrap(net)), weights, *arrays, **known
    )

    def make(peer: str) -> timing.Program:
        if peer == "linen":
            program = compiled(LinenGenerator(ours), linen_params(params))
            program.precision = "float32"
            if variant == "grad":
                program.translate = _linen_gradient
        else:
            program = _torch(cfg).generator_program(
                peer, ours, params, arrays=arrays, variant=variant
            )
            program.gflop_by_hand = gflop
        return _precise(program, cfg)

    return {None: compiled(ours, params)}, make


def critic_step(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """The critic's loss with its gradient penalty, and the gradient of both."""
    critic = Critic(**cfg.critic)
    rng = np.random.default_rng(0)
    real = (rng.random(clip_shape(cfg)) < 0.02).astype(np.float32)
    fake = rng.random(clip_shape(cfg)).astype(np.float32)
    mix = rng.random(len(real)).astype(np.float32)
    params = jax.jit(critic.init)(jax.random.key(0), real)["params"]
    weight = cfg.loss.gp_weight

    def loss(params, real, fake, mix):
        score = lambda mask: cast(jax.Array, critic.apply({"params": params}, mask))
        penalty, _ = gradient_penalty(score, real, fake, mix)
        return jnp.mean(score(fake) - score(real) + weight * penalty)

    gradient = at_precision(cfg, jax.value_and_grad(loss))
    step = timing.compile_program(gradient, params, real, fake, mix)
    step.precision = precision_name(cfg, "critic")
    programs: dict[str | None, timing.Program] = {None: step}
    arrays = (real, fake, mix)

    def make(peer: str) -> timing.Program:
        program = _torch(cfg).critic_program(
            peer, critic, params, arrays=arrays, gp_weight=weight
        )
        return _precise(program, cfg)

    names = {"what": "critic_step", "variant": "grad", **_names(cfg)}
    failed = timing.add_peers(programs, peers, make, names)
    return timing.compare(programs, names, repeats) + failed


def train_step(cfg: Any, peers: Sequence[str], repeats: int) -> list[Row]:
    """Generator updates and one critic update with penalty and Adam, as trained.

    The critic counts from the first step and the learning rates start at their peak;
    on one device.
    """
    count_everything(cfg)
    nets, rng = build(cfg), np.random.default_rng(0)
    clips, count = cfg.data.batch_size, cfg.train.gen_updates
    ids = [range(clips * update, clips * (update + 1)) for update in range(count)]
    batches = [random_batch(cfg, rng, some) for some in ids]
    state = parallel.place(nets.init, devices=jax.devices()[:1])
    first = to_host(state)
    programs: dict[str | None, timing.Program] = {None: our_step(nets, state, batches)}
    names, failed = {"what": "train_step", "variant": "step", **_names(cfg)}, []
    if peers:
        key = stream(cfg.seed, "penalty", 0)
        mix = jax.vmap(jax.random.uniform)(per_example(key, batches[0]["id"]))
        pairs = [
            (stack_frames(jnp.asarray(b["frames"]), cfg.data.stack), b["mask"])
            for b in batches
        ]
        step = lambda: _torch(cfg).train_program(
            cfg, nets, first, batches=pairs, mix=mix
        )

        def make(peer: str) -> timing.Program:
            tried, program = step(), step()  # a run changes the weights
            wanted = tuple(tried.read(tried.run()))
            program.translate = lambda ours: {key: ours[key] for key in wanted}
            return _precise(program, cfg)

        failed = timing.add_peers(programs, peers, make, names)
    return timing.compare(programs, names, repeats) + failed


def _names(cfg: Any) -> dict[str, Any]:
    return {"preset": cfg.name, "batch": cfg.data.batch_size}


def _precise(program: timing.Program, cfg: Any) -> timing.Program:
    """The same; its float32 products are the config's."""
    if program.precision == "float32" and cfg.matmul_precision == "tf32":
        program.precision = "tf32"
    return program


def count_everything(cfg: Any) -> None:
    """All terms of the loss and the whole learning rates from the first step on."""
    cfg.loss.warmup_steps = cfg.loss.adv_start = cfg.loss.critic_start = 0
    cfg.gen_opt.warmup_steps = cfg.critic_opt.warmup_steps = 0


def random_batch(cfg: Any, rng: np.random.Generator, ids: Sequence[int]) -> dict:
    """Frames and mask `[len(ids), T, H, W]` without meaning."""
    shape = (len(ids), *clip_shape(cfg)[1:])
    return {
        "frames": rng.uniform(1.0, 5.0, shape).astype(np.float32),
        "mask": (rng.random(shape) < 0.02).astype(np.float32),
        "id": np.array(ids, np.int32),
    }


def our_step(nets: Any, state: Any, batches: Sequence[dict]) -> timing.Program:
    """The updates of one training step, compiled; each run goes on from the last."""
    cfg, device = nets.cfg, jax.devices()[:1]
    placed = [parallel.shard(batch, devices=device) for batch in batches]
    gen = make_gen_update(cfg, nets.gen, nets.critic, nets.gen_tx)
    critic = make_critic_update(cfg, nets.gen, nets.critic, nets.critic_tx)
    compiled, seconds = timing.timed(
        lambda: [
            parallel.p_update(update, devices=device).compile(state, placed[0])
            for update in (gen, critic)
        ]
    )
    gen_counts, critic_counts = (timing.counts(program) for program in compiled)
    held = [state]

    def run() -> dict[str, float]:
        found = []
        for batch in placed:
            held[0], averages = compiled[0](held[0], batch)
        found.append(averages)
        held[0], averages = compiled[1](held[0], placed[0])
        found.append(averages)
        return merge(found)

    updates = len(placed)
    total = lambda key: updates * gen_counts[key] + critic_counts[key]
    peak = max(gen_counts["peak_mib"], critic_counts["peak_mib"])
    print(
        f"compiled in {seconds:.1f} s; peak memory of a "
        f"generator update {gen_counts['peak_mib']:.0f} MiB, "
        f"of a critic update {critic_counts['peak_mib']:.0f} MiB"
    )
    return timing.Program(
        run,
        seconds,
        total("gflop"),
        total("gbyte"),
        peak_mib=peak,
        precision=precision_name(cfg),
    )


def _forward(net: Any) -> Callable:
    return lambda params, stack, truth: net.apply({"params": params}, stack)


def _grad(net: Any) -> Callable:
    def loss(params, stack, truth):
        out = net.apply({"params": params}, stack)
        terms = [cross_entropy(truth, z, 20.0) for z in out]
        return jnp.mean(terms[0] + terms[1])

    return jax.value_and_grad(loss)


def _linen_gradient(answer: Any) -> Any:
    return answer[0], linen_params(answer[1], gradient=True)


def _torch(cfg: Any) -> Any:
    """`launch.bench.peers.torch_steps`, imported only where it is asked for."""
    from launch.bench.peers import torch_device, torch_steps

    torch_device.use_products(cfg.matmul_precision)
    return torch_steps
