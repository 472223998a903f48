"""Form fields follow from the methods' own bounds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from napari_semiseg import api
from napari_semiseg.gui.catalogue import field_spec, parse, sensible_step


class Example(BaseModel):
    rate: float = Field(2e-3, gt=0, le=1, description="Highest rate")
    crop: int = Field(224, ge=32, le=1024, multiple_of=16, description="Side in pixels")
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="Optimiser")
    flip: bool = Field(True, description="Flip")
    depth: int | None = Field(None, ge=1, le=5, description="Depth")


SPECS = {name: field_spec(name, schema) for name, schema in Example.model_json_schema()["properties"].items()}


def test_bounds_steps_and_choices_are_those_of_the_model():
    assert (SPECS["crop"].kind, SPECS["crop"].low, SPECS["crop"].high, SPECS["crop"].step) == ("int", 32, 1024, 16)
    assert SPECS["optimiser"].choices == ("adamw", "sgd")
    assert SPECS["flip"].kind == "bool"
    assert SPECS["depth"].kind == "other", "a number without a default has nothing to show in a number field"
    assert SPECS["crop"].text == "Side in pixels"


def test_exclusive_bounds_exclude_zero():
    rate = SPECS["rate"]
    assert rate.kind == "float"
    assert 0 < rate.low < rate.step < rate.default


def test_steps_follow_the_size_of_the_default():
    assert sensible_step(2e-3) == 1e-4
    assert sensible_step(0.07) == 1e-3
    assert sensible_step(5.0) == 0.1
    assert sensible_step(0) == 0.01


def test_reads_what_the_command_line_prints():
    import json

    text = "\n".join(json.dumps(entry) for entry in api.list_methods())
    methods = {method.name: method for method in parse(f"a warning\n{text}\n")}
    assert "supervised" in methods
    for method in methods.values():
        assert method.summary
        for preset in ("product", "paper"):
            for spec in method.fields_of(preset, small=True):
                assert spec.text, f"{method.name}.{spec.name} has no description"
                if spec.kind in ("int", "float"):
                    assert spec.low is not None, f"{method.name}.{spec.name} has no lower bound"
                    assert spec.high is not None, f"{method.name}.{spec.name} has no upper bound"
                    assert spec.low <= spec.default <= spec.high
