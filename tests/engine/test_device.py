"""Where and in which precision to compute."""

import pytest
import torch

from napari_semiseg.engine import device
from napari_semiseg.engine.device import choose_device, choose_precision, choose_threads
from napari_semiseg.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize("capable", [True, False])
def test_the_precision_follows_the_cpu_unless_told(monkeypatch, capable):
    monkeypatch.setattr(device, "_cpu_has_bfloat16", lambda: capable)
    assert choose_precision("auto", CPU) == (torch.bfloat16 if capable else torch.float32)
    assert choose_precision("bfloat16", CPU) == torch.bfloat16
    assert choose_precision("float32", CPU) == torch.float32


@pytest.mark.parametrize("wish", ["auto", "bfloat16", "float32"])
def test_networks_of_volumes_are_in_float32_on_a_cpu(wish):
    """The bfloat16 gradient of a 3³ convolution of two planes is uninitialised memory there."""
    assert choose_precision(wish, CPU, spatial_axes=3) == torch.float32


@pytest.mark.parametrize("wish", ["cuda:99", "mps"])
def test_a_device_that_is_not_there_is_refused_by_name(monkeypatch, wish):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"'{wish}' was asked for.*use auto or cpu"):
        choose_device(wish)


def test_without_a_wish_the_cpu_is_used_where_nothing_else_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU


def test_threads_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {0, 5, 7}, raising=False)
    assert choose_threads(0) == 3
    assert choose_threads(1) == 1
