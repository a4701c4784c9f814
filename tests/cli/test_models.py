"""`fluoro models`: what the package's weights say of themselves."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fluoro_jax import zoo
from fluoro_jax.cli.main import main
from fluoro_jax.zoo import cards


@pytest.mark.parametrize("words", [[], ["list"]])
def test_every_model_is_listed(words, capsys):
    assert main(["models", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == zoo.names()
    assert main(["models", *words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["sha256"] == zoo.load(rows[0]["name"]).card["weights"]["sha256"]
    assert [row["stale"] for row in rows] == [
        cards.stale(cards.read(name)[0]) for name in zoo.names()
    ]


def test_the_list_starts_no_jax():
    code = (
        "import sys; from fluoro_jax.cli.main import main; code = main(['models']);"
        "assert not {'jax', 'flax'} & set(sys.modules); sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_card_is_shown_by_name_or_folder(capsys):
    for words in (["show", "group"], ["group"]):
        assert main(["models", *words]) == 0
        assert "Not a medical device" in capsys.readouterr().out
    assert main(["models", "show", str(cards.FOLDER / "group.safetensors")]) == 0
    assert capsys.readouterr().out.startswith("## group")
    assert main(["models", "show", "group", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == zoo.load("group").card


def test_no_model_and_several_are_refused(tmp_path, capsys):
    assert main(["models", "show", "grop"]) == 2
    assert "did you mean group" in capsys.readouterr().err
    for folder in (tmp_path, cards.FOLDER):
        assert main(["models", "show", str(folder)]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 4


@pytest.mark.parametrize("words", [["show"], ["list", "a"], ["a", "b"], ["show", ""]])
def test_words_that_are_no_command_are_refused(words, capsys):
    assert main(["models", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4 and "`fluoro models show NAME`" in lines[1]


def test_a_name_that_is_too_long_is_not_blamed_on_a_switch(capsys):
    assert main(["models", "a" * 300]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "--json" not in lines[3]
