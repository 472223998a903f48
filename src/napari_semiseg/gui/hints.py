"""What to do next, in one sentence that follows the state of the desk, and which of these sentences were dismissed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_semiseg.errors import SemisegError
from napari_semiseg.gui.outlook import Facts
from napari_semiseg.gui.training import Phase
from napari_semiseg.session.storage import read_json, write_json

if TYPE_CHECKING:
    from napari_semiseg.gui.desk import Desk

GOOD_START = 5
"""Annotated slices after which the hints speak of training instead of painting."""
CORRECTED = 3
"""Slices edited since the last round after which they speak of training again."""

TEXTS = {
    "open": "Open a volume: drop an image file on the window, press “Add volume…”, or take one of File > Open Sample.",
    "label": "Select a class and paint it fully on one slice: what you leave unpainted there is background.",
    "spread": "Paint more slices, spread over the volume: five are a good start. Training works from one slice on.",
    "train": "Press Train: a model learns from your slices in the background, and you can go on painting.",
    "prepare": "The training is being prepared: the progress bar tells how far it is. You can go on painting.",
    "wait": "The model is learning. Go on painting, or watch the prediction of the shown slice get better.",
    "review": "Go to the Review tab: see where the model is unsure, then accept the slice or correct it.",
    "retrain": "You edited several slices since the last round: press Retrain, and the model learns from them.",
    "export": "If the prediction is as you want it, write the masks in the Export tab; else correct more slices.",
}
"""The hints by name."""


def hint(facts: Facts, edited: int) -> str:
    """Return the name of the hint for a state.

    Parameters
    ----------
    facts : Facts
    edited : int
        Slices that were edited since the last round began.
    """
    if facts.volumes == 0:
        return "open"
    if facts.phase.active:
        if facts.annotated == 0 and facts.phase is not Phase.TRAINING:
            return "label"
        return "prepare" if facts.phase in (Phase.STARTING, Phase.PREPARING) else "wait"
    if facts.annotated == 0:
        return "label"
    if facts.rounds == 0:
        return "spread" if facts.annotated < GOOD_START else "train"
    if edited >= CORRECTED:
        return "retrain"
    return "review" if edited == 0 or not facts.predicted else "export"


def settings_file() -> Path:
    """Return where the panel remembers: the user's configuration, or ``$SEMISEG_SETTINGS``."""
    from platformdirs import user_config_path

    folder = os.environ.get("SEMISEG_SETTINGS") or user_config_path("napari-semiseg", appauthor=False)
    return Path(folder) / "hints.json"


class Hints:
    """Follows the desk and remembers, across sessions, what was dismissed.

    Signals
    -------
    changed(text)
        The sentence to show, empty for none.
    """

    changed = Signal(str)

    def __init__(self, desk: Desk):
        self.desk = desk
        self.dismissed = self._read()
        self.name = ""
        self._edited: set[tuple[int, int]] = set()
        desk.keeper.edited.connect(self._on_edited)
        desk.training.began.connect(self._on_began)
        for signal in (desk.volumes_changed, desk.volume_changed, desk.slices_changed, desk.session_changed):
            signal.connect(self.refresh)
        desk.training.changed.connect(self.refresh)
        desk.prediction_changed.connect(self.refresh)
        desk.history.changed.connect(self.refresh)

    @property
    def text(self) -> str:
        """The sentence to show; empty where it was dismissed."""
        return "" if self.name in self.dismissed else TEXTS.get(self.name, "")

    def refresh(self) -> None:
        """Follow the state of the desk."""
        if self.desk.closed:
            return
        name = hint(self.desk.runs.facts(), len(self._edited))
        if name != self.name:
            self.name = name
            self.changed.emit(self.text)

    def dismiss(self) -> None:
        """Do not show this hint again, in this session or another."""
        self._remember(self.dismissed | {self.name})

    def dismiss_all(self) -> None:
        """Show no hints at all any more."""
        self._remember(set(TEXTS))

    def bring_back(self) -> None:
        """Show all hints again."""
        self._remember(set())

    def _remember(self, dismissed: set[str]) -> None:
        self.dismissed = dismissed
        self.changed.emit(self.text)
        place = settings_file()
        with suppress(OSError, SemisegError):  # then it is remembered until napari is closed
            place.parent.mkdir(parents=True, exist_ok=True)
            write_json(place, {"dismissed": sorted(dismissed)}, durable=False)

    @staticmethod
    def _read() -> set[str]:
        with suppress(SemisegError, KeyError, TypeError, json.JSONDecodeError):
            return {str(name) for name in read_json(settings_file())["dismissed"]}
        return set()

    def _on_edited(self, planes: list[int]) -> None:
        sheet = self.desk.sheet
        if sheet is not None:
            self._edited |= {(id(sheet.entry), plane) for plane in planes}
            self.refresh()

    def _on_began(self) -> None:
        self._edited.clear()
