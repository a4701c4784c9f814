"""Checks a config: every value by its rule, and the values against each other."""

from __future__ import annotations

import math
import os
from typing import Any, NoReturn, TypeAlias

from ml_collections import ConfigDict, FrozenConfigDict

from fluoro_jax.config_rules import PAST_STACKS, RULES
from fluoro_jax.errors import UserError, nearest
from fluoro_jax.fingerprint import complete, leaves

Config: TypeAlias = Any  # a ConfigDict; checkers cannot know its attributes

PIXEL_MM = (0.05, 40.0)  # from mammography's pixels to a test's 16 x 16 panel
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
SMALLEST = 2  # pixels a side that the lowest level must keep


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
    _check_pixel(cfg)
    _check_sizes(cfg)
    _check_stem(cfg)
    _check_groups(cfg)
    _check_causal(cfg)
    _check_precision(cfg)
    _check_diameters(cfg)
    _check_appearance(cfg)
    _check_bodies(cfg)
    _check_collimation(cfg)
    if training:
        check_devices(cfg.data.batch_size)
    return FrozenConfigDict(cfg)


def reads_ahead(cfg: Config) -> bool:
    """Returns whether the network's answer for a frame depends on later frames."""
    memory = cfg.gen.lstm != "none" and cfg.gen.bidirectional
    return memory or cfg.data.stack not in (*PAST_STACKS, "single")


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


def _check_pixel(cfg: Config) -> None:
    """Refuses pixels that no panel has; a config's panel is `rows` square pixels."""
    study = cfg.study
    least, most = PIXEL_MM
    pixel = study.detector_mm / study.rows
    if not least <= pixel <= most:
        raise UserError(
            f"study.detector_mm = {study.detector_mm:g} with study.rows = "
            f"{study.rows}: pixels of {pixel:.3g} mm",
            needed=f"pixels of {least:g} to {most:g} mm",
            why="the panel's height is divided into that many square pixels",
            fix=f"--config.study.detector_mm={study.rows * min(5.0, most):g}, or other "
            "study.rows",
        )


def _check_sizes(cfg: Config) -> None:
    """Every level halves the frame, exactly, and leaves `SMALLEST` pixels a side."""
    levels = {
        "gen.levels": (cfg.gen.levels, cfg.gen.patch),
        "gen.refine_levels": (cfg.gen.refine_levels, cfg.gen.patch),
        "critic.levels": (cfg.critic.levels, 1),
    }
    for side in ("rows", "cols"):
        size = cfg.study[side]
        for key, (value, patch) in levels.items():
            most = 0
            cells, rest = divmod(size, patch)
            while cells % 2 ** (most + 1) == 0 and cells // 2 ** (most + 1) >= SMALLEST:
                most += 1
            if value <= most and not rest:
                continue
            step = patch * 2**value
            even = max(max(1, round(size / step)) * step, SMALLEST * step)
            one = f"--config.{key}={most}, or " if most else ""
            cells = f" (cells of {patch} pixels)" * (patch > 1)
            raise UserError(
                f"study.{side} = {size} with {key} = {value}{cells}",
                needed=f"{side} divisible by {patch * 2**value}, and at least "
                f"{SMALLEST * step}",
                why=f"each level halves the frame; {SMALLEST} pixels must be left",
                fix=f"{one}--config.study.rows={even} --config.study.cols={even}",
            )


def _check_stem(cfg: Config) -> None:
    if cfg.gen.patch > 1 and not cfg.gen.stem:
        raise UserError(
            f"gen.stem = 0 with gen.patch = {cfg.gen.patch}",
            needed="gen.stem at least 1",
            why="the networks read a cell through a dense layer of so many channels",
            fix="--config.gen.stem=32, or --config.gen.patch=1",
        )


def _check_groups(cfg: Config) -> None:
    """Every level's channels, min(base 2^i, cap), are whole groups."""
    for net in ("gen", "critic"):
        size = cfg[net].group_size
        for key in ("base", "cap"):
            value = cfg[net][key]
            if value % size:
                raise UserError(
                    f"{net}.{key} = {value} with {net}.group_size = {size}",
                    needed=f"{net}.{key} divisible by {net}.group_size",
                    why="the norm takes its channels in groups of equal size",
                    fix=f"--config.{net}.group_size={math.gcd(value, size)}, or "
                    f"--config.{net}.{key}={max(size, value // size * size)}",
                )
        if cfg[net].cap < cfg[net].base:
            raise UserError(
                f"{net}.cap = {cfg[net].cap} with {net}.base = {cfg[net].base}",
                needed=f"{net}.cap at least {net}.base",
                why="level i has min(base 2^i, cap) channels",
                fix=f"--config.{net}.cap={cfg[net].base}",
            )


def _check_diameters(cfg: Config) -> None:
    smallest, largest = cfg.data.smallest_mm, cfg.data.largest_mm
    if smallest > largest:
        raise UserError(
            f"data.smallest_mm = {smallest} with data.largest_mm = {largest}",
            needed="data.largest_mm at least data.smallest_mm",
            why="simulated tumours have diameters between the two",
            fix=f"--config.data.largest_mm={smallest}",
        )


def _check_appearance(cfg: Config) -> None:
    if cfg.data.randomise and cfg.data.source == "dataset":
        raise UserError(
            f'data.randomise = "{cfg.data.randomise}" with data.source = "dataset"',
            needed='data.source = "simulator", or data.randomise = ""',
            why="stored cases are trained on as they are",
            fix="--config.data.source=simulator",
        )


def _check_bodies(cfg: Config) -> None:
    from fluoro_jax.studies import STUDIES  # late: it starts JAX

    bodies, folder = cfg.data.bodies, cfg.data.ct_dir
    found = f'data.bodies = "{bodies}"'
    if cfg.data.angles_deg and bodies != "patient":
        raise UserError(
            f'data.angles_deg = "{cfg.data.angles_deg}" with {found}',
            needed='data.bodies = "patient", or data.angles_deg = ""',
            why="other bodies are seen at study.gantry_deg",
            fix="--config.data.angles_deg= and --config.study.gantry_deg=ANGLE",
        )
    if bodies == "phantom":
        if folder:
            raise UserError(
                f'data.ct_dir = "{folder}" with {found}',
                needed='data.bodies = "ct" or "mixed", or data.ct_dir = ""',
                why="phantoms need no CT, so the folder would not be read",
                fix="--config.data.bodies=mixed",
            )
        return
    if cfg.data.source == "dataset":
        raise UserError(
            f'{found} with data.source = "dataset"',
            needed='data.source = "simulator"',
            why="stored cases are phantoms; CTs are simulated while training",
            fix="--config.data.source=simulator, or --config.data.bodies=phantom",
        )
    if not folder:
        raise UserError(
            f'{found} with data.ct_dir = ""',
            needed="a folder of chest CTs",
            why="patients of the training pool are made from them",
            fix="--config.data.ct_dir=FOLDER, or --config.data.bodies=phantom",
        )
    study = STUDIES.get(cfg.study.name)
    if study and study.of_sets:
        raise UserError(
            f'{found} with study.name = "{cfg.study.name}"',
            needed="a study of many patients with one tumour each, such as clinic",
            why="a study of sets trains on the amplitudes of its own patients",
            fix="--config.study.name=clinic, or --config.data.bodies=phantom",
        )
    if bodies == "mixed" and cfg.data.pool_bodies < 2:
        raise UserError(
            f"{found} with data.pool_bodies = {cfg.data.pool_bodies}",
            needed="data.pool_bodies at least 2",
            why="every other slot of the pool holds a CT",
            fix="--config.data.pool_bodies=16, or --config.data.bodies=ct",
        )


def _check_causal(cfg: Config) -> None:
    if cfg.data.stack in PAST_STACKS and reads_ahead(cfg):
        raise UserError(
            f"data.stack = {cfg.data.stack!r} with gen.bidirectional = True",
            needed="a generator that runs forward only, or another stack",
            why="the backward pass reads later frames, so nothing would be causal",
            fix="--config.gen.bidirectional=False, or --config.data.stack=edge",
        )


def _check_precision(cfg: Config) -> None:
    if (
        cfg.matmul_precision == "tf32"
        and cfg.gen.dtype == cfg.critic.dtype != "float32"
    ):
        raise UserError(
            f"matmul_precision = 'tf32' with gen.dtype = critic.dtype = "
            f"{cfg.gen.dtype!r}",
            needed="matmul_precision = 'highest', or a network in float32",
            why="tf32 shortens float32 numbers, and neither network would have any",
            fix="--config.matmul_precision=highest, or --config.gen.dtype=float32 "
            "--config.critic.dtype=float32",
        )


def _check_collimation(cfg: Config) -> None:
    from fluoro_jax.studies import STUDIES  # late: it starts JAX

    study = STUDIES.get(cfg.study.name)
    fresh = cfg.data.source == "simulator" and not (study and study.of_sets)
    if cfg.study.collimate and fresh:
        raise UserError(
            f"study.collimate = True with fresh tumours of the study {cfg.study.name}",
            needed="stored cases, or a study of sets",
            why="the panel would follow a tumour that is then put elsewhere",
            fix="--config.study.collimate=False, or --config.data.source=dataset",
        )
