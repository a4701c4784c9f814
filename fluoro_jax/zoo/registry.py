"""Trained weights by name: files of the package, read offline, checked at every load.

`zoo.names()` lists them, `zoo.load(name)` reads one, `zoo.tracker(name)` tracks. Each
is `<name>.safetensors` and `<name>.json` (its card, see card.py and cards.py). The card
holds the sha256 of the weights and, in `card_sha256`, its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as to_safetensors

from fluoro_jax.config import validate, with_answer
from fluoro_jax.data.stack import stack_channels
from fluoro_jax.errors import UserError
from fluoro_jax.io.files import write_all
from fluoro_jax.io.tracks import DISCLAIMER
from fluoro_jax.models.generator import Generator
from fluoro_jax.tracking.networks import AnyNetworkTracker, network_tracker
from fluoro_jax.training.precision import make_generator
from fluoro_jax.zoo.calibration import calibration_beside
from fluoro_jax.zoo.card import make_card
from fluoro_jax.zoo.cards import REINSTALL, folder_of, read, sign
from fluoro_jax.zoo.cards import names as names

NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")
DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(jnp.bfloat16)}
MAX_BYTES = {"float32": 10_000_000, "bfloat16": 16_000_000}  # a wheel holds them all
CONFIDENCE = ".confidence.json"  # beside the weights, of `launch.confidence`


@dataclass(frozen=True)
class Weights:
    """A trained generator.

    Attributes:
        cfg: its config, checked and frozen.
        generator: the module, `[B, T, H, W, C] -> GeneratorOutput`, with
            C = stack_channels(cfg.data.stack).
        params: its parameters, float32, whatever they are stored in.
        card: what was measured, and the limits (`card.make_card`).
    """

    cfg: Any
    generator: Generator
    params: Any
    card: dict[str, Any]


def load(name: str, *, folder: str | Path | None = None) -> Weights:
    """Reads and checks weights; nothing is downloaded.

    Args:
        name: one of `names()`.
        folder: where they lie, if not in the package.

    Raises:
        UserError: unknown name, no card, damaged file, parameters of another network.
    """
    card, data = read(name, folder=folder)
    path = folder_of(folder) / f"{name}.safetensors"
    cfg = _read_config(card, name)
    # Built from the card, not from a config file of today, which may have changed.
    generator = make_generator(cfg)
    return Weights(cfg, generator, _read_params(data, generator, cfg, path), card)


def tracker(
    name: str,
    *,
    lookahead_frames: int | None = None,
    answer: str | None = None,
    folder: str | Path | None = None,
) -> AnyNetworkTracker:
    """Returns weights as a tracker of frames like those they were trained on.

    A file `<name>.confidence.json` of `launch.confidence` beside the weights calibrates
    the confidence of a tracker whose answer is "followed".

    >>> from fluoro_jax import zoo
    >>> causal = zoo.tracker("group", lookahead_frames=0)
    >>> causal.causal, causal.window_frames, causal.card["name"]
    (True, 10, 'group')

    Args:
        name: one of `names()`.
        lookahead_frames: frames after t that the answer for t may use; 0 is causal;
            None takes those of the card's first column, whose numbers then apply.
        answer: what of the map is the tumour: "mask", "component" or "followed"; None
            takes the `evaluation.answer` of the card's config.
        folder: where the weights lie, if not in the package.

    Raises:
        UserError: as `load`, a lookahead that the network's window has not, another
            answer, or a calibration that is damaged or of other weights, look-ahead or
            threshold.
    """
    weights = load(name, folder=folder)
    # The first column is the network as it was evaluated.
    own = weights.card["metrics"]["columns"][0]["lookahead_frames"]
    lookahead = own if lookahead_frames is None else lookahead_frames
    cfg = validate(with_answer(weights.cfg, answer), training=False)
    net = weights.generator, weights.params
    make = functools.partial(network_tracker, *net, cfg, lookahead, card=weights.card)
    make()  # a look-ahead that it has not is refused before the calibration's
    path = folder_of(folder) / f"{name}{CONFIDENCE}"
    calibration = calibration_beside(path, cfg, weights.params, lookahead)
    return make(calibration=calibration)


def save(
    name: str,
    cfg: Any,
    *,
    params: Any,
    table: Mapping[str, Any],
    run: Mapping[str, Any],
    dtype: str = "float32",
    folder: str | Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes weights and card.

    Both are written whole and then renamed; between the two renames an older card
    does not agree with the new weights, which `load` refuses.

    Args:
        name: small letters, digits and hyphens.
        cfg: the run's config.
        params: the generator's, float32.
        table: the run's tables/results.json, made from these parameters.
        run: `cases` and `training`, see `card.make_card`.
        dtype: "float32" or "bfloat16", of the file. The card says that its numbers
            were computed in bfloat16 only if `params` are `rounded` already.
        folder: where to, if not into the package.
        overwrite: replace weights of that name.

    Returns:
        Path of the safetensors file.

    Raises:
        UserError: a name or dtype that is not one, a name that is taken, or a file that
            is too large.
    """
    folder = folder_of(folder)
    check_name(name, folder=folder, overwrite=overwrite)
    _check_dtype(dtype)
    data, about = _pack(name, params, dtype)
    card = sign(make_card(name, cfg, weights=about, table=table, run=run))
    text = json.dumps(card, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    # Weights first: until the card follows, the older one refuses them.
    write_all({folder / about["file"]: data, folder / f"{name}.json": text.encode()})
    return folder / about["file"]


def check_name(
    name: str, *, folder: str | Path | None = None, overwrite: bool = False
) -> None:
    """Checks that weights may be written under a name.

    Raises:
        UserError: no legal name; or one that is taken, unless `overwrite`.
    """
    folder = folder_of(folder)
    if not NAME.fullmatch(name):
        _refuse_new_name(name)
    taken = [folder / f"{name}.{end}" for end in ("safetensors", "json")]
    # A card alone, or weights alone, would be half replaced.
    taken = [path for path in taken if path.exists()]
    if taken and not overwrite:
        raise UserError(
            f"{taken[0]} is there already",
            needed="a name that is free, or --overwrite",
            why="published weights are not replaced unasked",
            fix="add --overwrite, or choose another --name",
        )


def _pack(name: str, params: Any, dtype: str) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the safetensors file, and what the card says of it."""
    flat = _flat(jax.device_get(params))
    # NumPy knows bfloat16 by JAX's `ml_dtypes`.
    stored = {key: np.asarray(leaf).astype(dtype) for key, leaf in flat.items()}
    # Exact if the parameters were rounded before their numbers were computed.
    exact = all(np.array_equal(stored[key], leaf) for key, leaf in flat.items())
    data = to_safetensors(stored, {"about": DISCLAIMER})
    _check_size(name, len(data), dtype)
    return data, {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "dtype": dtype,
        "metrics_dtype": dtype if exact else "float32, before rounding to bfloat16",
        "parameters": int(sum(leaf.size for leaf in stored.values())),
    }


def rounded(params: Any, dtype: str = "bfloat16") -> Any:
    """The float32 parameters that come back after a round trip through `dtype`."""
    _check_dtype(dtype)
    cut = lambda leaf: np.asarray(leaf).astype(dtype).astype(np.float32)
    return jax.tree.map(cut, jax.device_get(params))


def _flat(tree: Any) -> dict[str, Any]:
    """Leaves by path, as `coarse/down_0/conv/bias`."""
    return cast(dict[str, Any], flatten_dict(tree, sep="/"))


def _read_config(card: Mapping[str, Any], name: str) -> Any:
    try:
        # Batches and devices are checked for training alone.
        return validate(ConfigDict(card["config"]), training=False)
    except UserError as error:
        raise UserError(
            f"the config in the card of {name}: {error.found}",
            needed=error.needed,
            why=f"the network is built from it, and {error.why}",
            fix=f"use the fluoro_jax that the weights came with; or {REINSTALL}",
        ) from error


def _read_params(data: bytes, generator: Generator, cfg: Any, path: Path) -> Any:
    """Float32 parameters from the file's bytes, each of the shape the network wants."""
    try:
        stored = dict(deserialize(data))
        arrays = {
            key: np.frombuffer(leaf["data"], DTYPES[leaf["dtype"]]).reshape(
                leaf["shape"]
            )
            for key, leaf in stored.items()
        }
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error})",
            needed="a safetensors file of float32 or bfloat16 arrays",
            why="the network's parameters are read from there",
            fix=REINSTALL,
        ) from error
    study = cfg.study
    channels = stack_channels(cfg.data.stack)
    size = (1, study.num_frames, study.rows, study.cols, channels)
    # pyright does not see that Flax makes a module hashable, by its attributes.
    wanted = _shapes(generator, size)  # pyright: ignore[reportArgumentType]
    found = {key: leaf.shape for key, leaf in arrays.items()}
    wrong = sorted(k for k in wanted | found if wanted.get(k) != found.get(k))
    if wrong:
        key = wrong[0]
        raise UserError(
            f"{path}: {key} is {found.get(key, 'absent')}; {len(wrong)} such arrays",
            needed=f"{key} {wanted.get(key, 'absent')}, as the card's config builds it",
            why="the parameters belong to one network and to no other",
            fix=REINSTALL,
        )
    # float32 whatever the file: the file is smaller, the computation the same.
    return unflatten_dict(
        {k: jnp.asarray(v, jnp.float32) for k, v in arrays.items()}, sep="/"
    )


@functools.cache
def _shapes(generator: Generator, clip: tuple[int, ...]) -> dict[str, Any]:
    """Returns the shape of every parameter, for stacked frames of a shape."""
    # By tracing, once a process: the network is not computed.
    stack = jax.ShapeDtypeStruct(clip, jnp.float32)
    tree = jax.eval_shape(generator.init, jax.random.key(0), stack)["params"]
    return {key: leaf.shape for key, leaf in _flat(tree).items()}


def _refuse_new_name(name: str) -> NoReturn:
    # What the name would be, so that the message can be copied.
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    raise UserError(
        f"the name {name!r}",
        needed="small letters and digits, hyphens between them",
        why="it is the name of two files, on any file system",
        fix=f"for example {plain or 'group'}",
    )


def _check_dtype(dtype: str) -> None:
    if dtype not in MAX_BYTES:
        raise UserError(
            f"dtype {dtype!r}",
            needed="one of " + ", ".join(MAX_BYTES),
            why="others lose more than rounding, or are no smaller",
            fix="--dtype=float32",
        )


def _check_size(name: str, size: int, dtype: str) -> None:
    most = MAX_BYTES[dtype]
    if size > most:
        smaller = dtype == "float32" and size / 2 < MAX_BYTES["bfloat16"]
        raise UserError(
            f"{name} would take {size / 1e6:.1f} MB as {dtype}",
            needed=f"at most {most / 1e6:.0f} MB",
            why="the package carries its weights, and is downloaded whole",
            fix="--dtype=bfloat16" if smaller else "a smaller network",
        )
