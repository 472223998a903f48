"""One optimisation step and the state that makes resuming exact."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from napari_semiseg.data.sampling import Batch
from napari_semiseg.engine.model import portable
from napari_semiseg.methods import Method

# methods.md 12-H: a warm start goes on with 0.3 of the rate after 50 steps of warm-up, ramps restart at half.
_WARM_RATE = 0.3
_WARM_STEPS = 50
_WARM_PROGRESS = 0.5


class Optimisation:
    """The optimiser of a method's networks, its rates over the run, and its precision.

    Parameters
    ----------
    method : Method
    networks : ModuleDict
    dtype : torch.dtype
        bfloat16 trains in mixed precision.
    warm : bool
        The networks come from an earlier round.
    """

    def __init__(self, method: Method, networks: nn.ModuleDict, dtype: torch.dtype, *, warm: bool) -> None:
        self.method, self.networks, self.dtype, self.warm = method, networks, dtype, warm
        self.rates = method.rates()
        groups = [
            {"params": [p for p in networks[name].parameters() if p.requires_grad], "lr": 0.0} for name in self.rates
        ]
        # One kernel for all tensors: four times as fast as the loop on a CPU, where it is some 3 % of a step.
        fused = next(networks.parameters()).device.type in ("cpu", "cuda")
        if method.optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                groups, momentum=0.9, weight_decay=method.weight_decay, fused=fused
            )
        else:
            self.optimiser = torch.optim.AdamW(groups, weight_decay=method.weight_decay, fused=fused)
        self.steps = 0

    def step(self, batch: Batch, progress: float) -> dict[str, float]:
        """Take one step and return the loss terms.

        Raises
        ------
        FloatingPointError
            If the loss is not finite; the networks are left as they were.
        """
        t = _WARM_PROGRESS + (1 - _WARM_PROGRESS) * progress if self.warm else progress
        for group, rate in zip(self.optimiser.param_groups, self.rates.values(), strict=True):
            group["lr"] = rate.at(t)
            if self.warm:
                group["lr"] = rate.base * _WARM_RATE * min(1.0, (self.steps + 1) / _WARM_STEPS) * (1 - progress) ** 0.9
        device = batch.image.device
        self.networks.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, self.dtype) if self.dtype != torch.float32 else nullcontext():
            losses = self.method.losses(self.networks, batch, t)
        total = sum(losses.values(), torch.zeros((), device=device))
        values = dict(zip(losses, torch.stack([x.detach() for x in losses.values()]).tolist(), strict=True))
        if not all(math.isfinite(value) for value in values.values()):
            raise FloatingPointError(f"the loss is not finite: {values}")
        total.backward()
        self.optimiser.step()
        self.method.after_step(self.networks, self.steps)
        self.steps += 1
        return values

    def files(self, further: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the training state as the contents of ``state.safetensors`` and ``state.json``.

        Parameters
        ----------
        further : mapping
            JSON-able values to keep with it, such as the sampler's state.
        """
        tensors: dict[str, Tensor] = {"generator.cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            tensors["generator.cuda"] = torch.cuda.get_rng_state()
        content = self.optimiser.state_dict()
        for index, state in content["state"].items():
            tensors |= {
                f"optimiser.{index}.{name}": value for name, value in state.items() if isinstance(value, Tensor)
            }
        record = {"steps": self.steps, "groups": [len(g["params"]) for g in content["param_groups"]], **further}
        return {"state.safetensors": save(portable(tensors)), "state.json": json.dumps(record).encode()}

    def restore(self, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Go on from the contents that `files` returned; return the further values."""
        tensors = load(files["state.safetensors"])
        record = json.loads(files["state.json"])
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimiser":
                index, _, name = rest.partition(".")
                parameter = parameters[int(index)]
                # The fused kernels go through memory, so what belongs to a weight must be laid out like it.
                laid_out = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
                state.setdefault(int(index), {})[name] = laid_out
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["generator.cpu"])
        if "generator.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["generator.cuda"])
        self.steps = int(record["steps"])
        return record
