"""Every method has a card, and the card's table of settings is that of the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from napari_semiseg import methods

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("**When to use it.**", "## Equations", "## Settings", "## Cost", "## Where it differs from the print")
spec = importlib.util.spec_from_file_location("cards", ROOT / "docs" / "cards.py")
cards = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cards)


def test_the_overview_leads_to_every_card():
    overview = (cards.CARDS / "index.md").read_text(encoding="utf-8")
    assert [name for name in methods.names() if f"[`{name}`]({name}.md)" not in overview] == []


@pytest.mark.parametrize("name", methods.names())
def test_the_card_says_all_and_its_settings_are_those_of_the_code(name):
    card = (cards.CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert f"(`{name}`)" in card.splitlines()[0]
    assert [section for section in SECTIONS if section not in card] == []
    assert f"<!-- settings: {name} -->" in card
    assert cards.filled(card) == card, "run: python docs/cards.py"
    for field in methods.get(name).model_fields:
        assert f"\n| `{field}` |" in card
