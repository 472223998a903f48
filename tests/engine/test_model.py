from __future__ import annotations

import json

import pytest
import torch

from napari_semiseg.data.intensity import IntensityRule
from napari_semiseg.data.working import WorkingGrid
from napari_semiseg.engine.model import Model
from napari_semiseg.errors import InputError
from napari_semiseg.methods.supervised import Supervised


@pytest.fixture
def files():
    model = Model.build(Supervised(), (0, 3), {3: "aorta"}, WorkingGrid(1.5), IntensityRule((-100, 300)), small=True)
    return model, model.files()


def write(folder, files):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_model_comes_back_as_it_was(files, tmp_path):
    model, content = files
    again = Model.load(write(tmp_path, content))
    assert again.class_ids == (0, 3)
    assert again.class_names[3] == "aorta"
    assert (again.grid, again.rule, again.setup, again.method) == (model.grid, model.rule, model.setup, model.method)
    for name, tensor in model.networks.state_dict().items():
        assert torch.equal(tensor, again.networks.state_dict()[name])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: f.pop("model.json"), "does not exist"),
        (lambda f: f.pop("model.safetensors"), "does not exist"),
        (lambda f: f.update({"model.json": b"{not json"}), "does not describe"),
        (lambda f: f.update({"model.json": b"[]"}), "does not describe"),
        (lambda f: f.update({"model.safetensors": f["model.safetensors"][:1000]}), "damaged"),
        (lambda f: f.update({"model.safetensors": b"\x80\x04cos\nsystem\n"}), "damaged"),
        (lambda f: changed(f, version=99), "newer"),
        (lambda f: changed(f, method="unheard"), "no method 'unheard'"),
        (lambda f: changed(f, class_ids=[0, 1, 2]), "do not fit"),
        (lambda f: changed(f, spacing=0), "spacing"),
        (lambda f: changed(f, settings={"crop": "huge"}), "crop"),
    ],
)
def test_damaged_models_get_a_sentence(files, tmp_path, damage, sentence):
    content = dict(files[1])
    damage(content)
    with pytest.raises(InputError, match=sentence):
        Model.load(write(tmp_path, content))


def changed(files, **fields):
    files["model.json"] = json.dumps({**json.loads(files["model.json"]), **fields}).encode()
