"""What is installed: declared dependencies, size, and the time until help appears."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fluoro_jax"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {  # where it is not the module's name with hyphens
    "absl": "absl-py",
    "PIL": "pillow",
    "orbax": "orbax-checkpoint",
}
FOR_DEVELOPERS = {"test", "dev", "peers"}
SPEED = 1.0 if sys.gettrace() is None else 5.0


def declared(requirements):
    return {re.split(r"[\s\[<>=!;~]", line)[0].lower() for line in requirements}


# Scripts in a folder that is no package (tables/make_*.py) are not installed.
MODULES = [p for p in PACKAGE.rglob("*.py") if (p.parent / "__init__.py").exists()]
CORE = declared(PROJECT["dependencies"])
EXTRAS = set().union(
    *(
        declared(lines)
        for name, lines in PROJECT["optional-dependencies"].items()
        if name not in FOR_DEVELOPERS
    )
)


def third_party(names):
    for name in names:
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names and top != "fluoro_jax":
            yield DISTRIBUTIONS.get(top, top.replace("_", "-")).lower()


def imports(path):
    """(distribution, whether inside of a function) of every import of a file."""

    def walk(node, lazy):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((d, lazy) for d in third_party(a.name for a in child.names))
            elif isinstance(child, ast.ImportFrom) and not child.level:
                yield from ((d, lazy) for d in third_party([child.module]))
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, lazy or inner)

    yield from walk(ast.parse(path.read_text("utf-8")), False)


@pytest.mark.parametrize(
    "path", sorted(MODULES), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_every_import_is_a_declared_dependency(path):
    for distribution, lazy in imports(path):
        allowed = CORE | EXTRAS if lazy else CORE
        assert distribution in allowed, f"{distribution} (inside a function: {lazy})"


def test_an_undeclared_import_is_found(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(
        "import chex, jax.numpy\nfrom PIL import Image\nif 1:\n    import torch\n"
        "def f():\n    import SimpleITK\n"
    )
    assert list(imports(path)) == [
        *(("chex", False), ("jax", False), ("pillow", False), ("torch", False)),
        ("simpleitk", True),
    ]
    assert "chex" not in CORE | EXTRAS and "simpleitk" in EXTRAS


def cpu_s(*command):
    """User and system seconds of the quickest of three runs."""
    times = []
    for _ in range(3):
        used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        before = used()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        times.append(used() - before)
    return min(times)


@pytest.mark.multiprocess
def test_help_and_import_are_quick():
    """In CPU time, which other work on the machine changes little."""
    bare = cpu_s(sys.executable, "-c", "pass")
    package = cpu_s(sys.executable, "-c", "import fluoro_jax") - bare
    shown = cpu_s(sys.executable, "-m", "fluoro_jax.cli.main", "--help")
    print(f"import fluoro_jax: {package:.3f} s; fluoro --help: {shown:.3f} s")
    assert package < 0.1 * SPEED
    assert shown < 0.5 * SPEED


def test_the_size_of_what_is_installed():
    """By the rules of pyproject.toml; `.ci/wheel_smoke` builds and installs a wheel."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = config["tool"]["setuptools"]["package-data"]["fluoro_jax"]
    data = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    size = sum(path.stat().st_size for path in data.union(MODULES))
    print(
        f"fluoro_jax installs {size / 1e6:.1f} MB in {len(data) + len(MODULES)} files"
    )
    assert size < 47e6  # six networks of 2 to 8 MB, a patient, and the code
    used = {".html", ".csv", ".json", ".safetensors", ".typed"}
    files = {path for path in PACKAGE.rglob("*") if path.suffix in used}
    assert files <= data
