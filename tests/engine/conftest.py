from __future__ import annotations

import pytest
from discs import discs


@pytest.fixture
def make_discs():
    """Maker of small volumes with discs."""
    return discs
