"""What every method must do (methods.md 1.6), for every registered method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_methods import built, draw_batch, shapes, tiny

from napari_semiseg import methods
from napari_semiseg.engine.events import StepDone
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.train import train

every_method = pytest.mark.parametrize("name", methods.names())
segmenting = pytest.mark.parametrize("name", [n for n in methods.names() if methods.get(n).needs_labels])


def total(losses):
    return sum(losses.values())


def gradients(networks):
    return {n: p.grad.clone() for n, p in networks.named_parameters() if p.grad is not None}


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
@pytest.mark.parametrize(
    "batch",
    [
        "plain",
        "all unsaid",
        "background only",
        "one class only",
        "blank image",
        "one sample each",
        "scribbles",
        "two classes",
    ],
)
def test_finite_loss_and_gradients(name, batch, progress):
    needs_labels = methods.get(name).needs_labels
    method = tiny(name, **({"labelled_batch": 1} if batch == "one sample each" and needs_labels else {}))
    if batch == "one sample each" and method.uses_unlabelled:
        method = method.model_copy(update={"unlabelled_batch": 1})
    classes = 2 if batch == "two classes" else 3
    volume = shapes(classes=classes)
    drawn = draw_batch(method, volume)
    if batch == "all unsaid":
        drawn = dataclasses.replace(drawn, label=torch.full_like(drawn.label, 255))
    if batch == "background only":
        drawn = dataclasses.replace(drawn, label=torch.where(drawn.said, 0, 255))
    if batch == "one class only":
        drawn = dataclasses.replace(drawn, label=torch.where(drawn.said, 1, 255))
    if batch == "blank image":
        drawn = dataclasses.replace(drawn, image=torch.zeros_like(drawn.image))
    if batch == "scribbles":
        keep = torch.rand(drawn.label.shape, generator=torch.Generator().manual_seed(0)) < 0.05
        drawn = dataclasses.replace(drawn, label=torch.where(keep, drawn.label, 255))
    networks = built(method, classes)
    for _ in range(2):  # the second time memories are filled
        losses = method.losses(networks, drawn, progress)
        assert all(torch.isfinite(value) for value in losses.values()), losses
    total(losses).backward()
    assert all(torch.isfinite(grad).all() for grad in gradients(networks).values())


@every_method
def test_every_trained_module_has_a_rate_and_gets_a_gradient(name):
    method = tiny(name)
    networks = built(method)
    drawn = draw_batch(method, shapes())
    for _ in range(2):
        losses = method.losses(networks, drawn, 0.5)
    # Terms have weights as small as 1e-4; what matters is that they reach every module.
    total(losses).backward()
    trained = {key.split(".")[0] for key, grad in gradients(networks).items() if grad.abs().sum() > 0}
    with_parameters = {key.split(".")[0] for key, p in networks.named_parameters() if p.requires_grad}
    assert trained == with_parameters == set(method.rates())


@every_method
def test_labels_under_255_change_nothing(name):
    """Two label maps that differ only where 255 replaces them give one loss (1.6 b)."""
    method = tiny(name)
    drawn = draw_batch(method, shapes())
    hidden = torch.zeros_like(drawn.said)
    hidden[:, :20] = True
    values = []
    for other in (1, 2):
        label = torch.where(hidden, other, drawn.label)
        label = torch.where(hidden, 255, label)
        torch.manual_seed(0)
        networks = built(method)
        values.append(total(method.losses(networks, dataclasses.replace(drawn, label=label), 0.5)).item())
    assert values[0] == values[1]


@every_method
def test_same_seed_same_curve(name):
    """Repeatable on the CPU, augmentation, dropout and memories included (1.6 c)."""
    volume = shapes()
    settings = tiny(name).model_dump(exclude_defaults=True)
    curves = []
    for _ in range(2):
        plan = Plan(method=name, steps=3, device="cpu", precision="float32", threads=1, settings=settings, seed=1)
        curves.append([e.losses for e in train([volume], (0, 1, 2), plan) if isinstance(e, StepDone)])
    assert curves[0] == curves[1]


@segmenting
def test_a_confident_error_costs(name):
    """The supervised terms grow when right labels are replaced by wrong ones (1.6 g)."""
    method = tiny(name)
    volume = shapes()
    networks = built(method)
    rates = [{"params": networks[key].parameters(), "lr": 3e-3} for key in method.rates()]
    optimiser = torch.optim.AdamW(rates)
    for step in range(25):
        optimiser.zero_grad()
        total(method.losses(networks, draw_batch(method, volume, seed=step), 0.5)).backward()
        optimiser.step()
    drawn = draw_batch(method, volume)
    wrong = torch.where(drawn.said, (drawn.label + 1) % 3, 255)

    def supervised(batch):
        networks.eval()
        return sum(v.item() for k, v in method.losses(networks, batch, 0.5).items() if "supervised" in k)

    assert supervised(dataclasses.replace(drawn, label=wrong)) > 2 * supervised(drawn)


@segmenting
def test_class_order_does_not_matter(name):
    """Permuting the class ids together with the output channels leaves the supervised terms unchanged (1.6 f)."""
    method = tiny(name)
    drawn = draw_batch(method, shapes())
    order = torch.tensor([2, 0, 1])
    networks = built(method).eval()
    before = method.losses(networks, drawn, 0.5)
    inverse = torch.argsort(order)
    for key in method.rates():
        head = getattr(networks[key], "head", None)
        if head is not None:
            head.weight.data = head.weight.data[order]
            if head.bias is not None:
                head.bias.data = head.bias.data[order]
    permuted = torch.where(drawn.said, inverse[drawn.label.clamp(max=2)], 255)
    after = method.losses(networks, dataclasses.replace(drawn, label=permuted), 0.5)
    for key, value in before.items():
        if "supervised" in key or "from" in key:
            assert after[key].item() == pytest.approx(value.item(), rel=1e-4)


@pytest.mark.slow
@segmenting
def test_overfits_four_labelled_slices(name):
    """Dice above .95 on the slices that it was trained on (1.6 d)."""
    volume = shapes(planes=6, labelled=(0, 2, 3, 5))
    keeper = MemoryKeeper()
    settings = tiny(name).model_dump(exclude_defaults=True)
    plan = Plan(method=name, steps=150, device="cpu", precision="float32", threads=2, settings=settings)
    list(train([volume], (0, 1, 2), plan, keeper=keeper))
    predicted = keeper.predictions["shapes"].labels[[0, 2, 3, 5]]
    truth = volume.labels[[0, 2, 3, 5]]
    for c in (1, 2):
        assert 2 * np.sum((predicted == c) & (truth == c)) / (np.sum(predicted == c) + np.sum(truth == c)) > 0.95


@segmenting
@pytest.mark.parametrize("size", [(64, 64), (50, 33), (97, 130)])
def test_predicts_at_any_size(name, size):
    method = tiny(name)
    networks = built(method).eval()
    for logits in method.predictors(networks, torch.randn(1, 1, *size)):
        assert logits.shape == (1, 3, *size)
    assert sum(method.shares()) == pytest.approx(1)


@every_method
@pytest.mark.parametrize("preset", ["paper", "product"])
@pytest.mark.parametrize("small", [True, False])
def test_presets_are_valid(name, preset, small):
    method = methods.get(name).preset(preset, small=small)
    assert method.title
    assert method.summary
    for field, schema in method.model_json_schema()["properties"].items():
        assert schema.get("description"), field
