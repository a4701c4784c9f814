"""Every value of a config has a rule here; a run starts only if all are kept."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ml_collections import ConfigDict, FrozenConfigDict

from fluoro_jax.choices import CAPTIONS
from fluoro_jax.errors import UserError
from fluoro_jax.fingerprint import complete

Config: TypeAlias = Any  # a ConfigDict; checkers cannot know its attributes

SMALLEST = 2  # pixels a side that the lowest level must keep


@dataclass(frozen=True)
class Rule:
    """What a value must be.

    Attributes:
        accepts: the test.
        needed: the same in words.
        example: a value that passes.
        names: the names to choose from, if it is a name.
    """

    accepts: Callable[[Any], bool]
    needed: str
    example: Any
    names: tuple[str, ...] = ()


def _whole(least: int = 1, most: float = math.inf, step: int = 1) -> Rule:
    def accepts(x: Any) -> bool:
        number = isinstance(x, int) and not isinstance(x, bool)
        return number and least <= x <= most and (x - least) % step == 0

    every = "" if step == 1 else " odd" if least % 2 else " even"
    upper = "" if most == math.inf else f", at most {most}"
    return Rule(accepts, f"a whole{every} number, at least {least}{upper}", least)


def _number(test: Callable[[float], bool], needed: str, example: float) -> Rule:
    def accepts(x: Any) -> bool:
        number = isinstance(x, int | float) and not isinstance(x, bool)
        return number and math.isfinite(x) and test(x)

    return Rule(accepts, needed, example)


def _name(*names: str) -> Rule:
    accepts = lambda x: isinstance(x, str) and x in names
    return Rule(accepts, "one of " + ", ".join(names), names[0], names)


TEXT = Rule(lambda x: isinstance(x, str) and bool(x), "a name", "run")
FLAG = Rule(lambda x: isinstance(x, bool), "True or False", False)
SEED = _whole(0, 2**32 - 1)
FINITE = _number(lambda x: True, "a finite number", 0.0)
POSITIVE = _number(lambda x: x > 0, "more than 0", 1.0)
WEIGHT = _number(lambda x: x >= 0, "0 or more", 1.0)
DECAY = _number(lambda x: 0 <= x < 1, "at least 0 and less than 1", 0.9)
FRACTION = _number(lambda x: 0 < x < 1, "between 0 and 1, neither included", 0.5)
COUNT, COUNT_OR_NONE = _whole(1), _whole(0)
EVEN, ODD = _whole(2, step=2), _whole(1, step=2)
DTYPE = _name("float32", "bfloat16")
SOURCE = _name("dataset", "simulator")
STACK = _name("wrap", "edge", "causal", "single")
LSTM = _name("all", "bottom", "none")
RESAMPLE = _name("stride", "pool")
FROZEN = _name("nothing", "bottom", "ends", "all_but_last")
PARENT = Rule(lambda x: isinstance(x, str), 'a name, or "" for fresh networks', "")
OUTPUT = _name("sigmoid", "linear")
SCHEDULE = _name("cosine", "constant")
CHOICES = _name(*CAPTIONS)

_NET = "networks are built from whole numbers of levels and channels"
_HALVING = "a kernel of stride 2 covers every pixel equally often only if even"
_CENTRED = "a kernel of stride 1 is centred on its pixel only if odd"
_ADAM = "Adam does not move, or diverges, outside of this"
_CADENCE = "it counts steps between two events, or updates in a step"
_STEPS = "it counts training steps, from step 0"
_DTYPE = "other types overflow or are not supported on every device"
_SPLIT = "an empty split can be neither trained on nor scored"
_PIXELS = "images and bodies are grids with a finite number of points"
_WEIGHT = "a negative weight rewards the error that it weighs"
_SEED = "random numbers start from an unsigned 32-bit number"
_CHOICE = "only these are implemented"
_RUN = "it names the run's folder"

# (keys, rule, why); together the keys are all that a config may and must hold.
TABLE: tuple[tuple[str, Rule, str], ...] = (
    ("name", TEXT, _RUN),
    ("seed study.seed", SEED, _SEED),
    ("choices", CHOICES, "captions say on which cases the recipe was chosen"),
    ("study.name", TEXT, "it says which study of fluoro_jax.studies to build"),
    ("study.num_train study.num_val study.num_test", COUNT, _SPLIT),
    ("study.rows study.cols study.num_frames", COUNT, _PIXELS),
    ("study.detector_mm study.voxel_mm study.frame_s", POSITIVE, _PIXELS),
    ("study.gantry_deg", FINITE, "it is an angle in degrees"),
    ("study.photons", WEIGHT, "it is a number of quanta; 0 is noiseless"),
    ("study.collimate", FLAG, "it is a switch"),
    ("data.source", SOURCE, _CHOICE),
    ("data.stack", STACK, _CHOICE),
    ("data.batch_size", COUNT, "an update needs an example to learn from"),
    ("data.pool_bodies", COUNT, "tumours are put into bodies of the pool"),
    ("data.renew_every", COUNT, _CADENCE),
    ("data.random_start", FLAG, "it is a switch"),
    ("data.smallest_mm data.largest_mm", POSITIVE, "it is a tumour's diameter"),
    ("gen.levels gen.base gen.cap gen.group_size", COUNT, _NET),
    ("gen.refine_levels", COUNT_OR_NONE, "it counts levels; 0 is no refinement net"),
    ("gen.kernel gen.refine_kernel critic.kernel", EVEN, _HALVING),
    ("gen.lstm_kernel critic.lstm_kernel", ODD, _CENTRED),
    ("gen.bidirectional gen.remat", FLAG, "it is a switch"),
    ("gen.lstm", LSTM, _CHOICE),
    ("gen.resample", RESAMPLE, _CHOICE),
    ("gen.unroll critic.unroll", COUNT, "it counts frames in one turn of the scan"),
    ("gen.dtype critic.dtype", DTYPE, _DTYPE),
    ("gen.input_mean", FINITE, "it is subtracted from every line integral"),
    ("gen.input_scale", POSITIVE, "every line integral is divided by it"),
    ("gen.background_px", WEIGHT, "it is a width; 0 takes nothing off"),
    ("critic.levels critic.base critic.cap critic.group_size", COUNT, _NET),
    ("critic.output", OUTPUT, _CHOICE),
    ("gen_opt.learning_rate critic_opt.learning_rate", POSITIVE, _ADAM),
    ("gen_opt.b1 gen_opt.b2 critic_opt.b1 critic_opt.b2", DECAY, _ADAM),
    ("gen_opt.warmup_steps critic_opt.warmup_steps", COUNT_OR_NONE, _STEPS),
    ("gen_opt.schedule critic_opt.schedule", SCHEDULE, _CHOICE),
    ("gen_opt.clip_norm critic_opt.clip_norm", POSITIVE, _ADAM),
    ("init.parent", PARENT, "the run's networks start from that one's"),
    ("init.frozen", FROZEN, _CHOICE),
    ("loss.l1 loss.ssim loss.iou loss.adversarial", WEIGHT, _WEIGHT),
    ("loss.coarse", WEIGHT, _WEIGHT),
    ("loss.cross_entropy loss.foreground_weight loss.gp_weight", WEIGHT, _WEIGHT),
    ("loss.warmup_steps", COUNT_OR_NONE, _STEPS),
    ("loss.critic_start loss.adv_start", COUNT_OR_NONE, _STEPS),
    ("train.num_steps train.gen_updates train.critic_updates", COUNT, _CADENCE),
    ("train.accumulate", COUNT, "it counts the micro-batches of one update"),
    ("train.log_every train.eval_every train.save_every", COUNT, _CADENCE),
    ("train.keep", COUNT, "without a checkpoint nothing can be resumed"),
    ("train.ema_decay", DECAY, "at 1 the averaged weights never leave their start"),
    ("train.max_skipped train.collapse_after", COUNT_OR_NONE, _STEPS),
    ("evaluation.bootstrap", COUNT, "intervals come from so many resamples"),
    ("evaluation.threshold", FRACTION, "masks are cut at this probability"),
    ("evaluation.stream_lookahead", COUNT_OR_NONE, "it counts frames of delay"),
)
RULES = {key: (rule, why) for keys, rule, why in TABLE for key in keys.split()}


def validate(cfg: Config, *, training: bool = True) -> FrozenConfigDict:
    """The config as a run uses it: checked, and no longer to be changed.

    Args:
        cfg: every value of the run (`configs/base.py`); keys that are younger than a
            stored config are filled in (`fingerprint.ABSENT`).
        training: also check that the batch can be divided over the devices (starts
            JAX).

    Raises:
        UserError: a key that is unknown or missing, a value that is impossible alone
            or together with another.
    """
    cfg = ConfigDict(complete(cfg.to_dict()))
    found = dict(_leaves(cfg))
    _check_keys(found)
    for key, (rule, why) in RULES.items():
        if not rule.accepts(found[key]):
            _refuse_value(key, found[key], rule, why)
    _check_sizes(cfg)
    _check_groups(cfg)
    _check_causal(cfg)
    _check_diameters(cfg)
    _check_collimation(cfg)
    if training:
        check_devices(cfg.data.batch_size)
    return FrozenConfigDict(cfg)


def reads_ahead(cfg: Config) -> bool:
    """Whether the network's answer for a frame depends on later frames."""
    memory = cfg.gen.lstm != "none" and cfg.gen.bidirectional
    return memory or cfg.data.stack not in ("causal", "single")


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word that looks most like this one, if any does."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return close[0] if close else None


def unknown_key(key: str, *, flag: str = "", value: str = "") -> UserError:
    """What to tell a user about a key that no config has.

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


def _leaves(tree: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, ConfigDict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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


def _refuse_value(key: str, value: Any, rule: Rule, why: str) -> None:
    shown = repr(value).replace("\n", " ")
    close = nearest(value, rule.names)
    fix = f"--config.{key}={rule.example if close is None else close}"
    raise UserError(
        f"{key} = {shown}",
        needed=rule.needed,
        why=why,
        fix=f"did you mean {fix}?" if close else f"for example {fix}",
    )


def _check_sizes(cfg: Config) -> None:
    """Every level halves the frame, exactly, and leaves `SMALLEST` pixels a side."""
    levels = {
        "gen.levels": cfg.gen.levels,
        "gen.refine_levels": cfg.gen.refine_levels,
        "critic.levels": cfg.critic.levels,
    }
    for side in ("rows", "cols"):
        size = cfg.study[side]
        most = 0
        while size % 2 ** (most + 1) == 0 and size // 2 ** (most + 1) >= SMALLEST:
            most += 1
        for key, value in levels.items():
            if value <= most:
                continue
            even = max(1, round(size / 2**value)) * 2**value
            even = max(even, SMALLEST * 2**value)
            one = f"--config.{key}={most}, or " if most else ""
            raise UserError(
                f"study.{side} = {size} with {key} = {value}",
                needed=f"{side} divisible by 2^{value} = {2**value}, and at least "
                f"{SMALLEST * 2**value}",
                why=f"each level halves the frame; {SMALLEST} pixels must be left",
                fix=f"{one}--config.study.rows={even} --config.study.cols={even}",
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


def _check_causal(cfg: Config) -> None:
    if cfg.data.stack == "causal" and reads_ahead(cfg):
        raise UserError(
            "data.stack = 'causal' with gen.bidirectional = True",
            needed="a generator that runs forward only, or another stack",
            why="the backward pass reads later frames, so nothing would be causal",
            fix="--config.gen.bidirectional=False, or --config.data.stack=edge",
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
