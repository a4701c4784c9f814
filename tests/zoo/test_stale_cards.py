"""A card says so when its numbers are those of other code than that of now."""

from __future__ import annotations

from fluoro_jax import fingerprint
from fluoro_jax.data.dataset import RENDERERS
from fluoro_jax.fingerprint import SCORERS
from fluoro_jax.zoo import registry as zoo
from fluoro_jax.zoo.card import card_markdown
from fluoro_jax.zoo.cards import DECIDE_NUMBERS, stale


def test_the_files_that_decide_numbers_are_those_of_the_evaluation():
    assert (*RENDERERS, *SCORERS) == DECIDE_NUMBERS


def test_a_card_is_stale_once_the_simulator_has_changed():
    card = dict(zoo.load("group").card)
    card.pop("fingerprint", None)
    assert "before fingerprints were recorded" in card_markdown(card)
    card["fingerprint"] = fingerprint.files(*RENDERERS, *SCORERS)
    assert stale(card) == "" and "**Stale.**" not in card_markdown(card)
    card["fingerprint"]["sim/fluoroscope.py"] = "0" * fingerprint.DIGITS
    assert "earlier version" in stale(card)
    assert f"**Stale.** {stale(card)}" in card_markdown(card)
