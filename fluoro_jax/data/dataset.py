"""Stored studies: built when missing, checked when read, rebuilt when damaged.

A dataset is one folder, `<data_dir>/fluoro_studies/<slug>/<version>`, that appears
whole or not at all: it is built beside its place and renamed. `manifest.json` in it
holds the study, a fingerprint of the code that rendered it and the sha256 of every
file; whatever does not agree is rendered again, with a one-line warning.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib
import io
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging as absl_logging
from tqdm import tqdm

from fluoro_jax.clip import Clip
from fluoro_jax.data.codec import decode_frames
from fluoro_jax.errors import UserError
from fluoro_jax.fingerprint import code
from fluoro_jax.stages import timed
from fluoro_jax.studies import SPLITS, StudySpec
from fluoro_jax.studies.spec import OVERLAPS

MANIFEST = "manifest.json"
FLOATS = (
    *("centroid_px", "centre_mm", "time_s"),
    *(f"{name}_overlap" for name in OVERLAPS),
    *("diameter_mm", "si_mm", "ap_mm", "factor", "offset_mm", "gantry_deg"),
)
# Any change of these rebuilds what is stored; comments and docstrings do not count.
RENDERERS = (  # code and data files that decide what a stored case looks like
    *("geometry.py", "studies/**/*.py", "sim/**/*.py", "sim/**/*.csv"),
    *("data/builder.py", "data/codec.py"),
)
_LOG = logging.getLogger("fluoro_jax")


def load_split(spec: StudySpec, data_dir: str | Path, split: str) -> dict[str, Any]:
    """All cases of a split in memory, in the order of their ids.

    Args:
        spec: the study.
        data_dir: where datasets are kept; the study is built there if it is missing,
            damaged, or rendered by other code.
        split: "train", "val" or "test".

    Returns:
        dict of frames `[N, T, H, W]` float32 line integrals [1], mask `[N, T, H, W]`
        uint8 in {0, 1}, centroid_px `[N, T, 2]` (row, column), centre_mm `[N, T, 3]`
        (IEC), time_s `[N, T]`, rib_overlap, heart_overlap, spine_overlap and
        diaphragm_overlap `[N, T]` (fraction of the mask), id and set `[N]` int32,
        diameter_mm, si_mm, ap_mm, factor and gantry_deg `[N]`, offset_mm `[N, 2]` of
        the panel; lobe, side and kind, lists of N words.

    Raises:
        UserError: if the split is unknown, or the data cannot be written.
    """
    if split not in SPLITS:
        raise UserError(
            f'split "{split}"',
            needed="one of " + ", ".join(SPLITS),
            why="a study has these three, disjoint by seed",
            fix='use "test" for the held-out cases',
        )
    folder = ensure_built(spec, data_dir)
    # Three folders up: tfds adds builder, config and version to its data_dir.
    source = _builder(spec, folder.parents[2]).as_data_source(split=split)
    # tfds stores by the hash of the key; ids give the order of the study.
    examples = sorted(source, key=lambda example: int(example["id"]))
    read = lambda name, dtype: np.array([e[name] for e in examples], dtype)
    arrays: dict[str, Any] = {name: read(name, np.float32) for name in FLOATS}
    arrays["frames"] = decode_frames(read("frames", np.uint16))
    arrays["mask"] = read("mask", np.uint8)
    arrays |= {name: read(name, np.int32) for name in ("id", "set")}
    for name in ("lobe", "side", "kind"):
        # tfds answers bytes.
        arrays[name] = [example[name].decode() for example in examples]
    return arrays


def clips_of(arrays: dict[str, Any], spec: StudySpec) -> list[Clip]:
    """Returns the cases of `load_split` as clips with numpy leaves, in the same order.

    Args:
        arrays: of N cases: frames and mask `[N, T, H, W]`, time_s `[N, T]` s,
            centroid_px `[N, T, 2]`, centre_mm `[N, T, 3]`, gantry_deg `[N]`,
            offset_mm `[N, 2]`.
        spec: the study, for the view.
    """
    # The panel and the angle may differ from case to case; rows and columns do not.
    view = lambda i: dataclasses.replace(
        spec.geometry(),
        gantry_deg=float(arrays["gantry_deg"][i]),
        offset_mm=tuple(map(float, arrays["offset_mm"][i])),
    )
    return [
        Clip(
            frames=arrays["frames"][i],
            time_s=arrays["time_s"][i],
            geometry=view(i),
            mask=arrays["mask"][i].astype(np.float32),
            centroid_px=arrays["centroid_px"][i],
            centre_mm=arrays["centre_mm"][i],
            periodic=spec.periodic,
        )
        for i in range(len(arrays["id"]))
    ]


def ensure_built(spec: StudySpec, data_dir: str | Path) -> Path:
    """Returns the folder of the study's dataset, complete and checked.

    Raises:
        UserError: if it has to be written and cannot be.
    """
    # Importing tfds takes seconds, and a finished dataset needs no more than its
    # version.
    from fluoro_jax.data.builder import VERSION

    data_dir = Path(data_dir).absolute()
    home = data_dir / "fluoro_studies" / spec.slug() / VERSION
    # Looked at without the lock first: reading needs no permission to write.
    if damage(home, spec) is None:
        return home
    # The folder before the lock, which is a file in it.
    with _writing_to(data_dir), _lock(data_dir):
        problem = damage(home, spec)  # another process may have built it meanwhile
        if problem is None:
            return home
        if home.exists():
            _LOG.warning("dataset %s: %s; rebuilding it", home, problem)
        for leftover in data_dir.glob(".building-*"):  # of a killed process
            shutil.rmtree(leftover)
        with timed("rendering the study's cases"):
            _build(spec, data_dir, home)
    return home


def damage(home: Path, spec: StudySpec) -> str | None:
    """Returns the defect of a dataset's folder, in a few words, or None."""
    try:
        manifest = json.loads((home / MANIFEST).read_text())
        stored = manifest["files"]
        # In full: the folder's name is only a short form of the study.
        if manifest["study"] != spec.to_json():
            return "holds another study"
        if manifest["fingerprint"] != fingerprint():
            return "was rendered by another version of the code"
    except OSError:
        return "has no manifest"
    except (ValueError, KeyError, TypeError):
        return "has a damaged manifest"
    found = _digests(home)
    for name in sorted(stored.keys() | found.keys()):
        if stored.get(name) != found.get(name):
            return f"{name} is missing, damaged or foreign"
    return None


def fingerprint() -> str:
    """Returns a sha256 over `RENDERERS`; docstrings and comments do not count."""
    return code(*RENDERERS)


def _build(spec: StudySpec, data_dir: Path, home: Path) -> None:
    """Renders the study beside its place, then moves it there as a whole."""
    import tensorflow_datasets as tfds

    # Beside its place, so that moving it is a rename within one file system.
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=data_dir))
    try:
        builder = _builder(spec, scratch)
        total = sum(spec.num_cases().values())
        tfds.disable_progress_bar()  # one bar with an ETA instead of its seven
        with tqdm(
            total=total, desc=f"rendering {spec.slug()}", unit="case", disable=None
        ) as bar:
            builder.on_case = bar.update
            with contextlib.redirect_stdout(io.StringIO()):  # "Downloading ..."
                builder.download_and_prepare()
        folder = Path(builder.data_dir)
        manifest = {
            "study": spec.to_json(),
            "fingerprint": fingerprint(),
            "files": _digests(folder),
        }
        # The manifest last: a folder without it is no dataset.
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
        # Replaced only once the new one is whole.
        if home.exists():
            shutil.rmtree(home)
        home.parent.mkdir(parents=True, exist_ok=True)
        folder.replace(home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def import_tfds() -> None:
    """Imports what stored studies are read with; to be called before threads start.

    While tensorflow_datasets is imported, it answers the imports of every thread with
    modules that load later, and JAX imports while it traces: a compilation beside it
    failed now and then.
    """
    importlib.import_module("tensorflow_datasets")


def _builder(spec: StudySpec, data_dir: Path) -> Any:
    from fluoro_jax.data.builder import FluoroConfig, FluoroStudies

    config = FluoroConfig(name=spec.slug(), description=spec.to_json(), spec=spec)
    level = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)  # every study is a "custom config"
    try:
        return FluoroStudies(
            data_dir=str(data_dir), config=config, file_format="array_record"
        )
    finally:
        absl_logging.set_verbosity(level)


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder but the manifest."""
    files = (p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@contextlib.contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    """One builder a folder at a time; the system frees it if the process dies."""
    # Waits (no LOCK_NB): the other builds what is wanted here, too.
    with open(data_dir / ".lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _writing_to(data_dir: Path) -> Iterator[None]:
    """Turns a folder that cannot be written into an explanation."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError) as error:
        # array_record reports a full disk as a RuntimeError
        if isinstance(error, RuntimeError) and "write() failed" not in str(error):
            raise
        reason = getattr(error, "strerror", None) or str(error).split(";")[0]
        raise UserError(
            f"cannot write the dataset to {data_dir}: {reason}",
            needed="a folder with room that may be written",
            why="a study's cases are rendered once and kept there",
            fix='give another data_dir, or use data.source = "simulator"',
        ) from error
