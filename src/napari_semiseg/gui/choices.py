"""Small dialogs for what a file leaves open: which series, which time point, what to do with NaN voxels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QApplication,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QListWidget,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from napari_semiseg.errors import ChoiceNeeded, NonFiniteError
from napari_semiseg.io import Volume, read_volume


class ChoiceDialog(QDialog):
    """Offers the choices of a `ChoiceNeeded` in a list; the first one is selected."""

    def __init__(self, needed: ChoiceNeeded, parent: QWidget | None = None):
        super().__init__(parent)
        self.setWindowTitle("Which series?" if needed.parameter == "series" else "Which image?")
        self.values = [value for value, _ in needed.choices]
        self.list = QListWidget()
        self.list.addItems([text for _, text in needed.choices])
        self.list.setCurrentRow(0)
        self.list.itemDoubleClicked.connect(self.accept)
        label = QLabel(str(needed))
        label.setWordWrap(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(label)
        layout.addWidget(self.list)
        layout.addWidget(buttons)
        self.resize(460, 260)

    def choice(self) -> Any:
        """Return the value of the selected choice."""
        return self.values[self.list.currentRow()]


def ask_choice(needed: ChoiceNeeded) -> Any | None:
    """Ask which of several volumes of a file is meant; None when the user cancels."""
    dialog = ChoiceDialog(needed, QApplication.activeWindow())
    return dialog.choice() if dialog.exec() == QDialog.DialogCode.Accepted else None


def ask_replace(problem: NonFiniteError) -> bool:
    """Ask whether voxels that are no numbers shall be replaced."""
    button = QMessageBox.StandardButton
    answer = QMessageBox.question(
        QApplication.activeWindow(),
        "Voxels without a value",
        f"{problem}\n\nReplace these voxels by the image's smallest value and open it?",
        button.Yes | button.Cancel,
        button.Yes,
    )
    return answer == button.Yes


def read_asking(place: Path, **arguments: Any) -> tuple[Volume, bool] | None:
    """Read a volume and ask the user where the file leaves something open.

    Returns
    -------
    (Volume, bool) or None
        The volume, and whether voxels without a value were replaced; None when the user cancelled.

    Raises
    ------
    InputError
        The file cannot be used.
    """
    while True:
        try:
            return read_volume(place, **arguments), bool(arguments.get("replace_nonfinite"))
        except ChoiceNeeded as needed:
            choice = ask_choice(needed)
            if choice is None:
                return None
            arguments[needed.parameter] = choice
        except NonFiniteError as problem:
            if arguments.get("replace_nonfinite") or not ask_replace(problem):
                return None
            arguments["replace_nonfinite"] = True
