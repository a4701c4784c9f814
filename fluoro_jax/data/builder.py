"""The studies as a TensorFlow Datasets builder, without TensorFlow.

Stored as ArrayRecord. Importing this file imports tensorflow_datasets (seconds), so
only `dataset.py` does, inside its functions. With this file imported,
`tfds.builder("fluoro_studies/group_smoke", file_format="array_record")` works too.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds

from fluoro_jax.data.codec import encode_frames
from fluoro_jax.sim.fluoroscope import add_tumor, film_body
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.studies import PRESETS, SPLITS, StudyCase, StudySpec, build_study

VERSION = "2.0.0"
OVERLAPS = ("rib", "heart", "spine", "diaphragm")  # what may lie over a tumour
LABELS = ("diameter_mm", "si_mm", "ap_mm")
WORDS = ("lobe", "side", "kind")


@dataclasses.dataclass
class FluoroConfig(tfds.core.BuilderConfig):
    """A study at a size.

    Attributes:
        spec: the study; None stands for the preset of the config's name.
    """

    spec: StudySpec | None = None


class FluoroStudies(tfds.core.GeneratorBasedBuilder):
    """Simulated chest fluoroscopy with the tumour's exact outline and place."""

    VERSION = tfds.core.Version(VERSION)
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "First release: the group study.",
        "2.0.0": "A new phantom; overlap with spine and diaphragm.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        FluoroConfig(name=name, description=f"Preset {name}.", spec=spec)
        for name, spec in PRESETS.items()
    ]
    on_case: Callable[[], Any] = staticmethod(lambda: None)  # after every case

    def _spec(self) -> StudySpec:
        chosen = self.builder_config
        assert isinstance(chosen, FluoroConfig) and chosen.spec is not None
        return chosen.spec

    def _info(self) -> tfds.core.DatasetInfo:
        spec = self._spec()
        film = (spec.num_frames, spec.rows, spec.cols)
        tensor = lambda shape, dtype: tfds.features.Tensor(
            shape=shape, dtype=dtype, encoding="bytes"
        )
        features = {
            "frames": tensor(film, np.uint16),  # see codec.py
            "mask": tensor(film, np.uint8),
            "centroid_px": tensor((spec.num_frames, 2), np.float32),
            "centre_mm": tensor((spec.num_frames, 3), np.float32),
            "time_s": tensor((spec.num_frames,), np.float32),
            **{
                f"{name}_overlap": tensor((spec.num_frames,), np.float32)
                for name in OVERLAPS
            },
            "id": np.int32,
        }
        features |= {name: np.float32 for name in LABELS}
        features |= {name: tfds.features.Text() for name in WORDS}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        cases = build_study(self._spec())
        return {split: self._generate_examples(cases[split]) for split in SPLITS}

    def _generate_examples(
        self, cases: list[StudyCase]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for case in cases:
            yield case.id, render_case(case, self._spec())
            self.on_case()


@functools.partial(jax.jit, static_argnums=4)
def _add_tumor(film: Any, case: Any, geometry: Any, key: Any, photons: float) -> Any:
    return add_tumor(film, case, geometry, photons=photons, key=key)


def render_case(case: StudyCase, spec: StudySpec) -> dict[str, Any]:
    """One case as stored: the film (`uint16`, see codec.py), truth and labels."""
    geometry, film = spec.geometry(), case.case
    key = jax.random.fold_in(jax.random.key(spec.seed), case.id)
    body = film_body(film, geometry, voxel_mm=spec.voxel_mm)
    clip = jax.device_get(_add_tumor(body, film, geometry, key, spec.photons))
    over = jax.device_get(overlap(film, geometry, voxel_mm=spec.voxel_mm))
    return {
        "frames": encode_frames(clip.frames),
        "mask": clip.mask.astype(np.uint8),
        "centroid_px": clip.centroid_px,
        "centre_mm": clip.centre_mm,
        "time_s": clip.time_s,
        **{f"{name}_overlap": over[name] for name in OVERLAPS},
        "id": case.id,
        **{name: case.labels[name] for name in LABELS + WORDS},
    }
