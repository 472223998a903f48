"""Where and in which precision to compute."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from napari_semiseg.errors import InputError


def choose_device(wish: str = "auto") -> torch.device:
    """Return the device for a wish such as ``auto``, ``cpu``, ``cuda:1`` or ``mps``.

    Raises
    ------
    InputError
        If the machine does not have it.
    """
    if wish == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    kind, _, index = wish.partition(":")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count()
        raise InputError(f"The device {wish!r} was asked for, but torch sees {count} CUDA devices; use auto or cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError("The device 'mps' was asked for, but this machine has none; use auto or cpu.")
    return torch.device(wish)


def choose_precision(wish: str, device: torch.device, *, spatial_axes: int = 2) -> torch.dtype:
    """Return bfloat16 where the hardware computes in it, else float32; ``wish`` overrides.

    A CPU without bfloat16 instructions emulates them and is slower than in float32. Networks of volumes are in float32
    on every CPU, whatever the wish: where a map has two planes, torch 2.13 leaves uninitialised memory in the bfloat16
    gradients of 3³ convolutions.
    """
    if device.type == "cpu" and spatial_axes == 3:
        return torch.float32
    if wish != "auto":
        return torch.bfloat16 if wish == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.bfloat16
    return torch.float32


def _cpu_has_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX; Linux tells, others: no)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_threads(wish: int) -> int:
    """Return the number of CPU threads: all that this process may use, unless told otherwise."""
    if wish:
        return wish
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_small(device: torch.device) -> bool:
    """Return whether the small presets (methods.md 12-G) fit the device."""
    return device.type == "cpu"
