"""Every control says what it is for, what its unit and default are, and why it is disabled; hints say what is next."""

from __future__ import annotations

import json

import pytest

from napari_semiseg.gui.hints import TEXTS, hint, settings_file
from napari_semiseg.gui.outlook import Facts
from napari_semiseg.gui.training import Phase


def facts(**changes) -> Facts:
    """A desk with a volume and nothing else."""
    plain = {"volumes": 1, "annotated": 0, "chosen": 1, "phase": Phase.IDLE, "predicted": False, "rounds": 0}
    return Facts(**{**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "edited", "name"),
    [
        ({"volumes": 0}, 0, "open"),
        ({}, 0, "label"),
        ({"annotated": 1}, 1, "spread"),
        ({"annotated": 5}, 5, "train"),
        ({"annotated": 5, "phase": Phase.STARTING}, 0, "prepare"),
        ({"annotated": 5, "phase": Phase.PREPARING}, 0, "prepare"),
        ({"phase": Phase.PREPARING}, 0, "label"),
        ({"annotated": 5, "phase": Phase.TRAINING}, 0, "wait"),
        ({"annotated": 5, "phase": Phase.PREDICTING}, 0, "wait"),
        ({"annotated": 5, "rounds": 1, "predicted": True}, 0, "review"),
        ({"annotated": 6, "rounds": 1, "predicted": True}, 1, "export"),
        ({"annotated": 8, "rounds": 1, "predicted": True}, 3, "retrain"),
    ],
)
def test_the_hint_follows_the_state(changes, edited, name):
    assert hint(facts(**changes), edited) == name
    assert len(TEXTS[name]) < 120


def controls(panel):
    """All widgets of the panel that can be used or read, without the inner parts of Qt's own."""
    from qtpy import QtWidgets as qt

    kinds = (
        qt.QAbstractButton, qt.QComboBox, qt.QAbstractSpinBox, qt.QLineEdit, qt.QAbstractSlider, qt.QListWidget,
        qt.QTableWidget, qt.QTreeWidget, qt.QTextEdit, qt.QProgressBar,
    )  # fmt: skip
    compound = (qt.QComboBox, qt.QAbstractSpinBox, qt.QTabBar, qt.QAbstractScrollArea, qt.QMenu)
    for widget in panel.findChildren(qt.QWidget):
        if not isinstance(widget, kinds) or isinstance(widget, qt.QScrollBar):
            continue
        above, inner = widget.parent(), False
        while above is not None and above is not panel:
            # A scroll area holds whole tabs, a list or table holds parts of its own.
            item_view = isinstance(above, qt.QAbstractItemView)
            inner |= item_view or (isinstance(above, compound) and not isinstance(above, qt.QScrollArea))
            above = above.parent()
        if not inner:
            yield widget


def what(widget) -> str:
    """Name a widget for the message of a failure."""
    text = widget.text() if hasattr(widget, "text") else ""
    return f"{type(widget).__name__} {text!r} in {type(widget.parent()).__name__}"


@pytest.mark.gui
def test_every_control_explains_itself(opened):
    from qtpy import QtWidgets as qt

    panel, hands = opened
    panel.catalogue.want(panel.train.show_methods)
    hands.wait(lambda: panel.train.method.count() > 1, 60)
    panel.train.method.setCurrentIndex(1)  # a form with the fields of a method
    numbers = (qt.QAbstractSpinBox,)
    choices = (qt.QComboBox, qt.QCheckBox)
    silent, bare, mute = [], [], []
    for widget in controls(panel):
        tip = widget.toolTip()
        if not tip.strip():
            silent.append(what(widget))
        has_default = widget is not panel.header.volumes and widget not in panel.review.toggles.values()
        unit = widget.suffix().strip() if isinstance(widget, numbers) and hasattr(widget, "suffix") else ""
        if widget.isEnabled() and isinstance(widget, numbers + choices) and has_default and "Default" not in tip:
            bare.append(what(widget))
        if widget.isEnabled() and unit not in tip:
            bare.append(f"{what(widget)}, {unit}")
        enabled_for_itself = widget.isEnabled() or widget.parent() is None or not widget.parent().isEnabled()
        if not enabled_for_itself and (not tip.strip() or tip == widget.property("purpose")):
            mute.append(what(widget))
    assert not silent, "no tooltip"
    assert not bare, "the tooltip names no default or no unit"
    assert not mute, "disabled without a reason"
    assert any(not widget.isEnabled() for widget in controls(panel)), "nothing is disabled, so nothing was tested"

    # Hints: the first one, the next after a stroke, dismissed for good, all of them back.
    line = panel.hint
    assert line.text.text() == TEXTS["label"]
    assert line.isVisible()
    hands.stroke((30, 30), (30, 40))
    hands.wait(lambda: line.text.text() == TEXTS["spread"], 5)
    hands.click(line.cross)
    assert not line.isVisible()
    assert json.loads(settings_file().read_text())["dismissed"] == ["spread"]
    from napari_semiseg.gui.hints import Hints

    assert Hints(panel.desk).dismissed == {"spread"}
    line.hints.bring_back()
    assert line.isVisible()
    line.hints.dismiss_all()
    assert not line.isVisible()
    assert set(json.loads(settings_file().read_text())["dismissed"]) == set(TEXTS)
