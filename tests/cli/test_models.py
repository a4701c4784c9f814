"""`fluoro models`: what the package's weights say of themselves."""

from __future__ import annotations

import json

from fluoro_jax import zoo
from fluoro_jax.cli.main import main


def test_every_model_is_listed(capsys):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == zoo.names()
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["sha256"] == zoo.load(rows[0]["name"]).card["weights"]["sha256"]


def test_a_card_is_shown_by_name_or_folder(capsys):
    assert main(["models", "group"]) == 0
    assert "Not a medical device" in capsys.readouterr().out
    assert main(["models", str(zoo.registry.FOLDER / "group.safetensors")]) == 0
    assert capsys.readouterr().out.startswith("## group")


def test_no_model_and_several_are_refused(tmp_path, capsys):
    assert main(["models", "grop"]) == 2
    assert "did you mean group" in capsys.readouterr().err
    for folder in (tmp_path, zoo.registry.FOLDER):
        assert main(["models", str(folder)]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 4
