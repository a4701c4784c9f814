"""Which weights a user means: a name of the package, or files of their own."""

from __future__ import annotations

from pathlib import Path

from fluoro_jax.errors import UserError
from fluoro_jax.zoo.cards import names


def find(model: str) -> tuple[str, Path | None]:
    """Returns name and folder of weights that a user names.

    Args:
        model: one of `names()`, or the path of a `.safetensors` file or of a folder
            that holds one, as `fluoro fit` writes.

    Raises:
        UserError: a folder without weights, or with several.
    """
    path = Path(model).expanduser()
    if path.suffix == ".safetensors":
        return path.stem, path.parent
    # A name is no path, even where a folder of that name stands by chance.
    if model in names() or not path.is_dir():
        return model, None
    found = names(folder=path)
    if len(found) != 1:
        raise UserError(
            f"{len(found)} models in {path}",
            needed="one .safetensors file with its card, as `fluoro fit` writes",
            why="the clip is tracked with one network",
            fix=f"name the file: {path / found[0]}.safetensors"
            if found
            else "the folder of a fit that has ended, or a name of the package",
        )
    return found[0], path
