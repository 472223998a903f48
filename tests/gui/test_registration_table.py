"""The table of registered pairs, filled from the events of a run."""

from __future__ import annotations

import pytest

pytest.importorskip("napari")
pytestmark = pytest.mark.gui


def pair(to, source, quality=(0.1, 0.9, 0.43), used=True, planes=(None, None)):
    names = ("cycle_rmse", "cycle_nmi", "direct_nmi")
    return {
        "to": to,
        "source": source,
        "to_plane": planes[0],
        "source_plane": planes[1],
        "quality": None if quality is None else dict(zip(names, quality, strict=True)),
        "score": None if quality is None else -0.5,
        "used": used,
    }


def texts(table):
    rows, columns = table.rowCount(), table.columnCount()
    return [[table.item(row, column).text() for column in range(columns)] for row in range(rows)]


def test_the_pairs_of_a_run_are_shown_and_forgotten_with_it(qtbot):
    from napari_semiseg.engine import events
    from napari_semiseg.gui.background import Lane
    from napari_semiseg.gui.training import Phase, Training
    from napari_semiseg.gui.widgets.registration_table import RegistrationTable

    training = Training(Lane("test", print), lambda: None)
    widget = RegistrationTable(training)
    qtbot.addWidget(widget)
    assert widget.isHidden()
    training.take(events.Preparing(task="registering volumes", progress=0.5))
    assert training.phase is Phase.PREPARING
    training.take(
        events.Registered(
            pairs=[
                pair("heart-2", "heart-1"),
                pair("heart-2", "heart-3", used=False),
                pair("heart-4", "heart-1", quality=None, used=False),
                pair("heart-1", "heart-1", planes=(5, 3)),
            ]
        )
    )
    assert not widget.isHidden()
    assert texts(widget.table) == [
        ["heart-2", "heart-1", "0.90", "0.43", "yes"],
        ["heart-2", "heart-3", "0.90", "0.43", ""],
        ["heart-4", "heart-1", "–", "–", "failed"],
        ["slice 5, heart-1", "slice 3", "0.90", "0.43", "yes"],
    ]
    training.take(events.Finished(reason="stopped", steps=0, seconds=0.0))
    assert widget.table.rowCount() == 4  # it stays until the next run begins
    training._reset()
    training.changed.emit()
    assert widget.isHidden()
