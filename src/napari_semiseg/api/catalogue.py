"""What there is: methods, and what an image file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def list_methods() -> list[dict[str, Any]]:
    """Return name, title, summary, presets and fields (JSON schema) of every method."""
    from napari_semiseg import methods

    return [
        {
            "name": name,
            "title": methods.get(name).title,
            "summary": methods.get(name).summary,
            "uses_unlabelled": methods.get(name).uses_unlabelled,
            "needs_labels": methods.get(name).needs_labels,
            "presets": {key: dict(values) for key, values in methods.get(name).presets.items()},
            "fields": methods.get(name).model_json_schema()["properties"],
        }
        for name in methods.names()
    ]


def info(image: str | Path, **options: Any) -> dict[str, Any]:
    """Return what is known of an image file: shape, spacing, axes, type, range, format, series, notes."""
    from napari_semiseg import io

    return io.describe(image, **options)
