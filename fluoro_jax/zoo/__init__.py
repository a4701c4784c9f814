"""Trained weights by name.

>>> from fluoro_jax import zoo
>>> zoo.names()
['group', 'group-cpu', 'patient-cpu']
"""

from fluoro_jax.zoo.find import find
from fluoro_jax.zoo.registry import (
    Weights,
    WeightsTracker,
    load,
    names,
    save,
    tracker,
)

__all__ = ["Weights", "WeightsTracker", "find", "load", "names", "save", "tracker"]
