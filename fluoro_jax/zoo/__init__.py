"""Trained weights by name.

>>> from fluoro_jax import zoo
>>> zoo.names()
['causal-cpu', 'group', 'group-cpu', 'patient-cpu']
"""

from fluoro_jax.zoo.find import find
from fluoro_jax.zoo.registry import (
    Weights,
    load,
    names,
    save,
    tracker,
)

__all__ = ["Weights", "find", "load", "names", "save", "tracker"]
