"""Lists a run's departures from the paper, from the run's config alone."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from fluoro_jax.data.stack import stack_channels
from fluoro_jax.studies import SET_STUDIES

Config = Mapping[str, Any]
# The paper's size, as `configs/base.py` reads it.
PIXELS, LEVELS, STEPS, FRAMES = 256, (7, 5), 10_000, 10
PARAMETERS = 7_606_978  # of the generator at that size: `parameter_count`
LOSSES = dict(l1=100.0, ssim=1.0, iou=1.0, adversarial=1.0)  # eq. 5 and 9 as read


def departures(config: Config) -> list[str]:
    """Returns what differs from the paper, a phrase each: size first, then method."""
    return [*scale_departures(config), *method_departures(config)]


def scale_departures(config: Config) -> list[str]:
    """Returns what is smaller than the paper's: parameters, levels, pixels, steps.

    Args:
        config: a run's, as a plain dictionary.

    Returns:
        Phrases like "5 + 3 levels for 7 + 5"; none at full scale.
    """
    study, gen, steps = config["study"], config["gen"], config["train"]["num_steps"]
    channels = stack_channels(config["data"]["stack"])
    # Fewer parameters only: a wider network than the paper's is no reduced scale.
    found, count = [], parameter_count(gen, channels)
    if count < PARAMETERS:
        ours, paper = count / 1e6, PARAMETERS / 1e6
        found.append(f"{ours:.2f} M parameters for {paper:.1f} M")
    levels = (gen["levels"], gen["refine_levels"])
    if levels[0] < LEVELS[0] or levels[1] < LEVELS[1]:
        found.append("{} + {} levels for {} + {}".format(*levels, *LEVELS))
    rows, cols = study["rows"], study["cols"]
    if rows < PIXELS or cols < PIXELS:
        found.append(f"{rows} x {cols} pixels for {PIXELS} x {PIXELS}")
    if steps < STEPS:
        found.append(f"{steps:,} training steps of {STEPS:,}")
    return found


def method_departures(config: Config) -> list[str]:
    """Returns the departures from the paper's method, whatever the size."""
    gen, found = config["gen"], _data_departures(config)
    if gen.get("patch", 1) > 1:
        found.append("a stem of {0} x {0} pixels".format(gen["patch"]))
    if gen["background_px"] > 0:
        found.append("background-subtracted frames")
    if gen["lstm"] != "all":
        found.append(f"ConvLSTM: {gen['lstm']}")
    if not gen["bidirectional"]:
        found.append("ConvLSTM forward in time only")
    if gen["resample"] != "stride":
        found.append("max pooling and bilinear upsampling for strides")
    if config["init"]["frozen"] not in ("nothing", "bottom"):
        found.append(f"frozen in fine-tuning: {config['init']['frozen']}")
    return [*found, *_training_departures(config), *_answer_departures(config)]


def _data_departures(config: Config) -> list[str]:
    study, data = config["study"], config["data"]
    sets, found = study["name"] in SET_STUDIES, []
    if study["collimate"]:
        found.append("panel centred on the true path (collimate)")
    if (count := study["num_frames"]) != FRAMES:
        ours = "single frames" if count == 1 else f"clips of {count} frames"
        found.append(f"{ours} for clips of {FRAMES}")
    if data["source"] == "simulator":
        sizes = f"tumours of {data['smallest_mm']:g} to {data['largest_mm']:g} mm"
        # In studies of sets body and tumour are fixed; amplitudes alone are drawn
        # afresh.
        drawn = "clips with new amplitudes" if sets else sizes
        found.append(f"fresh simulated {drawn} for stored training cases")
    if data["midline_share"] > 0.0:
        found.append(f"{data['midline_share']:.0%} of them near the midline")
    if data["displaced_mm"] > 0.0:
        found.append(
            f"tumours up to {data['displaced_mm']:g} mm along the body from their place"
        )
    if data["bodies"] != "phantom":
        found.append(f"bodies: {data['bodies']}")
    if data["randomise"]:
        found.append(f"drawn appearance ({data['randomise']})")
    if data["stack"] != "wrap":
        found.append(f"neighbouring frames stacked by {data['stack']!r} for 'wrap'")
    # The paper's sub-group is fine-tuned from its group's network.
    if config["init"]["parent"] and study["name"] != "subgroup":
        found.append(f"started from `{config['init']['parent']}`")
    return found


def _answer_departures(config: Config) -> list[str]:
    asked, found = config["evaluation"], []
    if asked["answer"] == "component":
        found.append("one component of the mask answers")
    if asked["half_cells"]:
        found.append("the mean of four answers moved by half a cell")
    if asked["threshold"] != 0.5:
        found.append(f"masks cut at {asked['threshold']:g}")
    if asked["outline"] == "clip":
        found.append("one outline a clip")
    return found


def _training_departures(config: Config) -> list[str]:
    loss, train = config["loss"], config["train"]
    steps, found = train["num_steps"], []
    # A term from a step on that the run never reaches is a term left out.
    if loss["adv_start"] >= steps or loss["adversarial"] == 0.0:
        found.append("no critic")
    elif config["critic"]["output"] != "sigmoid":
        found.append("linear critic")
    early = "cross-entropy, IoU and its logarithm"
    if loss["log_iou"] == 0.0:
        early = "cross-entropy and IoU"
    if loss["warmup_steps"] >= steps:
        found.append(f"{early} as the only losses")
    elif loss["warmup_steps"]:
        first = loss["warmup_steps"]
        found.append(f"{early} alone for the first {first:,} steps")
    changed = [n for n, weight in LOSSES.items() if loss[n] != weight]
    if changed and loss["warmup_steps"] < steps:
        found.append("other weights of the losses " + ", ".join(changed))
    if loss["cross_entropy"] and loss["warmup_steps"] < steps:
        found.append("cross-entropy beside the paper's losses")
    if loss["log_iou"] > 0.0 and loss["warmup_steps"] < steps:
        found.append("the logarithm of the IoU beside the paper's losses")
    if loss["coarse"] > 0.0:
        found.append("losses on the coarse network's own answer too")
    ratio = (train["gen_updates"], train["critic_updates"])
    if ratio != (2, 1):
        found.append("{} generator to {} critic updates for 2 to 1".format(*ratio))
    return found


def row_name(title: str, recipe: str, config: Config | None) -> str:
    """Returns a part's name in a table; the paper's recipe is named by its scale.

    Args:
        title: of the part.
        recipe: "published" or "ours"; only the former is renamed.
        config: of its record, or None if it was not run.
    """
    if recipe != "published":
        return title
    # Titles are the plan's, written before it was known at what scale a part would run.
    stem = re.sub(r",? (as published|the paper's form).*$", "", title)
    small = config is not None and scale_departures(config)
    return f"{stem}, the paper's form" + (" at reduced scale" if small else "")


def parameter_count(gen: Config, channels: int = 3) -> int:
    """Returns the number of the generator's parameters; nothing is computed.

    Args:
        gen: the config's `gen`, the arguments of `Generator`.
        channels: of a stacked frame.
    """
    # As JSON, since a cached argument must be hashable; sorted, so that equal configs
    # hit.
    return _count(json.dumps(dict(gen), sort_keys=True), channels)


@functools.cache
def _count(gen: str, channels: int) -> int:
    import jax
    import jax.numpy as jnp

    from fluoro_jax.models.generator import Generator

    network = Generator(**json.loads(gen))
    # It is convolutional, so any frame that fits will do.
    side = network.patch * 2 ** (network.levels + 1)
    frames = jax.ShapeDtypeStruct((1, 2, side, side, channels), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), frames)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
