"""A real napari window with the panel in it, and hands: a mouse and keys that go through Qt."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

pytest.importorskip("napari")

from napari_semiseg.gui.hands import Hands as BareHands


@pytest.fixture(autouse=True)
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of new sessions, so that no test touches the user's documents, cache or settings."""
    folder = tmp_path / "sessions"
    monkeypatch.setenv("SEMISEG_SESSIONS", str(folder))
    monkeypatch.setenv("SEMISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SEMISEG_SETTINGS", str(tmp_path / "settings"))
    return folder


def blob(shape: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy ellipsoid, shape (planes, rows, columns), and its mask."""
    planes, rows, columns = np.indices(shape)
    middle = (np.array(shape) - 1) / 2
    inside = sum(((i - m) / (s * 0.3)) ** 2 for i, m, s in zip((planes, rows, columns), middle, shape, strict=True)) < 1
    image = np.random.default_rng(seed).normal(100, 15, shape) + 80 * inside
    return image.astype(np.int16), inside.astype(np.uint8)


@pytest.fixture
def volume_file(tmp_path: Path) -> Path:
    """A NIfTI file of 12 oblique planes with anisotropic voxels."""
    image, _ = blob((12, 64, 72))
    affine = np.diag([1.5, 1.25, 6.0, 1.0])
    turn = np.deg2rad(20)
    affine[:3, :3] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]] @ affine[:3, :3]
    affine[:3, 3] = (-40, 12.5, 7)
    path = tmp_path / "heart.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(image.transpose(2, 1, 0)), affine), path)
    return path


class Hands(BareHands):
    """Hands that wait as tests do.

    Parameters
    ----------
    viewer : napari.Viewer
    qtbot
    """

    def __init__(self, viewer: Any, qtbot: Any):
        super().__init__(viewer)
        self.qtbot = qtbot

    def fill_circle(self, row: float, column: float, radius: float) -> None:
        """Paint a disc as a person would: its outline in one stroke, then its inside with the fill tool."""
        layer = self.viewer.layers.selection.active
        angles = np.linspace(0, 2 * np.pi, 40)
        layer.mode = "paint"
        layer.brush_size = 3
        self.stroke(*[(row + radius * np.sin(a), column + radius * np.cos(a)) for a in angles])
        layer.mode = "fill"
        self.stroke((row, column))
        layer.mode = "paint"

    def wait(self, condition: Callable[[], Any], timeout: float = 10.0) -> None:
        """Let the application run until a condition holds."""
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=int(timeout * 1000))


@pytest.fixture
def make_panel(make_napari_viewer: Callable, qtbot: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a window with the panel docked: panel, hands."""
    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        pytest.skip("napari draws with OpenGL, which the offscreen platform lacks: use xvfb-run and xcb")
    opened: list[tuple[Any, Hands]] = []

    def make(viewer: Any = None) -> tuple[Any, Hands]:
        from napari_semiseg.gui.panel import dock

        viewer = viewer or make_napari_viewer(show=True)
        viewer.window.resize(1280, 800)
        panel = dock(viewer)
        qtbot.wait(50)
        opened.append((panel, Hands(viewer, qtbot)))
        return opened[-1]

    yield make
    for panel, hands in opened:
        panel.end()
        # pytest keeps the values of fixtures until napari has looked for windows that are still referred to.
        vars(hands).clear()


@pytest.fixture
def opened(make_panel: Callable, volume_file: Path) -> tuple[Any, Hands]:
    """A window with the panel and a volume open, which was dropped there; napari must not ask who reads it."""
    panel, hands = make_panel()
    hands.drop(volume_file)
    hands.wait(lambda: panel.desk.sheet is not None)
    hands.qtbot.wait(100)
    return panel, hands


@pytest.fixture
def make_session(tmp_path: Path, volume_file: Path) -> Callable[[str | Path], Path]:
    """Return a function that makes a session with one annotated slice in a folder."""

    def make(folder: str | Path) -> Path:
        folder = tmp_path / folder
        folder.mkdir(exist_ok=True)
        shutil.copy(volume_file, folder / "heart.nii.gz")
        from napari_semiseg.session import Session, SliceState

        session = Session.create(folder / "heart.semiseg", classes={1: "cavity"})
        annotation = session.annotation(session.add_volume(folder / "heart.nii.gz").id)
        plane = np.full(annotation.said.shape[1:], 255, np.uint8)
        plane[20:40, 20:40] = 1
        annotation.set_plane(6, plane)
        annotation.set_state(6, SliceState.COMPLETE)
        session.close()
        return session.path

    return make


@contextmanager
def held_up(lane: Any) -> Iterator[None]:
    """Keep a background thread busy; work that needs it is done only afterwards."""
    go_on = threading.Event()
    lane.run(go_on.wait)
    try:
        yield
    finally:
        go_on.set()


def waits_of_the_window(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[str]:
    """Return the names, still to come, of functions of the window that call a slow one on its own thread."""
    slow, found = getattr(owner, name), []

    def wrapper(*args: Any, **options: Any) -> Any:
        frame = sys._getframe(1) if threading.current_thread() is threading.main_thread() else None
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("napari_semiseg.gui."):
                found.append(frame.f_code.co_qualname)
                break
            frame = frame.f_back
        return slow(*args, **options)

    monkeypatch.setattr(owner, name, wrapper)
    return found


def open_session(panel: Any, hands: Hands, place: Path) -> Any:
    """Open a session in the panel and wait for it; returns the desk."""
    before = panel.desk.session
    panel.messages.clear_error()
    panel.desk.binder.open(place)
    hands.wait(lambda: panel.desk.session not in (before, None) and panel.desk.sheet is not None, 20)
    hands.qtbot.wait(100)
    assert panel.desk.session.path == place
    assert (panel.desk.sheet.annotation.data[6] == 1).sum() == 400
    return panel.desk
