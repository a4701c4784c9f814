"""Writes docs/weights.md from the cards. Run: python docs/make_weights.py."""

from __future__ import annotations

from pathlib import Path

from fluoro_jax.zoo import registry as zoo
from fluoro_jax.zoo.card import page

PAGE = Path(__file__).parent / "weights.md"


def main() -> None:
    """Overwrites the page."""
    cards = [zoo.load(name).card for name in zoo.names()]
    PAGE.write_text(page(cards), encoding="utf-8")


if __name__ == "__main__":
    main()
