"""Rules for every value of a config; a run starts only if all are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from ml_collections import ConfigDict, FrozenConfigDict

from fluoro_jax.choices import CAPTIONS
from fluoro_jax.errors import UserError, nearest
from fluoro_jax.fingerprint import complete, leaves

Config: TypeAlias = Any  # a ConfigDict; checkers cannot know its attributes

PIXEL_MM = (0.05, 40.0)  # from mammography's pixels to a test's 16 x 16 panel
SMALLEST = 2  # pixels a side that the lowest level must keep


@dataclass(frozen=True)
class Rule:
    """Describes the values that a key accepts.

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


def _whole(least: int, most: int, example: int | None = None, *, step: int = 1) -> Rule:
    """A rule for whole numbers from `least` to `most`, every `step`-th of them."""

    def accepts(x: Any) -> bool:
        number = isinstance(x, int) and not isinstance(x, bool)
        return number and least <= x <= most and (x - least) % step == 0

    every = "" if step == 1 else " odd" if least % 2 else " even"
    needed = f"a whole{every} number from {least} to {most}"
    return Rule(accepts, needed, least if example is None else example)


def _number(least: float, most: float, example: float, unit: str = "") -> Rule:
    """A rule for finite numbers from `least` to `most`."""

    def accepts(x: Any) -> bool:
        number = isinstance(x, int | float) and not isinstance(x, bool)
        return number and math.isfinite(x) and least <= x <= most

    return Rule(accepts, f"{least:g} to {most:g}{unit and f' {unit}'}", example)


def _or_zero(rule: Rule) -> Rule:
    """`rule`, or zero, which switches the thing off."""
    accepts = lambda x: rule.accepts(x) or (x == 0 and not isinstance(x, bool))
    return Rule(accepts, f"0, or {rule.needed}", rule.example)


def _name(*names: str) -> Rule:
    accepts = lambda x: isinstance(x, str) and x in names
    return Rule(accepts, "one of " + ", ".join(names), names[0], names)


TEXT = Rule(lambda x: isinstance(x, str) and bool(x), "a name", "run")
FLAG = Rule(lambda x: isinstance(x, bool), "True or False", False)
SEED = _whole(0, 2**32 - 1)
WEIGHT = _number(0, 1e6, 1.0)
DECAY = Rule(_number(0, math.nextafter(1, 0), 0.9).accepts, "at least 0, below 1", 0.9)
FRACTION = _number(0.001, 0.999, 0.5)
COUNT, COUNT_OR_NONE = _whole(1, 10**9, 100), _whole(0, 10**9, 100)
PIXELS = _whole(2, 4096, 96)  # the largest flat panels have 4096 a side
CASES = _whole(1, 10**6, 16)
LEVELS, CHANNELS = _whole(1, 12, 4), _whole(1, 4096, 16)
PATCH, STEM = _whole(1, 16, 4), _whole(0, 4096, 32)
EVEN, ODD = _whole(2, 16, step=2), _whole(1, 15, 3, step=2)
RATE = _number(1e-9, 1.0, 1e-3)
DIAMETER = _number(1.0, 150.0, 20.0, "mm")
DTYPE = _name("float32", "bfloat16")
SOURCE = _name("dataset", "simulator")
EVEN_IN = _name("diameter", "log_diameter")
STACK = _name("wrap", "edge", "causal", "single", "moving")
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
_PIXELS = "a clip is an array of frames of a panel's size"
_VOXEL = "it is the side of a body's voxels; a body is about 400 mm wide"
_PHOTONS = "it counts unattenuated quanta a pixel; 0 is noiseless"
_BACKGROUND = "it is the width of the mean that is subtracted; 0 is none"
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
    ("study.num_train study.num_val study.num_test", CASES, _SPLIT),
    ("study.rows study.cols", PIXELS, _PIXELS),
    ("study.num_frames", _whole(1, 10_000, 10), _PIXELS),
    ("study.detector_mm", _number(20.0, 2000.0, 480.0, "mm"), "it is a panel's height"),
    ("study.voxel_mm", _number(0.25, 20.0, 4.0, "mm"), _VOXEL),
    ("study.frame_s", _number(1e-3, 60.0, 0.5, "s"), "it is the time between frames"),
    ("study.gantry_deg", _number(-360, 360, 0.0, "degrees"), "it is a gantry angle"),
    ("study.photons", _or_zero(_number(10.0, 1e9, 2e4, "quanta a pixel")), _PHOTONS),
    ("study.collimate", FLAG, "it centres the panel on the tumour's path, or does not"),
    ("data.source", SOURCE, _CHOICE),
    ("data.stack", STACK, _CHOICE),
    ("data.batch_size", _whole(1, 65_536, 4), "it counts the examples of an update"),
    ("data.pool_bodies", _whole(1, 10_000, 16), "it counts the patients in memory"),
    ("data.renew_every", COUNT, _CADENCE),
    ("data.random_start", FLAG, "it starts each cycle at a random phase, or does not"),
    ("data.smallest_mm data.largest_mm", DIAMETER, "it is a tumour's diameter"),
    ("data.even_in", EVEN_IN, _CHOICE),
    ("gen.levels critic.levels", LEVELS, _NET),
    ("gen.base gen.cap gen.group_size", CHANNELS, _NET),
    ("gen.refine_levels", _whole(0, 12, 3), "it counts levels; 0 is no refinement net"),
    ("gen.kernel gen.refine_kernel critic.kernel", EVEN, _HALVING),
    ("gen.lstm_kernel critic.lstm_kernel", ODD, _CENTRED),
    ("gen.bidirectional", FLAG, "it runs the ConvLSTM both ways in time, or forward"),
    ("gen.remat", FLAG, "it recomputes activations to save memory, or stores them"),
    ("gen.lstm", LSTM, _CHOICE),
    ("gen.resample", RESAMPLE, _CHOICE),
    ("gen.dtype critic.dtype", DTYPE, _DTYPE),
    ("gen.input_mean", _number(-100, 100, 3.0), "it is subtracted from every frame"),
    ("gen.input_scale", _number(1e-3, 1e3, 2.0), "every frame is divided by it"),
    ("gen.background_px", _or_zero(_number(0.1, 4096, 4.0, "pixels")), _BACKGROUND),
    ("gen.patch", PATCH, "frames are cut into cells of that side; 1 is the paper's"),
    ("gen.stem", STEM, "it counts channels of a cell; 0 without cells"),
    ("critic.base critic.cap critic.group_size", CHANNELS, _NET),
    ("critic.output", OUTPUT, _CHOICE),
    ("gen_opt.learning_rate critic_opt.learning_rate", RATE, _ADAM),
    ("gen_opt.b1 gen_opt.b2 critic_opt.b1 critic_opt.b2", DECAY, _ADAM),
    ("gen_opt.warmup_steps critic_opt.warmup_steps", COUNT_OR_NONE, _STEPS),
    ("gen_opt.clip_norm critic_opt.clip_norm", _number(1e-6, 1e6, 1.0), _ADAM),
    ("gen_opt.schedule critic_opt.schedule", SCHEDULE, _CHOICE),
    ("init.parent", PARENT, "the run's networks start from that one's"),
    ("init.frozen", FROZEN, _CHOICE),
    ("loss.l1 loss.ssim loss.iou loss.adversarial", WEIGHT, _WEIGHT),
    ("loss.coarse", WEIGHT, _WEIGHT),
    ("loss.cross_entropy loss.foreground_weight loss.gp_weight", WEIGHT, _WEIGHT),
    ("loss.warmup_steps", COUNT_OR_NONE, _STEPS),
    ("loss.critic_start loss.adv_start", COUNT_OR_NONE, _STEPS),
    ("train.num_steps", COUNT, _STEPS),
    ("train.gen_updates train.critic_updates", _whole(1, 100), _CADENCE),
    ("train.accumulate", _whole(1, 4096), "it counts the micro-batches of an update"),
    ("train.log_every train.eval_every train.save_every", COUNT, _CADENCE),
    ("train.keep", _whole(1, 10_000, 3), "a run resumes from a checkpoint"),
    ("train.ema_decay", DECAY, "at 1 the averaged weights never leave their start"),
    ("train.max_skipped train.collapse_after", COUNT_OR_NONE, _STEPS),
    ("evaluation.bootstrap", _whole(1, 10**6, 10_000), "it counts the resamples"),
    ("evaluation.threshold", FRACTION, "masks are cut at this probability"),
    ("evaluation.stream_lookahead", _whole(0, 1000, 5), "it counts frames of delay"),
)
RULES = {key: (rule, why) for keys, rule, why in TABLE for key in keys.split()}


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
    _check_diameters(cfg)
    _check_start(cfg)
    _check_collimation(cfg)
    if training:
        check_devices(cfg.data.batch_size)
    return FrozenConfigDict(cfg)


def reads_ahead(cfg: Config) -> bool:
    """Returns whether the network's answer for a frame depends on later frames."""
    memory = cfg.gen.lstm != "none" and cfg.gen.bidirectional
    return memory or cfg.data.stack not in ("causal", "single")


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


def _check_start(cfg: Config) -> None:
    from fluoro_jax.studies import STUDIES  # late: it starts JAX

    study = STUDIES.get(cfg.study.name)
    if cfg.data.random_start and study and not study.periodic:
        raise UserError(
            f"data.random_start = True with study.name = {cfg.study.name!r}",
            needed="data.random_start = False",
            why="a clip that is not one whole breath cannot be rolled in time",
            fix="--config.data.random_start=False: its breaths start at any phase",
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
