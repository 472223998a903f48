"""Methods and their fields, asked once from a process that may load torch, since this one must not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from napari_semiseg.gui.background import Lane

KINDS = {"integer": "int", "number": "float", "boolean": "bool", "array": "numbers"}


@dataclass(frozen=True)
class FieldSpec:
    """One setting of a method, as a form shows it.

    Attributes
    ----------
    name : str
    kind : str
        ``"int"``, ``"float"``, ``"bool"``, ``"choice"``, ``"numbers"`` (whole numbers), or ``"other"``, which no form
        shows.
    default : object
    low, high : float or None
        Bounds; None where there is none.
    step : float
    choices : tuple of str
    text : str
        What it is, with its unit.
    """

    name: str
    kind: str
    default: Any
    low: float | None = None
    high: float | None = None
    step: float = 1.0
    choices: tuple[str, ...] = ()
    text: str = ""

    @property
    def title(self) -> str:
        """Name for a person."""
        return self.name.replace("_", " ").capitalize()

    @property
    def fixed(self) -> bool:
        """Whether the bounds leave no choice."""
        return len(self.choices) == 1 or (self.low is not None and self.low == self.high)


@dataclass(frozen=True)
class MethodSpec:
    """One method."""

    name: str
    title: str
    summary: str
    fields: tuple[FieldSpec, ...]
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs_labels: bool = True

    def fields_of(self, preset: str, *, small: bool) -> list[FieldSpec]:
        """Return the fields with the defaults of a preset; ``small`` where no GPU helps."""
        key = "product-small" if preset == "product" and small else preset
        values = self.presets.get(key, {})
        return [replace(spec, default=values.get(spec.name, spec.default)) for spec in self.fields]


def field_spec(name: str, schema: Mapping[str, Any]) -> FieldSpec:
    """Return the form field for a property of a JSON schema as pydantic writes it."""
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option.get("type") != "null"]
        schema = {**options[0], **{k: v for k, v in schema.items() if k != "anyOf"}}
    default, text = schema.get("default"), str(schema.get("description", ""))
    if isinstance(default, type(None)) and schema.get("type") in ("integer", "number"):
        # Optional numbers have no value to start from; the model's own default holds.
        return FieldSpec(name, "other", default, text=text)
    if "enum" in schema or "const" in schema:
        choices = tuple(str(value) for value in schema.get("enum", [schema.get("const")]))
        return FieldSpec(name, "choice", default, choices=choices, text=text)
    kind = KINDS.get(str(schema.get("type")), "other")
    if kind == "numbers" and schema.get("items", {}).get("type") != "integer":
        kind = "other"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = sensible_step(default) if kind == "float" else float(schema.get("multipleOf", 1))
    if kind == "int" and "exclusiveMinimum" in schema:
        low = low + 1
    if kind == "float" and "exclusiveMinimum" in schema:
        low = low + step / 10
    return FieldSpec(name, kind, default, low, high, step, text=text)


def sensible_step(value: Any) -> float:
    """Return a tenth of the order of magnitude of a number: 0.002 is changed in steps of 0.0001."""
    if not value:
        return 0.01
    magnitude = float(f"{abs(float(value)):.0e}".replace(f"{abs(float(value)):.0e}"[0], "1", 1))
    return magnitude / 10


def parse(text: str) -> list[MethodSpec]:
    """Read what ``semiseg methods --json`` prints: one object per line."""
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            fields = tuple(field_spec(name, schema) for name, schema in entry["fields"].items())
            title, presets = entry.get("title", entry["name"]), entry.get("presets", {})
            needs_labels = entry.get("needs_labels", True)
            found.append(MethodSpec(entry["name"], title, entry["summary"], fields, presets, needs_labels))
    return found


def ask() -> list[MethodSpec]:
    """Ask for the methods; takes as long as importing torch does."""
    command = [sys.executable, "-m", "napari_semiseg.cli", "methods", "--json"]
    return parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


class Catalogue:
    """The methods, asked for when first wanted and then kept."""

    def __init__(self, lane: Lane):
        self._lane = lane
        self._known: list[MethodSpec] | None = None

    def want(self, then: Callable[[list[MethodSpec]], None]) -> None:
        """Have ``then`` called with the methods."""
        if self._known is not None:
            then(self._known)
            return

        def arrived(methods: list[MethodSpec]) -> None:
            self._known = methods
            then(methods)

        self._lane.run(ask, arrived)
