"""On which cases the choices of a recipe were made, as configs and records say it."""

from __future__ import annotations

CAPTIONS = {  # value of the config's `choices`: the sentence of a caption
    "": "On which cases choices were made was not recorded.",
    "none": "No choice was made on any case of this study.",
    "validation": "Choices were made on validation cases and on earlier test cases; "
    "none was made on these test cases.",
    "test": "Some choices were made after these test cases had been seen.",
}


def choices_caption(choices: str) -> str:
    """Returns the sentence that a caption prints.

    Args:
        choices: of a record or config, a key of `CAPTIONS`; others count as "".
    """
    return CAPTIONS.get(choices, CAPTIONS[""])
