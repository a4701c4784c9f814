"""Values of a config that no run can have."""

from __future__ import annotations

from bad import Bad
from chest import chest_hu

from configs.base import base_config
from fluoro_jax.config import validate
from fluoro_jax.data.batches import SimulatorSource
from fluoro_jax.geometry import Grid
from fluoro_jax.io.ct import write_ct
from fluoro_jax.studies import StudySpec


def _set(*, usual=False, **values):
    def call(folder):
        cfg = base_config("smoke")
        with cfg.ignore_type():
            cfg.update_from_flattened_dict(
                {k.replace("__", "."): v for k, v in values.items()}
            )
        validate(cfg, training=False, usual=base_config("smoke") if usual else None)

    return call


def _studied(name):
    """A study's name is refused where the study is made, after all other checks."""

    def call(folder):
        _set(study__name=name)(folder)
        cfg = base_config("smoke")
        cfg.study.name = name
        StudySpec.from_config(cfg.study)

    return call


def _row(key, value, *words):
    call = _set(**{key.replace(".", "__"): value})
    return Bad(f"{key}={value}", call, (key, *words))


def _cts(*, study="group", ct_dir="", pool=16, bodies="mixed"):
    """Bodies from CTs, in a config that is right otherwise."""
    return _set(
        data__source="simulator",
        data__bodies=bodies,
        data__ct_dir=ct_dir,
        data__pool_bodies=pool,
        study__name=study,
    )


def _opened(make, smallest_mm=20.0):
    """Opens the pool on a folder that `make` fills."""

    def call(folder):
        cfg = base_config("smoke")
        cfg.data.update(source="simulator", bodies="ct", ct_dir=str(make(folder)))
        cfg.data.update(smallest_mm=smallest_mm, largest_mm=150.0)
        SimulatorSource(cfg)

    return call


def _empty(folder):
    (folder / "notes.txt").write_text("no CT")
    return folder


def _cut(folder):
    # From the middle of the lungs on.
    write_ct(folder / "cut.mha", chest_hu(spine=True)[24:], Grid((0, 0, 0), (8,) * 3))
    return folder


def _whole(folder):
    write_ct(folder / "chest.mha", chest_hu(spine=True), Grid((0, 0, 0), (8,) * 3))
    return folder


def _rolled(folder):
    cfg = base_config("smoke")
    cfg.study.name, cfg.data.random_start = "clinic", True
    SimulatorSource(cfg)


ROWS = [
    _row("gen.stem", 8, "gen.patch = 1", "gen.stem=0"),
    _row("init.frozen", "bottom", "without init.parent", "init.frozen=nothing"),
    Bad(
        "half cells without cells",
        _set(evaluation__half_cells=True),
        ("gen.patch = 1", "half_cells=False"),
    ),
    Bad(
        "half cells of an odd side",
        _set(
            evaluation__half_cells=True,
            gen__patch=5,
            gen__stem=8,
            gen__levels=2,
            study__rows=80,
            study__cols=80,
        ),
        ("gen.patch = 5",),
    ),
    Bad(
        "half cells in a stream",
        _set(
            evaluation__half_cells=True,
            gen__patch=2,
            gen__stem=8,
            gen__levels=2,
            gen__bidirectional=False,
            data__stack="causal",
        ),
        ('data.stack = "causal"', "keeps the state of one network"),
    ),
    Bad(
        "one outline of whole masks",
        _set(evaluation__outline="clip"),
        ('evaluation.answer = "mask"', "answer=component"),
    ),
    Bad(
        "one outline, cut above a half",
        _set(
            evaluation__outline="clip",
            evaluation__answer="component",
            evaluation__threshold=0.6,
        ),
        ("evaluation.threshold = 0.6", "threshold=0.5"),
    ),
    Bad(
        "one outline of a stream",
        _set(
            evaluation__outline="clip",
            evaluation__answer="component",
            gen__bidirectional=False,
            data__stack="causal",
        ),
        ('data.stack = "causal"', "no whole clip"),
    ),
    Bad("study.name=grup", _studied("grup"), ("study.name = grup", "one of")),
    _row("study.voxel_mm", 0.0, "0.25 to 20 mm"),
    _row("study.voxel_mm", 1e-4, "0.25 to 20 mm"),
    _row("study.voxel_mm", 1e6, "0.25 to 20 mm"),
    _row("study.detector_mm", 1e-9, "20 to 2000 mm"),
    _row("study.detector_mm", 1e9, "20 to 2000 mm"),
    _row("study.detector_mm", 1900.0, "study.rows = 32", "pixels of 59.4 mm"),
    _row("study.photons", 1e-9, "0, or 10 to 1e+09 quanta a pixel"),
    _row("study.photons", -1.0, "0, or 10"),
    _row("study.photons", 1e30, "0, or 10"),
    _row("study.photons", True, "0, or 10"),
    _row("study.frame_s", 1e9, "0.001 to 60 s"),
    _row("study.gantry_deg", 1e9, "-360 to 360 degrees"),
    _row("study.rows", 10**9, "from 2 to 4096"),
    _row("study.cols", 1, "from 2 to 4096"),
    _row("study.num_frames", 10**9, "from 1 to 10000"),
    _row("study.num_train", 10**9, "from 1 to 1000000"),
    _row("data.batch_size", 10**9, "from 1 to 65536"),
    _row("data.pool_bodies", 10**9, "from 1 to 10000"),
    _row("data.smallest_mm", 1e-6, "1 to 150 mm"),
    _row("data.largest_mm", 1e6, "1 to 150 mm"),
    _row("data.even_in", "log", "log_diameter"),
    _row("data.midline_share", 1.5, "0 to 1"),
    _row("data.midline_share", 0.5, 'data.source = "dataset"', "midline_share=0"),
    _row("data.displaced_mm", -1.0, "0 to 50"),
    _row("data.displaced_mm", 16.0, 'study.name = "group"', "displaced_mm=0"),
    _row("data.randomise", "clutter+clutter", "joined by +"),
    _row("data.randomise", "fog", "clutter, texture, warp, mirror, exposure"),
    _row("data.randomise", "clutter", "stored cases are trained on as they are"),
    _row("data.bodies", "xcat", "phantom, ct, mixed"),
    _row("data.bodies", "ct", "stored cases are phantoms", "data.source=simulator"),
    _row("data.angles_deg", "0,x", "up to 8 angles", "0,90"),
    _row("data.angles_deg", "0,90", 'data.bodies = "phantom"', "angles_deg="),
    _row("data.ct_dir", "cts", 'data.bodies = "phantom"', "data.bodies=mixed"),
    Bad("CTs from nowhere", _cts(), ('data.ct_dir = ""', "a folder of chest CTs")),
    Bad(
        "CTs in a study of sets",
        _cts(study="patient", ct_dir="cts"),
        ('study.name = "patient"', "study of sets"),
    ),
    Bad(
        "every other of one body",
        _cts(ct_dir="cts", pool=1),
        ("data.pool_bodies = 1", "at least 2"),
    ),
    Bad("no folder of CTs", _opened(lambda f: f / "none"), ("no folder", "ct_dir")),
    Bad("no CT in the folder", _opened(_empty), ("no CT in", ".nii.gz", "DICOM")),
    Bad("a CT of half a chest", _opened(_cut), ("cut.mha", "cut the lungs", "lowest")),
    Bad(
        "a lung without room",
        _opened(_whole, smallest_mm=130.0),
        ("chest.mha", "data.smallest_mm = 130 mm"),
    ),
    _row("matmul_precision", "high", "highest, tf32"),
    _row("platform", "cuda", "one of cpu, gpu, tpu"),
    _row("deterministic", 1, "True or False"),
    _row("evaluation.answer", "blob", "mask, component"),
    _row("evaluation.outline", "mean", "frame, clip"),
    _row("evaluation.offset_share", 1.5, "0 to 1"),
    Bad(
        "clips that are not one breath are not rolled",
        _rolled,
        ("data.random_start = False", "clinic"),
    ),
    _row("gen.levels", 10**9, "from 1 to 12"),
    _row("gen.base", 10**9, "from 1 to 4096"),
    _row("gen.kernel", 10**9 + 1, "even number from 2 to 16"),
    _row("gen.input_scale", 1e-30, "0.001 to 1000"),
    _row("gen.background_px", 1e9, "0, or 0.1 to 4096 pixels"),
    _row("gen_opt.learning_rate", 1e9, "1e-09 to 1", "learning_rate=0.001"),
    _row("gen_opt.clip_norm", 0.0, "1e-06 to 1e+06"),
    _row("loss.l1", 1e30, "0 to 1e+06"),
    _row("train.accumulate", 10**9, "from 1 to 4096"),
    _row("train.num_steps", 10**12, "from 1 to 1000000000"),
    _row("evaluation.bootstrap", 10**9, "from 1 to 1000000"),
    Bad(
        "the hint is the config file's own value",
        _set(usual=True, critic_opt__learning_rate=0.0),
        ("the config file has --config.critic_opt.learning_rate=0.0001",),
    ),
]
