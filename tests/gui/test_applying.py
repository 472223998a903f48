"""A model file applied to the open volume from the Export tab."""

from __future__ import annotations

import pytest

from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.working import WorkingGrid
from napari_semiseg.engine.model import Model
from napari_semiseg.methods import get

pytestmark = pytest.mark.gui


@pytest.fixture
def model(tmp_path):
    """A model file; its weights were never trained."""
    method = get("supervised").preset("product", small=True)
    grid, rule = WorkingGrid(1.25), IntensityRule(None)
    for name, content in Model.build(method, (0, 1), {1: "blob"}, grid, rule, small=True).files().items():
        (tmp_path / name.replace("model", "blob")).write_bytes(content)
    return tmp_path / "blob.safetensors"


@pytest.fixture
def choose(monkeypatch):
    """Return a function that says which file the next file dialog returns: the dialog is the system's, not ours."""
    from napari_semiseg.gui.widgets import export_tab

    return lambda path: monkeypatch.setattr(export_tab.QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))


def test_a_model_file_is_applied_to_the_open_volume_and_can_be_stopped(opened, model, choose):
    panel, hands = opened
    desk, tab = panel.desk, panel.export
    panel.tabs.setCurrentIndex(3)
    said = []
    desk.message.connect(lambda text, severity: said.append(text))
    choose(model)
    before = list(panel.viewer.layers)
    hands.click(tab.apply)
    assert tab.stop.isVisible()
    assert not tab.apply.isEnabled()
    hands.click(tab.stop)
    hands.wait(lambda: not desk.exporter.running, 20)
    assert "stopped" in said[-1]
    assert list(panel.viewer.layers) == before
    assert not tab.stop.isVisible()

    hands.click(tab.apply)
    hands.wait(lambda: not desk.exporter.running, 60)
    assert "blob.safetensors is shown" in said[-1]
    assert "Prediction" in [layer.name for layer in panel.viewer.layers]
    assert desk.review.has_prediction


def test_a_file_that_is_no_model_is_refused_in_a_sentence(opened, tmp_path, choose):
    panel, hands = opened
    panel.tabs.setCurrentIndex(3)
    (tmp_path / "no.safetensors").write_bytes(b"nothing of that kind")
    (tmp_path / "no.json").write_text("{}")
    said = []
    panel.desk.message.connect(lambda text, severity: said.append((text, severity)))
    choose(tmp_path / "no.safetensors")
    hands.click(panel.export.apply)
    hands.wait(lambda: not panel.desk.exporter.running, 60)
    text, severity = said[-1]
    assert severity == "error"
    assert "no.json" in text
    assert "Traceback" not in text
    assert not panel.desk.review.has_prediction
