from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_sessions import truth, write_image

from napari_semiseg.session import Session, SliceState


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory):
    """Workers leave their logs with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def image(tmp_path) -> Path:
    """An image file."""
    return write_image(tmp_path / "heart.nii.gz")


@pytest.fixture
def session(tmp_path, image) -> Session:
    """A session with one volume of which planes 1 and 4 are complete."""
    session = Session.create(tmp_path / "s.semiseg")
    session.add_class("wall")
    session.add_class("cavity")
    session.remove_class(1)
    record = session.add_volume(image)
    annotation = session.annotation(record.id)
    for plane in (1, 4):
        annotation.set_plane(plane, np.where(truth()[plane] == 0, 255, truth()[plane]).astype(np.uint8))
        annotation.set_state(plane, SliceState.COMPLETE)
    annotation.flush()
    return session
