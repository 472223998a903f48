from __future__ import annotations

import os
from pathlib import Path

import pytest

# As the command line and the worker do: threads that spin while they wait slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes; tests that use it skip where it is absent."""
    folder = Path(os.environ.get("SEMISEG_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "manifest.json").exists():
        pytest.skip(f"real volumes are not available at {folder} (set SEMISEG_SHARED_DATA)")
    return folder
