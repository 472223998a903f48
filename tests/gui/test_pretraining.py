"""Pre-training from the panel: on a volume that nobody painted on."""

from __future__ import annotations

import pytest

from napari_semiseg.engine.plan import Plan

pytestmark = [pytest.mark.gui, pytest.mark.slow]


def test_a_volume_without_annotations_is_pre_trained(opened):
    panel, hands = opened
    desk, tab = panel.desk, panel.train
    panel.tabs.setCurrentIndex(1)
    hands.wait(lambda: tab.method.findData("lrc") >= 0, 60)
    assert not tab.start.isEnabled()
    tab.method.setCurrentIndex(tab.method.findData("lrc"))
    assert tab.start.isEnabled()
    settings = {"crop": 64, "longest_side": 96, "unlabelled_batch": 2, "queue": 16}
    tab.plan = lambda: Plan(method="lrc", steps=2, device="cpu", settings=settings)
    hands.click(tab.start)
    hands.wait(lambda: desk.session is not None, 20)
    hands.wait(lambda: desk.training.phase.active, 20)
    hands.wait(lambda: not desk.training.phase.active, 90)
    (round_,) = desk.session.rounds()
    assert round_.status == "finished"
    assert round_.has_model
    assert not round_.segments
    assert not desk.review.has_prediction
    tab.method.setCurrentIndex(tab.method.findData("auto"))
    assert not tab.start.isEnabled()
