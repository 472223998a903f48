"""Code blocks of Markdown pages."""

from __future__ import annotations

import re

SHELLS = ("sh", "bash", "console")


def blocks(text: str, *languages: str) -> list[str]:
    """Return the content of the fenced blocks of some languages, in order."""
    found = re.findall(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)
    return [content for language, content in found if language in languages]


def commands(text: str) -> list[str]:
    """Return the shell commands of a page, one per entry, continued lines joined and prompts removed.

    In ``console`` blocks only lines that begin with ``$`` are commands; the others are output.
    """
    found = []
    for language in SHELLS:
        for content in blocks(text, language):
            for line in content.replace("\\\n", " ").splitlines():
                if language == "console" and not line.lstrip().startswith("$"):
                    continue
                for part in line.lstrip(" $").split("&&"):
                    if part.strip() and not part.strip().startswith("#"):
                        found.append(part.strip())
    return found
