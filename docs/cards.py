"""Fill the tables of settings in the cards of the methods from the code.

    python docs/cards.py

A table stands between ``<!-- settings: NAME -->`` and ``<!-- end -->``; a method's own settings come first.
"""

from __future__ import annotations

import re
from pathlib import Path

from napari_semiseg import methods

CARDS = Path(__file__).parent / "methods"


def table(name: str) -> str:
    """Return the settings of a method with their values in its presets, as a Markdown table."""
    kind = methods.get(name)
    presets = [
        kind.preset("product", small=False).model_dump(),
        kind.preset("product", small=True).model_dump(),
        kind.preset("paper", small=False).model_dump(),
    ]
    shared = methods.Method.model_fields
    fields = [field for field in kind.model_fields if field not in shared] + list(shared)
    lines = ["| setting | product | without a GPU | paper | |", "|---|---|---|---|---|"]
    for field in fields:
        values = " | ".join(shown(preset[field]) for preset in presets)
        lines.append(f"| `{field}` | {values} | {kind.model_fields[field].description} |")
    return "\n".join(lines)


def shown(value: object) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def filled(page: str) -> str:
    """Return a card with its table made anew."""

    def fill(found: re.Match[str]) -> str:
        return f"<!-- settings: {found[1]} -->\n\n{table(found[1])}\n\n<!-- end -->"

    return re.sub(r"<!-- settings: (\w+) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


if __name__ == "__main__":
    for card in sorted(CARDS.glob("*.md")):
        card.write_text(filled(card.read_text(encoding="utf-8")), encoding="utf-8")
