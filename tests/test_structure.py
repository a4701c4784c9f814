"""The layers of the package, the owner of each library, and sizes of files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (  # lowest first; a module imports from its own layer or below
    {"errors", "fingerprint", "choices", "interrupts", "stages"},
    {"devices"},
    {"compiling"},
    {"geometry"},
    {"clip"},
    {"metrics"},
    {"models", "io", "sim"},
    {"studies"},
    {"config_rules"},
    {"config_checks"},
    {"config"},
    {"data"},
    {"training", "tracking"},
    {"evaluation"},
    {"zoo", "report"},
    {"experiments", "patient"},
    {"cli"},
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
OWNERS = {  # library: the only places that may import it
    "orbax": ("fluoro_jax/training/checkpoint.py",),
    "jinja2": ("fluoro_jax/report/",),
    "SimpleITK": ("fluoro_jax/io/",),
    "pydicom": ("fluoro_jax/io/",),
    "torch": ("launch/bench/peers/",),
    "diffdrr": ("launch/bench/peers/",),
    "tensorflow": (),
}
MOST_LINES, MOST_IN_FUNCTION = 400, 50
LISTS = {"configs/base.py: base_config"}  # every value of a run, one a line


def sources(*folders):
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imports(tree):
    """Names of every module that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(module):
    return module.split(".")[1] if "." in module else ""


@pytest.fixture(scope="module")
def trees():
    every = sources("fluoro_jax", "configs", "launch")
    return {
        p.relative_to(ROOT).as_posix(): ast.parse(p.read_text(encoding="utf-8"))
        for p in every
    }


def test_no_package_imports_from_a_layer_above(trees):
    upward = []
    for name, tree in trees.items():
        if not name.startswith("fluoro_jax/") or name == "fluoro_jax/__init__.py":
            continue
        package = Path(name).parts[1].removesuffix(".py")
        for module in imports(tree):
            other = package_of(module) if module.startswith("fluoro_jax.") else ""
            if other in LAYER and LAYER[other] > LAYER[package]:
                upward.append(f"{name} imports {module}")
    assert not upward


def test_every_package_has_a_layer(trees):
    inside = {Path(n).parts[1] for n in trees if n.startswith("fluoro_jax/")}
    packages = {name.removesuffix(".py") for name in inside} - {"__init__"}
    assert packages == set(LAYER), packages ^ set(LAYER)


def test_libraries_have_one_owner(trees):
    wrong = []
    for name, tree in trees.items():
        for library, places in OWNERS.items():
            used = any(m.split(".")[0] == library for m in imports(tree))
            if used and not name.startswith(places or ("nowhere",)):
                wrong.append(f"{name} imports {library}")
    assert not wrong


def test_pmap_is_named_in_one_place(trees):
    calls = [
        name
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "pmap"
    ]
    assert set(calls) == {"fluoro_jax/training/parallel.py"}


def test_files_and_functions_are_short(trees):
    long = []
    for name, tree in trees.items():
        lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                body = _without_docstring(node)
                listed = f"{name}: {node.name}" in LISTS
                if body > MOST_IN_FUNCTION and not listed:
                    long.append(f"{name}: {node.name} has {body} lines")
    assert not long


def _without_docstring(node):
    first = node.body[0]
    text = ast.get_docstring(node, clean=False)
    docstring = first.end_lineno - first.lineno + 1 if text else 0
    return node.end_lineno - node.lineno + 1 - docstring
