"""Losses and updates in PyTorch, as `fluoro_jax.training` has them, to be timed.

Imported only if a torch peer is asked for: the extra `peers` brings PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from fluoro_jax.training.losses import IOU_EPSILON_PX, SSIM_C1, SSIM_C2
from launch.bench.peers.torch_device import autocast, device, tensor, to_numpy, waits
from launch.bench.peers.torch_nets import (
    TorchCritic,
    TorchGenerator,
    load,
    torch_params,
)
from launch.bench.timing import PeerFailed, Program, timed

Losses = dict[str, Tensor]


def generator_program(
    kind: str, ours: Any, params: Any, *, arrays: tuple, variant: str
) -> Program:
    """The forward pass, or loss and gradient, of `launch.bench.nets`.

    Args:
        kind: "torch" (eager), "torch_compile", "torch_bf16" (autocast),
            "torch_compile_bf16" or "torch_channels_last".
        ours: the flax generator.
        params: its parameters.
        arrays: stack `[B, T, H, W, 3]` and truth `[B, T, H, W]`.
        variant: "forward" or "grad".

    Raises:
        PeerFailed: the compiler does not work here, or there is no such device.
    """
    net = load(TorchGenerator(ours), params)
    if kind == "torch_channels_last":
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    weights = dict(net.named_parameters())
    compiled = kind.startswith("torch_compile")
    call = torch.compile(net) if compiled else net
    stack = tensor(arrays[0]).movedim(-1, 2).contiguous()
    truth = tensor(arrays[1])
    cast = autocast(_dtype(kind))

    def forward() -> tuple[Tensor, ...]:
        with torch.no_grad(), cast():
            return call(stack)

    def grad() -> tuple[Tensor, dict[str, Tensor]]:
        with cast():
            out = call(stack)
        coarse, refined = (cross_entropy(truth, z.float(), 20.0) for z in out)
        loss = coarse + refined
        grads = torch.autograd.grad(loss, list(weights.values()))
        return loss.detach(), dict(zip(weights, grads, strict=True))

    if variant == "forward":
        read = lambda out: tuple(to_numpy(z.float()) for z in out)
        program = Program(waits(forward), read=read, translate=tuple)
    else:
        read = lambda out: (
            to_numpy(out[0]),
            {k: to_numpy(g) for k, g in out[1].items()},
        )
        translate = lambda answer: (answer[0], torch_params(answer[1]))
        program = Program(waits(grad), read=read, translate=translate)
    program.precision = _dtype(kind)
    if compiled:
        program.compile_s = _compile(program)
    return program


def _compile(program: Program) -> float:
    """Runs it once, which compiles it; the seconds that took."""
    try:
        return timed(program.run)[1]
    except RuntimeError as error:  # all that its compilers raise are of this kind
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"torch.compile: {type(error).__name__}: {' '.join(lines)[:200]}"
        raise PeerFailed(reason) from error


def critic_program(
    kind: str, ours: Any, params: Any, *, arrays: tuple, gp_weight: float
) -> Program:
    """Loss with gradient penalty, and its gradient; eager only.

    `torch.compile` refuses to differentiate twice.

    Args:
        kind: "torch" or "torch_bf16" (autocast).
        ours: the flax critic.
        params: its parameters.
        arrays: real and fake masks `[B, T, H, W]`, and mix `[B]`.
        gp_weight: of the penalty.
    """
    real, fake, mix = (tensor(a) for a in arrays)
    net = load(TorchCritic(ours, real.shape[1:]), params)
    weights = dict(net.named_parameters())

    cast = autocast(_dtype(kind))

    def grad() -> tuple[Tensor, dict[str, Tensor]]:
        with cast():
            loss, _ = critic_loss(net, real, fake, mix, gp_weight=gp_weight)
        grads = torch.autograd.grad(loss, list(weights.values()))
        return loss.detach(), dict(zip(weights, grads, strict=True))

    read = lambda out: (to_numpy(out[0]), {k: to_numpy(g) for k, g in out[1].items()})
    translate = lambda answer: (answer[0], torch_params(answer[1]))
    program = Program(waits(grad), read=read, translate=translate)
    program.precision = _dtype(kind)
    return program


def train_program(
    cfg: Any, nets: Any, state: Any, *, batches: Any, mix: Any
) -> Program:
    """The whole adversarial step: generator updates, then one critic update.

    Args:
        cfg: loss and both optimisers (constant rates are taken).
        nets: `fluoro_jax.training.nets.Nets`.
        state: the first state, on the host.
        batches: stack `[B, T, H, W, 3]` and mask `[B, T, H, W]` of each update.
        mix: of the penalty, `[B]`.
    """
    clip = batches[0][1].shape[1:]
    gen = load(TorchGenerator(nets.gen), state.gen.params)
    critic = load(TorchCritic(nets.critic, clip), state.critic.params)
    ema = load(TorchGenerator(nets.gen), state.ema)
    averaged, followed = list(ema.parameters()), list(gen.parameters())
    gen_opt, critic_opt = _adam(gen, cfg.gen_opt), _adam(critic, cfg.critic_opt)
    data = [(tensor(x).movedim(-1, 2).contiguous(), tensor(y)) for x, y in batches]
    mix, cast = tensor(mix), autocast(cfg.gen.dtype)

    def step() -> Losses:
        critic.requires_grad_(False)
        found: Losses = {}
        for stack, truth in data[: cfg.train.gen_updates]:
            with cast():
                logits = gen(stack)[1].float()
                score = critic(torch.sigmoid(logits)).float()
            total, found = hybrid(truth, logits, cfg.loss)
            found["adversarial"] = -score.mean()
            found["loss"] = total + cfg.loss.adversarial * found["adversarial"]
            gen_norm = _update(gen_opt, found["loss"], gen, cfg.gen_opt.clip_norm)
            with torch.no_grad():
                torch._foreach_lerp_(averaged, followed, 1.0 - cfg.train.ema_decay)
        critic.requires_grad_(True)
        stack, real = data[0]
        with torch.no_grad(), cast():
            fake = torch.sigmoid(gen(stack)[1].float())
        judge = lambda mask: _judged(critic, mask, cast)
        loss, terms = critic_loss(judge, real, fake, mix, gp_weight=cfg.loss.gp_weight)
        norm = _update(critic_opt, loss, critic, cfg.critic_opt.clip_norm)
        return found | terms | {"gen_grad_norm": gen_norm, "critic_grad_norm": norm}

    program = Program(waits(step))
    program.read = lambda out: {k: v.item() for k, v in out.items()}
    program.precision = cfg.gen.dtype
    return program


def _judged(critic: Callable, mask: Tensor, cast: Callable) -> Tensor:
    with cast():
        return critic(mask).float()


def cross_entropy(truth: Tensor, logits: Tensor, weight: float) -> Tensor:
    """Foreground-weighted, the mean over everything."""
    entropy = functional.softplus(logits) - truth * logits
    return ((1.0 + weight * truth) * entropy).mean()


def hybrid(truth: Tensor, logits: Tensor, cfg: Any) -> tuple[Tensor, Losses]:
    """Weighted sum of the losses without the critic, and the losses."""
    prob = torch.sigmoid(logits)
    both = (truth * prob).sum((2, 3))
    either = (truth + prob - truth * prob).sum((2, 3))
    epsilon = torch.where(truth.sum((2, 3)) > 0, IOU_EPSILON_PX, 1.0)
    overlap = (both + epsilon) / (either + epsilon)
    terms = {
        "l1": (truth - prob).abs().mean(),
        "ssim": ssim_loss(truth, prob),
        "iou": (1.0 - overlap).mean(),
        "cross_entropy": cross_entropy(truth, logits, cfg.foreground_weight),
    }
    if cfg.log_iou:
        terms["log_iou"] = -torch.log(overlap).mean()
    return torch.stack([cfg[k] * v for k, v in terms.items()]).sum(), terms


def ssim_loss(truth: Tensor, prob: Tensor) -> Tensor:
    """11 x 11 Gaussian window of sigma 1.5 px where it fits, as two convolutions."""
    window = torch.exp(-0.5 * (torch.arange(-5.0, 6.0, device=device()) / 1.5) ** 2)
    window = (window / window.sum()).reshape(1, 1, 11, 1)
    images = [truth, prob, truth * truth, prob * prob, truth * prob]
    stacked = torch.stack(images).flatten(0, 2)[:, None]
    blurred = functional.conv2d(stacked, window)
    blurred = functional.conv2d(blurred, window.transpose(2, 3))[:, 0]
    mu_y, mu_p, yy, pp, yp = blurred.unflatten(0, (5, -1))
    top = (2.0 * mu_y * mu_p + SSIM_C1) * (2.0 * (yp - mu_y * mu_p) + SSIM_C2)
    spread = yy - mu_y * mu_y + pp - mu_p * mu_p + SSIM_C2
    return 1.0 - (top / ((mu_y * mu_y + mu_p * mu_p + SSIM_C1) * spread)).mean()


def critic_loss(
    net: Callable, real: Tensor, fake: Tensor, mix: Tensor, *, gp_weight: float
) -> tuple[Tensor, Losses]:
    """WGAN-GP loss and what is logged of it."""
    mix = mix.reshape(-1, 1, 1, 1)
    blend = (mix * real + (1.0 - mix) * fake).requires_grad_()
    grad = torch.autograd.grad(net(blend).sum(), blend, create_graph=True)[0]
    slope = (grad.square().flatten(1).sum(1) + 1e-12).sqrt()
    penalty = (slope - 1.0).square().mean()
    gap = (net(real) - net(fake)).mean()
    terms = {"critic_gap": gap, "penalty": penalty, "slope": slope.mean()}
    return gp_weight * penalty - gap, {k: v.detach() for k, v in terms.items()}


def _adam(net: torch.nn.Module, cfg: Any) -> torch.optim.Optimizer:
    betas = (cfg.b1, cfg.b2)
    return torch.optim.Adam(net.parameters(), cfg.learning_rate, betas, fused=True)


def _update(
    opt: torch.optim.Optimizer, loss: Tensor, net: torch.nn.Module, clip_norm: float
) -> Tensor:
    """One clipped update; gives the gradient's norm before clipping."""
    opt.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(net.parameters(), clip_norm)
    opt.step()
    return norm


def _dtype(kind: str) -> str:
    """Returns what one kind of program computes in."""
    return "bfloat16" if kind.endswith("bf16") else "float32"
