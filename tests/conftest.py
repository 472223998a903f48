from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# As the command line and the worker do: threads that spin while they wait slow each other down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep registrations out of the user's cache; tests share them."""
    before = os.environ.get("SEMISEG_CACHE")
    os.environ["SEMISEG_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["SEMISEG_CACHE"]
    else:
        os.environ["SEMISEG_CACHE"] = before


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small tensors are slower on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes; tests that use it skip where it is absent."""
    folder = Path(os.environ.get("SEMISEG_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "manifest.json").exists():
        pytest.skip(f"real volumes are not available at {folder} (set SEMISEG_SHARED_DATA)")
    return folder
