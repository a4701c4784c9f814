"""Identity of results: the code, the data files and the config keys that make them.

Code is compared as syntax trees without docstrings, comments, annotations and layout,
so that only a change that can change a number changes a fingerprint. The file's name
is not part of it, and imports from this package count by module name without folder:
moving a file changes nothing. The same code gives the same digest on every Python.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
PACKAGE = ROOT.name
DIGITS = 16  # of each file's sha256 that a record keeps
# Beside what renders the cases (`data.dataset.RENDERERS`) and the weights these decide
# the numbers of an evaluation. Of tracking only what an evaluation runs: it forecasts
# nothing, fits no confidence and has no rival but the blind ones.
SCORERS = (
    *("clip.py", "metrics.py", "geometry.py", "models/**/*.py", "data/stack.py"),
    *("evaluation/**/*.py", "training/nets.py", "training/precision.py"),
    *(f"tracking/{name}.py" for name in ("anchored", "checks", "hypotheses")),
    *(f"tracking/{name}.py" for name in ("learned", "network", "networks")),
    *(f"tracking/{name}.py" for name in ("one_frame", "path", "posterior")),
    *(f"tracking/{name}.py" for name in ("stream", "tracker", "window_answer")),
    *(f"tracking/baselines/{name}.py" for name in ("matching", "phase_prior")),
    *(f"tracking/baselines/{name}.py" for name in ("shape", "static", "template")),
)
# Config keys that change no number of a table: names, cadences, limits that stop a run.
NO_NUMBER = (
    *("name", "choices", "platform", "deterministic"),  # rounding, as the device
    *("train.log_every", "train.eval_every", "train.save_every", "train.keep"),
    *("train.max_skipped", "train.collapse_after"),
)
# Keys that older stored configs lack, and the value that reproduces their behaviour. A
# new config key needs an entry here, or every stored result becomes stale.
ABSENT: dict[str, Any] = {
    "choices": "",
    "data.bodies": "phantom",
    "data.ct_dir": "",
    "data.angles_deg": "",
    "deterministic": False,
    "matmul_precision": "highest",
    "platform": "",
    "data.even_in": "diameter",
    "data.midline_share": 0.0,
    "data.displaced_mm": 0.0,
    "data.randomise": "",
    "evaluation.answer": "mask",
    "evaluation.half_cells": False,
    "evaluation.outline": "frame",
    "evaluation.offset_share": 1.0,
    "gen_opt.schedule": "cosine",
    "critic_opt.schedule": "cosine",
    "loss.log_iou": 0.0,
    "gen.patch": 1,
    "gen.stem": 0,
}
NEW = ""  # in place of a digest before: a file of code that other listed files had
# Digest of a file after an option was added: its digest before. With the option off the
# results are identical. Entries may follow each other; a later change of the file that
# has none ends them (a test says so).
STANDS_FOR = {
    # data.midline_share; docs/experiments.md, "Options that leave earlier results".
    "b954754aa3f8cdf9": "5d4fcfe3e25f00b7",  # data/batches.py
    "2df2b655d6eefaaa": "99275d6f3ea98d36",  # studies/__init__.py: an import of `Any`
    "99275d6f3ea98d36": "7f5cb284b8c10eac",  # studies/__init__.py
    "3dd1031db48a1a3e": "e6ea98ccd008b665",  # studies/group.py
    # data.displaced_mm; as above.
    "ae3228369f1e8e9c": "b954754aa3f8cdf9",  # data/batches.py
    "0a685895b903bab7": "2df2b655d6eefaaa",  # studies/__init__.py
    "49c2eb78ed1e2062": "7b97d388bd2fb150",  # studies/sets.py
    # evaluation.outline and offset_share; as above.
    "d8c4387e6b8f30a1": "bf001ab0a834ad83",  # evaluation/evaluate.py
    "fde279dc64ab5942": "c0763984de897af9",  # tracking/anchored.py
    "c0763984de897af9": "7f32af3678b9dc27",
    "9c5fa26972f6f957": "4fa3989336f62d17",  # training/losses.py: loss.log_iou
    "61cdac11f6676112": "a887de6a49f1b2da",  # tracking/baselines/shape.py
    "2fd24a9863c97c78": "dc7e66a0ea077e86",  # tracking/network.py
    "dc7e66a0ea077e86": "cd4420a0e1baa216",
    # With the option on too: in no scored clip a mask touches the border, an outline
    # vanishes between pixels, or a frame is repeated.
    "cdeefc27aa17c628": "e5c4c3656b641f3e",  # tracking/window_answer.py
    "e5c4c3656b641f3e": NEW,
    # Notes of a table and sentences about it; docs/experiments.md, as above.
    "3c885afc6be80f0d": "4ae8d79a00c66d92",  # evaluation/summary.py
    "9f5f260f63b5887f": "23b9bf68a854f3f9",  # evaluation/tables.py
    # Which frame times are refused; an outline that was given before the first frame.
    "6ae7a4a5782e7c6f": "cecefc15822a8a0f",  # tracking/checks.py
    "0aef0d6f8ae44f27": "017f03106f0ab7e6",  # tracking/posterior.py
    "35ec123a3c9262ab": "3fd9ba78fc10c984",  # tracking/stream.py
    "7a8a424b2627e4ec": "2d783b98c3702165",  # training/loop.py: several processes
    # How a patch is matched, which nothing that the plan scores does.
    "79c8fc62ec4abb10": "52c09095e68c69fd",  # tracking/baselines/matching.py
    "52c09095e68c69fd": "7bec9f5abecee81d",
    "7bec9f5abecee81d": "053f71b453b90d73",
    # A template beside an outline that is moved; without one, as before.
    "787f00c3c2cd4f8f": "0f3d9f825dbe13fd",  # tracking/anchored.py
    "0f3d9f825dbe13fd": "e1f3909ee2b45c68",
    "e1f3909ee2b45c68": "fde279dc64ab5942",
    "868c15455d5a39e6": NEW,  # tracking/baselines/template.py
    "388bcb857aec5f28": "8cf757c03a3e304a",  # evaluation/evaluate.py: its columns
    "8cf757c03a3e304a": "d8c4387e6b8f30a1",
    "54b76f0c04d893aa": NEW,  # training/read_forward.py
    # The clips of a CT were a part of experiments/real_anatomy.py.
    "62d306899739ac8c": "091ff0b682897a72",  # experiments/ct_clips.py
    "19e9fe57863bee44": "8bd64e258cf282d2",  # experiments/compare/clips.py
    # Which uneven breaths are refused (the study `irregular`, whose record was made
    # again); lungs and landmarks of a CT, which no record of the plan rests on.
    "d3f8edc107f66d61": "8f6c8d9ac5555b06",  # sim/placement.py
    "acc38fea26150445": "3dd1031db48a1a3e",  # studies/group.py
    "50fb62d8940166d1": "25a4c8f8cd90378c",  # sim/ct.py
    "e155f3901dc725c3": "19c8fb62fd0e9b06",  # sim/ct_body.py
}
# Keys that older configs have, and the value that means what is done now.
REMOVED: dict[str, Any] = {"gen.unroll": 1, "critic.unroll": 1}
USUAL = {**ABSENT, **REMOVED}


def files(*globs: str) -> dict[str, str]:
    """Returns a digest of every file of the package that a glob finds.

    Args:
        globs: relative to the package; `sim/**/*.py` is recursive. Python files are
            digested as syntax trees, all others byte by byte.

    Returns:
        The first `DIGITS` hexadecimal digits of a sha256, by the file's path relative
        to the package, in order of the paths.
    """
    paths = {path for glob in globs for path in ROOT.glob(glob) if path.is_file()}
    return {path.relative_to(ROOT).as_posix(): _digest(path) for path in sorted(paths)}


def code(*globs: str) -> str:
    """Returns one sha256 over the contents of the files of `files`, not their names.

    Files of `STANDS_FOR` count with the contents that they had.
    """
    found = files(*globs).values()
    before = (_and_before(digest)[-1] for digest in found)
    return _sha256("\n".join(sorted(digest for digest in before if digest != NEW)))


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Returns the names of files whose contents only one of two `files` has, sorted.

    A file that was moved as it is does not count, nor one of today that stands for its
    contents of before (`STANDS_FOR`).
    """
    before = {*old.values(), NEW}
    today = {digest for now in new.values() for digest in _and_before(now)}
    names = {name for name, digest in old.items() if digest not in today}
    fresh = {n for n, now in new.items() if not before & set(_and_before(now))}
    return sorted(names | fresh)


def _and_before(digest: str) -> list[str]:
    """A digest and those that it stands for, the newest first."""
    found = [digest]
    while found[-1] in STANDS_FOR:
        found.append(STANDS_FOR[found[-1]])
    return found


def numbers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a config that change numbers, by key as in `gen.levels`.

    Keys of `ABSENT` and `REMOVED` that have the value given there are left out: a
    config that lacks them and one that has them at that value are the same.

    Args:
        config: nested, as a ConfigDict's `to_dict` gives it or JSON holds it.
    """
    flat = json.loads(json.dumps(dict(leaves(config))))  # a tuple equals its list
    return {
        key: value
        for key, value in sorted(flat.items())
        if key not in NO_NUMBER and not (key in USUAL and USUAL[key] == value)
    }


def different(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple]:
    """Returns (old, new) of every key in which two configs differ and numbers may.

    A key that one of them lacks counts with its value in `USUAL`, or as None.
    """
    before, after = numbers(old), numbers(new)
    value = lambda found, key: found.get(key, USUAL.get(key))
    pairs = {key: (value(before, key), value(after, key)) for key in before | after}
    return {key: pair for key, pair in sorted(pairs.items()) if pair[0] != pair[1]}


def config(values: Mapping[str, Any]) -> str:
    """Returns a sha256 over the `numbers` of a config."""
    return _sha256(json.dumps(numbers(values), sort_keys=True))


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of a nested config with the keys that configs have today.

    Keys of `ABSENT` are added, those of `REMOVED` left out where they say nothing.
    Sections (of one level) that the config does not have stay absent.
    """
    copy = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
    for key, value in ABSENT.items():
        section, _, name = key.rpartition(".")
        place = copy.get(section) if section else copy
        if isinstance(place, dict):
            place.setdefault(name, value)
    for key, value in REMOVED.items():
        section, _, name = key.rpartition(".")
        place = copy.get(section)
        if isinstance(place, dict) and place.get(name) == value:
            del place[name]
    return copy


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (key, value) of nested dicts or ConfigDicts, keys as in `gen.levels`."""
    for key, value in tree.items():
        if hasattr(value, "items"):  # a ConfigDict is no Mapping
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    stamp = path.stat()
    return _digest_of(path, stamp.st_mtime_ns, stamp.st_size)


@functools.lru_cache(maxsize=1024)
def _digest_of(path: Path, changed_ns: int, size: int) -> str:
    del changed_ns, size  # a file that was written again is read again
    data = path.read_bytes()
    if path.suffix == ".py":
        data = "".join(_words(ast.parse(data))).encode()
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def _words(node: Any) -> Iterator[str]:
    """The tree in words. `ast.dump` is not used: it differs between Pythons."""
    if isinstance(node, list):
        yield "["
        for item in node:
            yield from _words(item)
        yield "]"
    elif isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in _fields(node):
            yield f" {name}="
            yield from _words(value)
        yield ")"
    else:
        yield repr(node)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for name, value in ast.iter_fields(node):
        if name in ("ctx", "kind", "type_comment") or value in (None, []):
            continue
        if isinstance(node, ast.arg | ast.FunctionDef | ast.AsyncFunctionDef) and (
            name in ("annotation", "returns")
        ):
            continue
        if isinstance(node, ast.ImportFrom) and name == "module":
            inside = value.split(".")[0] == PACKAGE
            value = value.rpartition(".")[2] if inside else value
        if name == "body" and isinstance(value, list):
            value = [item for item in value if not _is_docstring(item)]
        yield name, value


def _is_docstring(node: ast.AST) -> bool:
    """A string that stands alone does nothing, wherever it stands."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
