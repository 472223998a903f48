"""What a file leaves open is asked in a dialog: by mouse, in the real window."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QDialogButtonBox, QMessageBox
from small_files import save_dicom

from napari_semiseg.gui.choices import ChoiceDialog

pytestmark = pytest.mark.gui


@pytest.fixture
def answer(qtbot):
    """Return a function that clicks through the next dialog: a row of its list (or None), and one of its buttons.

    It returns a list that will hold the dialog's text and its choices.
    """
    timers = []

    def prepare(row, which):
        seen = []
        timer = QTimer()
        timer.setInterval(50)

        def look():
            dialog = QApplication.activeModalWidget()
            if dialog is None:
                return
            timer.stop()
            if isinstance(dialog, ChoiceDialog):
                seen.extend(dialog.list.item(i).text() for i in range(dialog.list.count()))
                place = dialog.list.visualItemRect(dialog.list.item(row)).center()
                qtbot.mouseClick(dialog.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
                buttons = dialog.findChild(QDialogButtonBox)
            else:
                assert isinstance(dialog, QMessageBox)
                seen.append(dialog.text())
                buttons = dialog
            qtbot.mouseClick(buttons.button(which), Qt.MouseButton.LeftButton)

        timer.timeout.connect(look)
        timer.start()
        timers.append(timer)
        return seen

    yield prepare
    assert not any(timer.isActive() for timer in timers), "no dialog was shown"


def save(path, array):
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


def test_a_folder_of_two_series_asks_which(make_panel, answer, tmp_path):
    panel, hands = make_panel()
    planes = np.arange(6 * 20 * 24, dtype=np.int16).reshape(6, 20, 24)
    save_dicom(tmp_path / "study", planes, uid="1.2.3", names=[f"a{i}" for i in range(6)])
    save_dicom(tmp_path / "study", planes[:4] + 5, uid="1.2.4", names=[f"b{i}" for i in range(4)])
    seen = answer(1, QDialogButtonBox.StandardButton.Open)
    panel.viewer.open(str(tmp_path / "study"), plugin="napari-semiseg")
    hands.wait(lambda: panel.desk.sheet is not None)
    assert len(seen) == 2
    np.testing.assert_array_equal(panel.desk.sheet.image.data, planes[:4] + 5 - 1024)


def test_a_volume_of_several_times_asks_which(make_panel, answer, tmp_path):
    panel, hands = make_panel()
    values = np.random.default_rng(0).integers(0, 500, (20, 24, 6, 3)).astype(np.int16)
    seen = answer(2, QDialogButtonBox.StandardButton.Open)
    panel.viewer.open(str(save(tmp_path / "cine.nii.gz", values)), plugin="napari-semiseg")
    hands.wait(lambda: panel.desk.sheet is not None)
    assert len(seen) == 3
    shown = panel.desk.sheet.image.data
    np.testing.assert_array_equal(np.sort(shown, axis=None), np.sort(values[..., 2], axis=None))


@pytest.mark.parametrize("replace", [True, False])
def test_voxels_without_a_value_are_replaced_only_when_wanted(make_panel, answer, tmp_path, replace):
    panel, hands = make_panel()
    values = np.random.default_rng(0).normal(size=(20, 24, 6)).astype(np.float32)
    values[3, 4, 5] = np.nan
    button = QMessageBox.StandardButton
    seen = answer(None, button.Yes if replace else button.Cancel)
    panel.viewer.open(str(save(tmp_path / "gap.nii.gz", values)), plugin="napari-semiseg")
    assert "NaN" in seen[0] or "number" in seen[0] or "finite" in seen[0]
    if replace:
        hands.wait(lambda: panel.desk.sheet is not None)
        assert np.isfinite(panel.desk.sheet.image.data).all()
        assert panel.desk.sheet.image.data.min() == np.nanmin(values)
    else:
        hands.qtbot.wait(200)
        assert panel.desk.sheet is None
        assert len(panel.viewer.layers) == 0


def test_a_cancelled_choice_leaves_the_open_volume_as_it_is(opened, answer, tmp_path):
    panel, hands = opened
    layers = list(panel.viewer.layers)
    values = np.random.default_rng(0).integers(0, 500, (20, 24, 6, 3)).astype(np.int16)
    answer(0, QDialogButtonBox.StandardButton.Cancel)
    panel.viewer.open(str(save(tmp_path / "cine.nii.gz", values)), plugin="napari-semiseg")
    hands.qtbot.wait(200)
    assert list(panel.viewer.layers) == layers
