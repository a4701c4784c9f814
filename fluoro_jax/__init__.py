"""Find and follow a lung tumour in X-ray fluoroscopy, in JAX.

The names below are imported when they are first used, so `import fluoro_jax` is quick
and starts neither JAX nor anything else.

Research software. Not a medical device. Not for clinical use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {  # name: module that holds it
    "Breathing": "fluoro_jax.sim.body.breathing",
    "Case": "fluoro_jax.sim.fluoroscope",
    "Clip": "fluoro_jax.clip",
    "Geometry": "fluoro_jax.geometry",
    "StudySpec": "fluoro_jax.studies",
    "Track": "fluoro_jax.clip",
    "Tracker": "fluoro_jax.tracking.tracker",
    "Tumor": "fluoro_jax.sim.tumor.tumor",
    "UserError": "fluoro_jax.errors",
    "build_study": "fluoro_jax.studies",
    "simulate": "fluoro_jax.sim.fluoroscope",
    "track_clip": "fluoro_jax.tracking.tracker",
    "zoo": "fluoro_jax",
}
__all__ = ["__version__"]
__all__ += sorted(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from fluoro_jax import zoo as zoo
    from fluoro_jax.clip import Clip as Clip
    from fluoro_jax.clip import Track as Track
    from fluoro_jax.errors import UserError as UserError
    from fluoro_jax.geometry import Geometry as Geometry
    from fluoro_jax.sim.body.breathing import Breathing as Breathing
    from fluoro_jax.sim.fluoroscope import Case as Case
    from fluoro_jax.sim.fluoroscope import simulate as simulate
    from fluoro_jax.sim.tumor.tumor import Tumor as Tumor
    from fluoro_jax.studies import StudySpec as StudySpec
    from fluoro_jax.studies import build_study as build_study
    from fluoro_jax.tracking.tracker import Tracker as Tracker
    from fluoro_jax.tracking.tracker import track_clip as track_clip


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fluoro_jax' has no attribute {name!r}")
    home = _PUBLIC[name]
    if home == "fluoro_jax":  # a subpackage
        return importlib.import_module(f"fluoro_jax.{name}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
