"""Values of flags: whole numbers, and what is none."""

from __future__ import annotations

import pytest

from fluoro_jax.errors import UserError
from fluoro_jax.experiments.flags import whole_number


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("0048", 48), ("9" * 18, 10**18 - 1)]
)
def test_a_whole_number_is_read(text, number):
    assert whole_number("count", text, least=1, why="it counts", example=4) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e3", "²", "ten", "9" * 5000])
def test_what_is_none_is_refused(text):
    with pytest.raises(UserError) as error:
        whole_number("count", text, least=1, why="it counts", example=4)
    assert "--count=4" in str(error.value)
