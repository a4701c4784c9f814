"""Labels the generator's parameters as trained or frozen in fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from fluoro_jax.errors import UserError

PyTree = Any
TRAIN, FREEZE = "train", "freeze"
STEM = "stem"  # before both networks: their first layer


def labels(params: Mapping[str, Any], frozen: str) -> PyTree:
    """Says of every parameter whether it is trained.

    The same rule for each U-Net of the generator, one of L levels:

    - "nothing": all are trained.
    - "bottom": the two deepest levels down and up and the ConvLSTM at the bottom stay
      (down_{L-1}, down_{L-2}, up_{L-1}, up_{L-2}, lstm_{L-1}). A net of two levels
      keeps its logits alone to train.
    - "ends": the first and last layers stay (down_0, up_0 and the logits).
    - "all_but_last": all stay but the last layers (up_0 and the logits), those of the
      coarse net too, since its logits are part of the answer.

    Args:
        params: `{"coarse": {"down_0": ...}, "refine": ...}`; a generator without
            refinement has the first alone.
        frozen: one of the names above.

    Returns:
        The tree of `params` with `TRAIN` or `FREEZE` for each leaf.

    Raises:
        UserError: for another name.

    Source:
        Peng et al., IEEE TRPMS 2022, froze "the bottom" and tried the other three; how
        many levels that is, they do not say.
    """
    if frozen not in RULES:
        raise UserError(
            f'init.frozen = "{frozen}"',
            needed="one of " + ", ".join(RULES),
            why="it names the layers that fine-tuning leaves as they are",
            fix='init.frozen = "bottom", as the paper did, or "nothing"',
        )
    named: dict[str, PyTree] = {}
    for net, layers in params.items():
        if net == STEM:
            first = frozen in ("ends", "all_but_last")
            named[net] = _filled(layers, FREEZE if first else TRAIN)
            continue
        # The number of levels is read from the tree, so coarse and refinement have the
        # same rule.
        stays = RULES[frozen](sum(name.startswith("down_") for name in layers))
        named[net] = {
            name: _filled(layer, FREEZE if stays(name) else TRAIN)
            for name, layer in layers.items()
        }
    return named


def _filled(layer: PyTree, label: str) -> PyTree:
    return jax.tree.map(lambda _: label, layer)


Rule = Callable[[int], Callable[[str], bool]]  # levels -> (layer -> it stays)
LAST = ("up_0", "logit")


# `up_i` doubles the map that `down_i` halved, so both have the same level's number.
def _bottom(levels: int) -> Callable[[str], bool]:
    deepest = (levels - 1, levels - 2)
    names = {f"{way}_{level}" for way in ("down", "up") for level in deepest}
    return lambda name: name in names | {f"lstm_{levels - 1}"}


RULES: dict[str, Rule] = {
    "nothing": lambda levels: lambda name: False,
    "bottom": _bottom,
    "ends": lambda levels: lambda name: name in ("down_0", *LAST),
    "all_but_last": lambda levels: lambda name: name not in LAST,
}
