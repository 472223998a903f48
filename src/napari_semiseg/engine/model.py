"""A trained model: networks and all that is needed to apply them, in safetensors and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from napari_semiseg import __version__, methods
from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.working import WorkingGrid
from napari_semiseg.errors import InputError
from napari_semiseg.methods import Method, Setup

_FORMAT = "napari-semiseg model"
_VERSION = 1
_RETIRED = {"guidance": False, "beyond": "background"}  # settings that every method had in version 0.1
_SAMPLES = {2: "planes", 3: "volumes"}

# A network takes weights over where they fill at least this part of it, so that a chance match of two small layers is
# not called a start from them.
LEAST_SHARE = 0.25


class _Description(BaseModel):
    """What ``model.json`` holds."""

    model_config = ConfigDict(extra="ignore")

    format: str
    version: int
    package: str
    method: str
    settings: dict[str, object]
    class_ids: list[int] = Field(min_length=1, max_length=255)
    class_names: dict[int, str]
    channels: int = Field(ge=1, le=99)
    small: bool
    spacing: float = Field(gt=0, allow_inf_nan=False)
    plane_spacing: float | None = Field(None, gt=0, allow_inf_nan=False)
    planes: int | None = Field(None, ge=1)
    window: tuple[float, float] | None
    segments: bool = True
    """False for pre-trained networks, which predict nothing."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)


@dataclass
class Model:
    """Networks with the settings, classes, grid and intensity scale that they were trained with.

    Attributes
    ----------
    method : Method
    networks : ModuleDict
    setup : Setup
    class_ids : tuple of int
        Class id of each index; the first is 0, background.
    class_names : mapping of int to str
    grid : WorkingGrid
    rule : IntensityRule
    temperature : float
        What probabilities are scaled by (`engine.calibration`); 1 where nothing was held out to fit it on.
    """

    method: Method
    networks: nn.ModuleDict
    setup: Setup
    class_ids: tuple[int, ...]
    class_names: Mapping[int, str]
    grid: WorkingGrid
    rule: IntensityRule
    temperature: float = 1.0

    @classmethod
    def build(
        cls,
        method: Method,
        class_ids: Sequence[int],
        class_names: Mapping[int, str],
        grid: WorkingGrid,
        rule: IntensityRule,
        *,
        small: bool,
    ) -> Model:
        """Build a model with fresh weights."""
        setup = setup_of(method, len(class_ids), grid, small=small)
        names = {int(i): str(class_names.get(i, f"class {i}")) for i in class_ids}
        return cls(method, method.networks(setup), setup, tuple(class_ids), names, grid, rule)

    @property
    def has_disagreement(self) -> bool:
        """Whether predictions come from two sources that may differ: two networks, or a network and a walk."""
        return len(self.method.shares()) > 1 or self.method.walks

    def files(self) -> dict[str, bytes]:
        """Return the model as the contents of ``model.safetensors`` and ``model.json``."""
        description = _Description(
            format=_FORMAT,
            version=_VERSION,
            package=__version__,
            method=self.method.name,
            settings=self.method.model_dump(),
            class_ids=list(self.class_ids),
            class_names=dict(self.class_names),
            channels=self.setup.channels,
            small=self.setup.small,
            spacing=self.grid.spacing,
            plane_spacing=self.grid.plane_spacing,
            planes=self.grid.planes,
            window=self.rule.window,
            segments=self.method.needs_labels,
            temperature=self.temperature,
        )
        return {
            "model.safetensors": save(portable(self.networks.state_dict())),
            "model.json": description.model_dump_json(indent=2).encode(),
        }

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Model:
        """Load a model; no code in the files is ever executed.

        Parameters
        ----------
        path : path
            The folder that holds ``model.safetensors`` and ``model.json``, or either file.
        device : torch.device

        Raises
        ------
        InputError
            If the files are missing, damaged, of a newer version or do not fit each other.
        """
        path = Path(path)
        folder, stem = (path, "model") if path.is_dir() else (path.parent, path.stem)
        description_file, weights_file = folder / f"{stem}.json", folder / f"{stem}.safetensors"
        for file in (description_file, weights_file):
            if not file.is_file():
                raise InputError(
                    f"{file} does not exist; a model is a .safetensors file with a .json file of the same name "
                    "beside it."
                )
        description = _described(description_file)
        method = _method_of(description, description_file)
        model = cls.build(
            method,
            description.class_ids,
            description.class_names,
            WorkingGrid(description.spacing, description.plane_spacing, description.planes),
            IntensityRule(description.window),
            small=description.small,
        )
        model.temperature = description.temperature
        try:
            model.networks.load_state_dict(load_file(weights_file))
        except (SafetensorError, RuntimeError, OSError) as error:
            raise InputError(
                f"The weights in {weights_file} are damaged or do not fit {description_file.name} "
                f"({_first_line(error)}); export the model again."
            ) from None
        model.networks.to(device)
        return model

    def adopt(self, other: Model) -> str | None:
        """Take over another model's weights, class by class (methods.md 12-H).

        Tensors of equal shape are copied; where the first dimension counts classes (and is not by chance as long), rows
        are copied by class id and the rows of new classes keep their fresh values. At least a part of one network has
        to fit.

        Returns
        -------
        str or None
            Why nothing was taken over, or None.
        """
        if other.method.name != self.method.name:
            return f"the last round used {other.method.name}, this one {self.method.name}"
        if other.method.spatial_axes != self.method.spatial_axes:
            return (
                f"the last round looked at {_SAMPLES[other.method.spatial_axes]}, this one at "
                + (_SAMPLES[self.method.spatial_axes])
            )
        mine, theirs = self.networks.state_dict(), other.networks.state_dict()
        rows = [(new, other.class_ids.index(i)) for new, i in enumerate(self.class_ids) if i in other.class_ids]
        same_classes = self.class_ids == other.class_ids
        counting = frozenset[str]() if same_classes else self._counting_classes()
        copies: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for name, tensor in mine.items():
            source = theirs.get(name)
            if source is None or source.dim() != tensor.dim():
                continue
            per_class = (
                name in counting
                and (len(tensor), len(source)) == (self.setup.classes, other.setup.classes)
                and tensor.shape[1:] == source.shape[1:]
            )
            if source.shape == tensor.shape and (same_classes or not per_class):
                copies[name] = [(tensor, source)]
            elif per_class:
                copies[name] = [(tensor[new], source[old]) for new, old in rows]
        if not any(self._fills(name, copies) for name in self.method.rates()):
            return "the networks have other sizes"
        for pairs in copies.values():
            for tensor, source in pairs:
                tensor.copy_(source)
        self.method.after_warm_start(self.networks)
        return None

    def _counting_classes(self) -> frozenset[str]:
        """Return the names of the tensors whose first dimension grows with the number of classes."""
        with torch.random.fork_rng(devices=[]):
            more = self.method.networks(
                setup_of(self.method, self.setup.classes + 1, self.grid, small=self.setup.small)
            )
        grown = more.state_dict()
        return frozenset(
            name
            for name, tensor in self.networks.state_dict().items()
            if name in grown and tensor.dim() > 0 and len(grown[name]) != len(tensor)
        )

    def _fills(self, network: str, copies: Mapping[str, object]) -> bool:
        """Return whether the tensors that fit are more of a network than a chance match of small layers."""
        weights = [(f"{network}.{name}", p.numel()) for name, p in self.networks[network].named_parameters()]
        return sum(size for name, size in weights if name in copies) >= LEAST_SHARE * sum(size for _, size in weights)


def setup_of(method: Method, classes: int, grid: WorkingGrid, *, small: bool) -> Setup:
    """Return what a method's networks are built for."""
    return Setup(
        classes=classes,
        channels=method.channels,
        small=small,
        spacing=(grid.plane_spacing or grid.spacing, grid.spacing, grid.spacing),
        planes=grid.planes,
    )


def portable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies on the CPU; safetensors refuses views and shared memory."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _described(file: Path) -> _Description:
    """Read ``model.json``, or raise an `InputError` that says why it cannot be used."""
    try:
        description = _Description.model_validate_json(file.read_bytes())
        if description.format != _FORMAT:
            raise ValueError("not a napari-semiseg model")
    except (ValidationError, ValueError) as error:
        raise InputError(
            f"{file} does not describe a napari-semiseg model ({_first_line(error)}); export the model again."
        ) from None
    if description.version > _VERSION:
        raise InputError(f"{file} was written by a newer napari-semiseg ({description.package}); update to use it.")
    return description


def _method_of(description: _Description, file: Path) -> Method:
    """Return the method with the settings that the model was trained with."""
    if description.settings.get("guidance") is True:
        raise InputError(
            f"The model in {file} saw a random walk as input, which later versions replaced by walk_teaching; "
            "train a new round."
        )
    try:
        kind = methods.get(description.method)
        known = kind.model_fields
        settings = {k: v for k, v in description.settings.items() if k in known or _RETIRED.get(k, ...) != v}
        return kind.model_validate(settings)
    except ValidationError as error:
        raise InputError(
            f"The settings in {file} do not fit the method {description.method!r} "
            f"({_first_line(error)}); export the model again."
        ) from None


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
    if isinstance(error, json.JSONDecodeError):
        return "it is not JSON"
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")
