"""The studies as a TensorFlow Datasets builder, without TensorFlow.

Stored as ArrayRecord. Importing this file imports tensorflow_datasets (seconds), so
only `dataset.py` does, inside its functions. With this file imported,
`tfds.builder("fluoro_studies/group_smoke", file_format="array_record")` works too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds

from fluoro_jax.data.codec import encode_frames
from fluoro_jax.sim.visibility import overlap
from fluoro_jax.studies import PRESETS, SPLITS, StudyCase, StudySpec, build_study
from fluoro_jax.studies.render import render_background, render_case
from fluoro_jax.studies.spec import OVERLAPS

# Of the stored form; the code that renders is fingerprinted apart (`dataset.damage`).
VERSION = "2.1.0"
LABELS = ("diameter_mm", "si_mm", "ap_mm", "factor")
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
        "2.1.0": "Each case's own view, set and amplitude factor.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        FluoroConfig(name=name, description=f"Preset {name}.", spec=spec)
        for name, spec in PRESETS.items()
    ]
    # `staticmethod`: a plain function as a class attribute would be bound as a method.
    on_case: Callable[[], Any] = staticmethod(lambda: None)  # after every case

    def _spec(self) -> StudySpec:
        chosen = self.builder_config
        assert isinstance(chosen, FluoroConfig) and chosen.spec is not None
        return chosen.spec

    def _info(self) -> tfds.core.DatasetInfo:
        spec = self._spec()
        clip_shape = (spec.num_frames, spec.rows, spec.cols)
        # Written in a tenth of the time of tfds's default encoding, and as small:
        # ArrayRecord compresses itself.
        tensor = lambda shape, dtype: tfds.features.Tensor(
            shape=shape, dtype=dtype, encoding="bytes"
        )
        features = {
            "frames": tensor(clip_shape, np.uint16),  # see codec.py
            "mask": tensor(clip_shape, np.uint8),
            "centroid_px": tensor((spec.num_frames, 2), np.float32),
            "centre_mm": tensor((spec.num_frames, 3), np.float32),
            "time_s": tensor((spec.num_frames,), np.float32),
            **{
                f"{name}_overlap": tensor((spec.num_frames,), np.float32)
                for name in OVERLAPS
            },
            "id": np.int32,
            "set": np.int32,
            "offset_mm": tensor((2,), np.float32),
            "gantry_deg": np.float32,
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
        self._background = (None, None)
        return {split: self._generate_examples(cases[split]) for split in SPLITS}

    def _generate_examples(
        self, cases: list[StudyCase]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        spec = self._spec()
        for case in cases:
            # Cases of one set follow each other and share a body without its tumour.
            # Exposed frames cannot share one: the panel's noise and scatter are of the
            # whole.
            if self._background[0] != case.background_id and not spec.exposed:
                background = render_background(case.case, case.geometry, spec)
                self._background = (case.background_id, background)
            yield case.id, example_of(case, spec, background=self._background[1])
            self.on_case()


def example_of(
    case: StudyCase, spec: StudySpec, *, background: Any = None
) -> dict[str, Any]:
    """One case as stored: the frames (`uint16`, see codec.py), truth and labels.

    Args:
        case: the case.
        spec: its study.
        background: its body without the tumour if it is at hand, `[T, rows, cols]`.
    """
    geometry = case.geometry
    clip = jax.device_get(render_case(case, spec, background=background))
    over = jax.device_get(overlap(case.case, geometry, voxel_mm=spec.voxel_mm))
    return {
        "frames": encode_frames(clip.frames),
        "mask": clip.mask.astype(np.uint8),
        "centroid_px": clip.centroid_px,
        "centre_mm": clip.centre_mm,
        "time_s": clip.time_s,
        **{f"{name}_overlap": over[name] for name in OVERLAPS},
        "id": case.id,
        "set": case.labels["set"],
        "offset_mm": np.array(geometry.offset_mm, np.float32),
        "gantry_deg": geometry.gantry_deg,
        **{name: case.labels[name] for name in LABELS + WORDS},
    }
