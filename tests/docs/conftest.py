from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

# The maker of small DICOM series belongs to the readers' tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "io"))


@pytest.fixture(autouse=True)
def _threads_stay():
    """Commands that run in this process choose threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
