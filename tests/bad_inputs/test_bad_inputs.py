"""Every bad input ends in four lines that name it, and leaves nothing half-written."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fluoro_jax.errors import UserError


def _rows():
    for path in sorted(Path(__file__).parent.glob("bad_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for row in module.ROWS:
            yield pytest.param(row, id=f"{path.stem.removeprefix('bad_')}-{row.name}")


@pytest.mark.parametrize("bad", list(_rows()))
def test_a_bad_input_is_explained(bad, tmp_path):
    with pytest.raises(UserError) as caught:
        bad.call(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4, lines
    for words in bad.says:
        assert words in str(caught.value), (words, lines)
    assert not [p.name for p in tmp_path.rglob(".new-*")]
