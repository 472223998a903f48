"""What one press of Train asks for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Plan(BaseModel):
    """A frozen, validated request for one training run.

    Attributes
    ----------
    method : str
        A name of `napari_semiseg.methods`, or ``"auto"``.
    minutes, steps : float, int
        The budget: one of the two; two minutes when neither is given.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    precision : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    seed : int
        Same seed, same steps, same machine, CPU: same model.
    preset : str
        ``"product"`` or ``"paper"``.
    settings : dict
        Fields of the method that differ from the preset.
    threads : int
        CPU threads of the training; 0 leaves one core to the screen.
    warm_start : bool
        Continue from the last round where there is one, or start from the last pre-training.
    pretrained : str
        Number of a round, or path of a model, whose networks the run starts from by name and shape; empty for none.
        Then nothing is continued.
    hold_out : bool
        Set annotated slices aside to judge and calibrate the model by (`engine.holdout`); without, as in a final
        training, it learns from all of them.
    volumes : tuple of str
        Ids or names of the volumes of the session that are trained on and predicted; empty for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "auto"
    minutes: float | None = Field(default=None, gt=0, le=14 * 24 * 60)
    steps: int | None = Field(default=None, ge=1, le=10_000_000)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    precision: str = Field(default="auto", pattern=r"^(auto|float32|bfloat16)$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    preset: str = Field(default="product", pattern=r"^(product|paper)$")
    settings: dict[str, Any] = Field(default_factory=dict)
    threads: int = Field(default=0, ge=0, le=1024)
    warm_start: bool = True
    pretrained: str = ""
    hold_out: bool = True
    volumes: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_budget(cls, data: Any) -> Any:
        if isinstance(data, dict):
            if data.get("minutes") is not None and data.get("steps") is not None:
                raise ValueError("Give a budget in minutes or in steps, not both")
            if data.get("minutes") is None and data.get("steps") is None:
                data = {**data, "minutes": 2.0}
        return data
