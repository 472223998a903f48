"""The whole job on a real volume, by mouse, from the first stroke to the exported mask, and closing while it trains."""

from __future__ import annotations

import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_semiseg.session import Session, SliceState

pytestmark = pytest.mark.gui

IMAGE = "acdc_cine_mri/patient026_frame01_image.nii.gz"
PLANES = (2, 5, 7)
# Where the left ventricle of this patient lies on the screen: row, column and radius of a disc, in pixels.
TARGET = (135, 120, 14)


def dab(desk, hands):
    """Paint a disc with one dab of a large brush."""
    row, column, radius = TARGET
    desk.sheet.annotation.brush_size = 2 * radius
    hands.stroke((row, column), (row, column + 1))


def tick(hands, box):
    """Click a check box where its mark is."""
    hands.qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(10, box.height() // 2))


def train_shortly(panel, hands, *, by_key=False):
    """Press Train, or its key, with a small budget and wait for the whole-volume prediction."""
    panel.tabs.setCurrentIndex(1)
    panel.train.minutes.setValue(0.1)
    before = panel.desk.session.rounds() if panel.desk.session is not None else []
    hands.wait(lambda: panel.train.start.isEnabled(), 30)
    if by_key:
        hands.key(Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
    else:
        hands.click(panel.train.start)
    hands.wait(lambda: panel.desk.training.phase.active, 30)
    hands.wait(panel.train.summary.isHidden, 60)  # the run says itself what was picked
    hands.wait(lambda: not panel.desk.training.phase.active, 180)
    assert not panel.train.summary.isHidden()
    rounds = panel.desk.session.rounds()
    assert len(rounds) == len(before) + 1
    assert rounds[-1].status == "finished", rounds[-1].last_event()
    return rounds[-1]


@pytest.fixture
def image(shared_data: Path) -> Path:
    """A cine MRI of a heart."""
    return shared_data / IMAGE


def test_the_main_job(make_panel, image, tmp_path):
    panel, hands = make_panel()
    desk = panel.desk
    panel.viewer.open(str(image), plugin="napari-semiseg")
    hands.wait(lambda: desk.sheet is not None)
    hands.qtbot.wait(200)
    for plane in PLANES:
        desk.sheet.go_to(plane)
        dab(desk, hands)
        assert desk.sheet.annotation.data[plane, TARGET[0], TARGET[1]] == 1
        assert desk.sheet.states[plane] is SliceState.COMPLETE

    first = train_shortly(panel, hands)
    hands.wait(lambda: desk.sheet.overlays.stored is not None, 20)
    layers = {layer.name: layer for layer in panel.viewer.layers}
    assert "Prediction" in layers
    volume = next(iter(desk.session.volumes))
    stored = first.prediction(volume)
    np.testing.assert_array_equal(np.asarray(layers["Prediction"].data[4]), stored.labels[4])
    scale = np.asarray(desk.sheet.image.scale)
    for key in ("entropy", "disagreement", "probabilities", "boundary", "superpixels"):
        panel.tabs.setCurrentIndex(2)
        tick(hands, panel.review.toggles[key])
        hands.wait(lambda key=key: desk.sheet.overlays.visible(key))
    for layer in panel.viewer.layers:
        np.testing.assert_allclose(layer.scale, scale)
        assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    by_name = {layer.name: layer for layer in panel.viewer.layers}
    entropy = np.asarray(by_name["Entropy"].data[4])
    np.testing.assert_allclose(entropy, stored.entropy[4] / 255, atol=1e-6)

    hands.click(panel.review.next)
    hands.wait(lambda: "uncertain" in panel.messages.text.text())
    suggested = desk.sheet.plane
    assert suggested not in PLANES
    assert panel.messages.text.text().startswith(f"Slice {suggested}")

    painted_before = desk.sheet.annotation.data[suggested].copy()
    hands.click(panel.review.accept)
    accepted = desk.sheet.annotation.data[suggested].copy()
    np.testing.assert_array_equal(accepted == 1, np.asarray(stored.labels[suggested]) == 1)
    desk.sheet.annotation.undo()
    np.testing.assert_array_equal(desk.sheet.annotation.data[suggested], painted_before)
    hands.click(panel.review.accept)
    hands.stroke((40, 40), (40, 60))  # a correction
    hands.wait(lambda: not desk.keeper.pending)

    second = train_shortly(panel, hands, by_key=True)
    assert second.config["continues"] == first.number
    corrected = desk.sheet.annotation.data[suggested].copy()
    desk.sheet.annotation.undo()  # a step from before the training
    np.testing.assert_array_equal(desk.sheet.annotation.data[suggested], accepted)
    desk.sheet.annotation.redo()
    np.testing.assert_array_equal(desk.sheet.annotation.data[suggested], corrected)
    by_name_again = {layer.name: layer for layer in panel.viewer.layers}
    assert by_name_again["Prediction"] is by_name["Prediction"], "layers are updated in place, not made anew"
    newer = second.prediction(volume)
    hands.wait(lambda: np.array_equal(np.asarray(by_name["Prediction"].data[3]), newer.labels[3]), 20)

    panel.tabs.setCurrentIndex(3)
    panel.export.folder.setText(str(tmp_path / "masks"))
    hands.click(panel.export.masks)
    hands.wait(lambda: (tmp_path / "masks").is_dir() and any((tmp_path / "masks").glob("*.nii.gz")), 30)
    hands.wait(lambda: panel.export.masks.isEnabled(), 30)
    mask, source = nib.load(next((tmp_path / "masks").glob("*.nii.gz"))), nib.load(image)
    np.testing.assert_array_equal(mask.affine, source.affine)
    for field in ("pixdim", "qform_code", "sform_code", "xyzt_units"):
        np.testing.assert_array_equal(mask.header[field], source.header[field])
    record = desk.session.volumes[volume]
    shown = record.geometry.to_display(np.asarray(mask.dataobj))
    for plane in PLANES:
        np.testing.assert_array_equal(shown[plane] == 1, desk.sheet.annotation.data[plane] == 1)


@pytest.mark.clock
def test_closing_while_training_is_instant_and_the_run_goes_on(make_panel, image, sessions):
    panel, hands = make_panel()
    desk = panel.desk
    panel.viewer.open(str(image), plugin="napari-semiseg")
    hands.wait(lambda: desk.sheet is not None)
    hands.qtbot.wait(200)
    desk.sheet.go_to(5)
    dab(desk, hands)
    drawn = desk.sheet.annotation.data[5].copy()
    panel.tabs.setCurrentIndex(1)
    panel.train.minutes.setValue(0.2)
    hands.wait(lambda: panel.train.start.isEnabled(), 30)
    hands.click(panel.train.start)
    hands.wait(lambda: desk.training.first_step_after is not None, 60)
    began = time.monotonic()
    panel.viewer.close()
    assert time.monotonic() - began < 2.0
    place = next(sessions.iterdir())
    session = Session.open(place)
    (round_,) = session.rounds()
    assert [type(event).__name__ for event in round_.tail()][-1] == "Finished"

    again, hands = make_panel()
    again.viewer.open(str(place), plugin="napari-semiseg")
    hands.wait(lambda: again.desk.sheet is not None)
    np.testing.assert_array_equal(again.desk.sheet.annotation.data[5], drawn)
    hands.wait(lambda: again.desk.review.has_prediction, 20)
    assert len(again.desk.session.rounds()) == 1
