"""Trained weights by name.

What needs JAX is imported when it is first used, so that names and cards are quick.

>>> from fluoro_jax import zoo
>>> zoo.names()
['causal-clutter', 'causal-cpu', 'clinic', 'clinic-clutter', 'group', 'one-shot-cpu']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fluoro_jax.zoo.cards import names
from fluoro_jax.zoo.find import find

if TYPE_CHECKING:
    from fluoro_jax.zoo.registry import Weights, load, save, tracker

__all__ = ["Weights", "find", "load", "names", "save", "tracker"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("fluoro_jax.zoo.registry"), name)
