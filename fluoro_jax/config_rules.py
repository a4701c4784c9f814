"""What every single value of a config may be, and why: data for `config.validate`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fluoro_jax.choices import CAPTIONS


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


def _names(*names: str) -> Rule:
    """A rule for no name, or some names joined by +, each once."""

    def accepts(x: Any) -> bool:
        if not isinstance(x, str):
            return False
        given = x.split("+") if x else []
        return set(given) <= set(names) and len(set(given)) == len(given)

    return Rule(accepts, f'"", or some of {", ".join(names)} joined by +', "")


def _or_empty(rule: Rule, meaning: str) -> Rule:
    """`rule`, or the empty string."""
    accepts = lambda x: rule.accepts(x) or x == ""
    needed = f'{rule.needed}, or "" for {meaning}'
    return Rule(accepts, needed, rule.example, rule.names)


def parse_angles(text: str) -> tuple[float, ...]:
    """Returns the angles of `data.angles_deg`, degrees.

    >>> parse_angles("0,90"), parse_angles("")
    ((0.0, 90.0), ())

    Raises:
        ValueError: for a part that is no number.
    """
    return tuple(float(part) for part in text.split(",")) if text else ()


def _is_angles(x: Any) -> bool:
    try:
        angles = parse_angles(x) if isinstance(x, str) else (math.nan,)
    except ValueError:
        return False
    sides = {round(angle % 360.0, 3) % 360.0 for angle in angles}
    # Each once: 0 and 360 are one side. NaN lies in no range.
    near = all(-360.0 <= angle <= 360.0 for angle in angles)
    return near and len(sides) == len(angles) <= MOST_ANGLES


MOST_ANGLES = 8  # of a patient's tracker: as many as its pool has slots
TEXT = Rule(lambda x: isinstance(x, str) and bool(x), "a name", "run")
FLAG = Rule(lambda x: isinstance(x, bool), "True or False", False)
SEED = _whole(0, 2**32 - 1)
WEIGHT = _number(0, 1e6, 1.0)
DECAY = Rule(_number(0, math.nextafter(1, 0), 0.9).accepts, "at least 0, below 1", 0.9)
FRACTION, SHARE = _number(0.001, 0.999, 0.5), _number(0, 1, 0.25)
COUNT, COUNT_OR_NONE = _whole(1, 10**9, 100), _whole(0, 10**9, 100)
PIXELS = _whole(2, 4096, 96)  # the largest flat panels have 4096 a side
CASES = _whole(1, 10**6, 16)
LONGEST_FRAME_S = 60.0  # ours; a GIF takes at most 655 s a frame
FRAME_S = _number(1e-3, LONGEST_FRAME_S, 0.5, "s")
LEVELS, CHANNELS = _whole(1, 12, 4), _whole(1, 4096, 16)
PATCH, STEM = _whole(1, 16, 4), _whole(0, 4096, 32)
EVEN, ODD = _whole(2, 16, step=2), _whole(1, 15, 3, step=2)
RATE = _number(1e-9, 1.0, 1e-3)
DIAMETER = _number(1.0, 150.0, 20.0, "mm")
DISPLACED = _number(0, 50, 8.0, "mm")
DTYPE = _name("float32", "bfloat16")
MATMUL = _name("highest", "tf32")
PLATFORM = _or_empty(_name("cpu", "gpu", "tpu"), "any")
SOURCE = _name("dataset", "simulator")
ANSWERS = ("mask", "component", "followed")  # of `evaluation.answer`
OUTLINES = ("frame", "clip")  # of `evaluation.outline`
ANSWER = _name(*ANSWERS)
OUTLINE = _name(*OUTLINES)
BODIES = _name("phantom", "ct", "mixed", "patient")
ANGLES = Rule(
    _is_angles, f'"", or up to {MOST_ANGLES} angles of different sides, as 0,90', "0,90"
)
FOLDER = Rule(lambda x: isinstance(x, str), 'a folder, or "" for none', "CTS")
EVEN_IN = _name("diameter", "log_diameter")
APPEARANCE = _names("clutter", "texture", "warp", "mirror", "exposure")
PAST_STACKS = ("causal", "moving_past")  # modes that a stream can make
STACK = _name("wrap", "edge", "single", "moving", *PAST_STACKS)
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
    ("matmul_precision", MATMUL, _CHOICE),
    ("platform", PLATFORM, "a run starts on that kind of device, or not at all"),
    ("deterministic", FLAG, "it keeps XLA to operations that give the same bits"),
    ("study.name", TEXT, "it says which study of fluoro_jax.studies to build"),
    ("study.num_train study.num_val study.num_test", CASES, _SPLIT),
    ("study.rows study.cols", PIXELS, _PIXELS),
    ("study.num_frames", _whole(1, 10_000, 10), _PIXELS),
    ("study.detector_mm", _number(20.0, 2000.0, 480.0, "mm"), "it is a panel's height"),
    ("study.voxel_mm", _number(0.25, 20.0, 4.0, "mm"), _VOXEL),
    ("study.frame_s", FRAME_S, "it is the time between frames"),
    ("study.gantry_deg", _number(-360, 360, 0.0, "degrees"), "it is a gantry angle"),
    ("study.photons", _or_zero(_number(10.0, 1e9, 2e4, "quanta a pixel")), _PHOTONS),
    ("study.collimate", FLAG, "it centres the panel on the tumour's path, or does not"),
    ("data.source", SOURCE, _CHOICE),
    ("data.stack", STACK, _CHOICE),
    ("data.bodies", BODIES, _CHOICE),
    ("data.ct_dir", FOLDER, "CTs for training are read from it"),
    ("data.angles_deg", ANGLES, "a patient's tracker learns these views in turn"),
    ("data.batch_size", _whole(1, 65_536, 4), "it counts the examples of an update"),
    ("data.pool_bodies", _whole(1, 10_000, 16), "it counts the patients in memory"),
    ("data.renew_every", COUNT, _CADENCE),
    ("data.random_start", FLAG, "it starts each cycle at a random phase, or does not"),
    ("data.smallest_mm data.largest_mm", DIAMETER, "it is a tumour's diameter"),
    ("data.even_in", EVEN_IN, _CHOICE),
    ("data.midline_share", SHARE, "it is a share of the training tumours"),
    ("data.displaced_mm", DISPLACED, "training tumours are displaced by it"),
    ("data.randomise", APPEARANCE, _CHOICE),
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
    ("loss.coarse loss.log_iou", WEIGHT, _WEIGHT),
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
    ("evaluation.answer", ANSWER, _CHOICE),
    ("evaluation.half_cells", FLAG, "it also asks for answers moved by half a cell"),
    ("evaluation.outline", OUTLINE, _CHOICE),
    ("evaluation.offset_share", SHARE, "it is a share of the offset in frame 0"),
    ("evaluation.stream_lookahead", _whole(0, 1000, 5), "it counts frames of delay"),
)
RULES = {key: (rule, why) for keys, rule, why in TABLE for key in keys.split()}
