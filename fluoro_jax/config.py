"""Checks a config, and the machine that it asks for."""

from __future__ import annotations

import math
import os
from typing import Any, NoReturn

from ml_collections import ConfigDict, FrozenConfigDict

from fluoro_jax.config_checks import Config, check_together
from fluoro_jax.config_checks import reads_ahead as reads_ahead
from fluoro_jax.config_rules import RULES
from fluoro_jax.errors import UserError, nearest
from fluoro_jax.fingerprint import complete, leaves

PLATFORM_EXTRAS = {  # what is needed, and what to do
    "gpu": (
        "the extra [cuda] (CUDA 13), or [cuda12] for older drivers",
        "pip install 'fluoro_jax[cuda]'; ",
    ),
    "tpu": ("the extra [tpu]", "pip install 'fluoro_jax[tpu]'; "),
}
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
# Seconds of a generator and a critic update of one clip of `CPU_CLIP` (frames, pixels)
# on two cores: the 5.2 s of a step at the paper's size (docs/performance.md), divided
# as the 1373 ms of a smaller step are into 2 x 578 and 217.
CPU_GEN_S, CPU_CRITIC_S, CPU_CLIP = 2.19, 0.82, (10, 256 * 256)


def validate(
    cfg: Config, *, training: bool = True, usual: Config | None = None
) -> FrozenConfigDict:
    """Returns the config as a run uses it: checked, and no longer to be changed.

    Args:
        cfg: every value of the run (`configs/base.py`); keys that are younger than a
            stored config are filled in (`fingerprint.ABSENT`).
        training: also check that the batch can be divided over the devices (starts
            JAX).
        usual: the config file's own values, before the command line changed some; a
            refused value's hint shows them.

    Raises:
        UserError: a key that is unknown or missing, a value that is impossible alone
            or together with another.
    """
    cfg = ConfigDict(complete(cfg.to_dict()))
    found = dict(leaves(cfg))
    _check_keys(found)
    usually = dict(leaves(usual)) if usual is not None else {}
    for key, (rule, _) in RULES.items():
        if not rule.accepts(found[key]):
            _refuse_value(key, found[key], usually.get(key))
    check_together(cfg)
    if training:
        check_devices(cfg.data.batch_size)
    return FrozenConfigDict(cfg)


def with_answer(cfg: Config, answer: str | None) -> ConfigDict:
    """Returns a copy of a config that asks for another `evaluation.answer`.

    Args:
        cfg: of a run or of published weights.
        answer: one of `config_rules.ANSWERS`; None or "" leaves the config's own.
    """
    copy: Config = ConfigDict(cfg.to_dict())
    if answer and answer != copy.evaluation.answer:
        # Only of one component a frame are there outlines to average.
        copy.evaluation.update(answer=answer, outline="frame")
    return copy


def unknown_key(key: str, *, flag: str = "", value: str = "") -> UserError:
    """Returns the error for a key that no config has.

    Args:
        key: as in `gen.level`.
        flag: how the key was written before its name, as in `--config.`.
        value: how its value was written after it, as in ` = 3`.
    """
    close = nearest(key, RULES)
    return UserError(
        f"unknown config key {flag}{key}{value}",
        needed="a key of configs/base.py",
        why="nothing reads this key, so setting it would do nothing",
        fix=f"did you mean {flag}{close}?" if close else "remove it",
    )


def check_devices(batch_size: int) -> None:
    """Raises `UserError` unless every device can take the same share of a batch."""
    import jax  # late: --help and --version need no devices

    devices, processes = jax.device_count(), jax.process_count()
    share = math.lcm(devices, processes)
    if batch_size % share:
        near = max(share, batch_size // share * share)
        raise UserError(
            f"data.batch_size = {batch_size} on {devices} devices "
            f"of {processes} processes",
            needed=f"a multiple of {share}",
            why="every device takes the same share of each batch",
            fix=f"--config.data.batch_size={near}, or show fewer devices to JAX",
        )


def check_platform(cfg: Config) -> None:
    """Raises `UserError` unless JAX runs where, and as, the config asks for it.

    JAX itself takes the CPU in silence where it finds no accelerator.
    """
    import jax  # late, as in `check_devices`

    found = jax.default_backend()
    if cfg.platform and found != cfg.platform:
        needed, fix = PLATFORM_EXTRAS.get(cfg.platform, ("no JAX_PLATFORMS", ""))
        raise UserError(
            f"platform = {cfg.platform!r}, and JAX runs on the {found}",
            needed=f"a {cfg.platform} that JAX finds: {needed}",
            why=f"on two CPU cores its training takes {cpu_words(cfg)} or more (scaled "
            "from a measured step by clips, frames and pixels)",
            fix=f"{fix}`fluoro doctor` shows what JAX finds; or --config.platform= for "
            "any device",
        )
    if cfg.deterministic and found == "gpu" and not has_deterministic_flag():
        raise UserError(
            f"deterministic = True without {DETERMINISTIC} in XLA_FLAGS",
            needed="the flag, before JAX starts; the command line sets it by itself",
            why="XLA reads its flags once, when it starts",
            fix=f"export XLA_FLAGS={DETERMINISTIC}",
        )


def cpu_hours(cfg: Config) -> float:
    """Returns an estimate of the hours that a run's updates take on two CPU cores.

    Scaled by clips, frames and pixels (or cells) from one measured step in float32. A
    lower bound: simulation, validation, the layers before the cells and a network wider
    than the measured one come on top. More cores take less; how much less was not
    measured.
    """
    study, steps, patch = cfg.study, cfg.train.num_steps, cfg.gen.patch
    clips = cfg.data.batch_size * cfg.train.accumulate
    frames, pixels = CPU_CLIP
    size = study.num_frames * study.rows * study.cols / patch**2 / (frames * pixels)
    updates = steps * cfg.train.gen_updates * CPU_GEN_S
    judged = max(steps - cfg.loss.critic_start, 0)
    updates += judged * cfg.train.critic_updates * CPU_CRITIC_S
    return updates * clips * size / 3600.0


def cpu_words(cfg: Config) -> str:
    """Returns `cpu_hours` in words, to two digits.

    Days from two days on, minutes under two hours.
    """
    hours = cpu_hours(cfg)
    for unit, length in (("days", 24.0), ("hours", 1.0)):
        if hours / length >= 2.0:
            return f"{float(f'{hours / length:.2g}'):g} {unit}"
    return f"{max(float(f'{60.0 * hours:.2g}'), 1.0):g} min"


def has_deterministic_flag() -> bool:
    """Returns whether XLA_FLAGS keep a GPU to operations that give the same bits."""
    return DETERMINISTIC in os.environ.get("XLA_FLAGS", "").split()


def _check_keys(found: dict[str, Any]) -> None:
    for key in found:
        if key not in RULES:
            raise unknown_key(key, value=f" = {found[key]!r}")
    missing = [key for key in RULES if key not in found]
    if missing:
        raise UserError(
            "config without " + ", ".join(missing[:5]),
            needed="every key of configs/base.py",
            why="a run has no hidden defaults",
            fix="begin the config file with base_config() from configs/base.py",
        )


def _refuse_value(key: str, value: Any, usual: Any) -> NoReturn:
    rule, why = RULES[key]
    shown = repr(value).replace("\n", " ")
    close = nearest(value, rule.names)
    named = "for example"
    example = rule.example
    if close:
        named, example = "did you mean", close
    elif rule.accepts(usual):
        named, example = "the config file has", usual
    raise UserError(
        f"{key} = {shown}",
        needed=rule.needed,
        why=why,
        fix=f"{named} --config.{key}={example}{'?' * bool(close)}",
    )
