"""The pages say commands that parse and name files that exist."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
PATH = Path(__file__).parents[1] / "docs" / "check_commands.py"
SPEC = importlib.util.spec_from_file_location("check_commands", PATH)
script = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(script)


def test_every_command_parses_and_every_file_is_there():
    assert script.problems() == []


def test_what_is_wrong_is_found():
    assert "no target quickstrat" in script.check("make quickstrat")
    assert "nobody" in script.check("python -m launch.train --config=configs/nobody.py")
    assert script.check("python -m launch.nothing")
    assert script.check("fluoro simulate --casses 3")
    assert script.check("python docs/nothing.py")
    assert not script.check("make test")
    assert list(script.links("[a](b.md#c) and `configs/base.py`")) == [
        "b.md",
        "configs/base.py",
    ]


def test_commands_are_read_from_blocks_and_inline():
    page = "```\nmake test  # slow\npython -m x \\\n  --a=1\n```\nand `fluoro doctor`."
    assert list(script.commands(page)) == [
        "make test",
        "python -m x    --a=1",
        "fluoro doctor",
    ]
