"""What every method must do (methods.md 1.6), for every registered method."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_methods import CASES, SEGMENTING, built, cut, draw_batch, muted, shapes, tiny
from torch.nn import functional

from napari_semiseg import methods
from napari_semiseg import networks as nets
from napari_semiseg.engine.control import LocalControl, Wish
from napari_semiseg.engine.events import PredictionReady, StepDone
from napari_semiseg.engine.keeper import MemoryKeeper
from napari_semiseg.engine.model import Model
from napari_semiseg.engine.plan import Plan
from napari_semiseg.engine.train import train
from napari_semiseg.losses.supervised import cross_entropy
from napari_semiseg.methods import terms

every_method = pytest.mark.parametrize("name", CASES)
segmenting = pytest.mark.parametrize("name", SEGMENTING)


def total(losses):
    return sum(losses.values())


def gradients(networks):
    return {n: p.grad.clone() for n, p in networks.named_parameters() if p.grad is not None}


def plan_of(name, steps, **options):
    method = tiny(name)
    settings = method.model_dump(exclude_defaults=True)
    return Plan(method=method.name, steps=steps, device="cpu", precision="float32", settings=settings, **options)


@every_method
@pytest.mark.parametrize(
    ("batch", "progress"),
    [
        ("plain", 0.0),
        ("plain", 0.99),
        ("all unsaid", 0.5),
        ("background only", 0.5),
        ("one class only", 0.5),
        ("blank image", 0.5),
        ("one sample each", 0.5),
        ("scribbles", 0.0),
        ("scribbles", 0.5),
        ("two classes", 0.5),
        ("no unlabelled slices", 0.5),
        ("odd sizes", 0.5),
    ],
)
def test_finite_loss_and_gradients(name, batch, progress):
    """Whatever is or is not labelled (1.6 a)."""
    method = tiny(name)
    if batch == "one sample each":
        ones = {"labelled_batch": 1} if method.needs_labels else {}
        method = method.model_copy(update={**ones, **({"unlabelled_batch": 1} if method.uses_unlabelled else {})})
    classes = 2 if batch == "two classes" else 3
    everything = {"labelled": range(6)} if batch == "no unlabelled slices" and method.needs_labels else {}
    drawn = draw_batch(method, shapes(classes=classes, **everything))
    if batch == "no unlabelled slices" and method.needs_labels:
        assert not drawn.unsaid.any()
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
    if batch == "odd sizes":
        drawn = cut(drawn, 47, 33)
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


@segmenting
def test_what_is_said_of_unlabelled_pixels_costs_nothing(name):
    """Without unsupervised terms, logits where the label is 255 may be anything (1.6 b)."""
    method = tiny(name, **muted(name))
    drawn = draw_batch(method, shapes())
    hidden = torch.zeros_like(drawn.said)
    hidden[..., :20, :] = True
    drawn = dataclasses.replace(drawn, label=torch.where(hidden, 255, drawn.label))
    networks = built(method).eval()

    def disturbed(where):
        def change(module, inputs, logits):
            missing = [new - old for old, new in zip(where.shape[1:], logits.shape[2:], strict=True)]
            chosen = functional.pad(where[: len(logits)].float(), [n for m in reversed(missing) for n in (0, m)])
            noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1))
            return logits + 5 * chosen[:, None] * noise

        heads = [module for key, module in networks.named_modules() if key.endswith(".head")]
        hooks = [head.register_forward_hook(change) for head in heads]
        torch.manual_seed(0)
        value = total(method.losses(networks, drawn, 0.5)).item()
        for hook in hooks:
            hook.remove()
        return value

    values = [disturbed(where) for where in (torch.zeros_like(hidden), hidden, drawn.said)]
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    assert values[2] != pytest.approx(values[0], rel=1e-2)


@every_method
def test_same_seed_same_curve(name):
    """Repeatable on the CPU, augmentation, dropout and memories included (1.6 c)."""
    volume = shapes()
    curves = [
        [e.losses for e in train([volume], (0, 1, 2), plan_of(name, 2, seed=1, threads=1)) if isinstance(e, StepDone)]
        for _ in range(2)
    ]
    assert len(curves[0]) == 2
    assert curves[0] == curves[1]


@every_method
def test_resuming_is_exact(name, tmp_path):
    """Optimiser, teachers, banks, queues and generators go on as if nothing had happened (1.6 c)."""
    volume, plan = shapes(), plan_of(name, 4, threads=1)
    whole, half, rest = MemoryKeeper(), MemoryKeeper(), MemoryKeeper()
    curve = curve_of(train([volume], (0, 1, 2), plan, keeper=whole))
    control, begun = LocalControl(), []
    for event in train([volume], (0, 1, 2), plan, keeper=half, control=control):
        if isinstance(event, StepDone):
            begun.append(event.losses)
            control.current = Wish(stop=len(begun) == 2)
    assert len(begun) == 2
    for file, content in half.files.items():
        (tmp_path / file).write_bytes(content)
    state = {file: half.files[file] for file in ("state.safetensors", "state.json")}
    interrupted = Model.load(tmp_path)
    ended = curve_of(train([volume], (0, 1, 2), plan, keeper=rest, start=interrupted, resume=state))
    assert begun + ended == curve
    assert rest.files["model.safetensors"] == whole.files["model.safetensors"]


def curve_of(run):
    return [event.losses for event in run if isinstance(event, StepDone)]


@segmenting
def test_without_unsupervised_terms_it_learns_as_from_labels_alone(name, monkeypatch):
    """Weight 0 → the gradients of the supervised networks, with dropout 0 and instance norm (1.6 e)."""
    build = nets.build

    def plain(network, *arguments, **options):
        still = {
            "cs_unet": {"dropout": 0.0, "drop_path": 0.0},
            "swin_unet": {"drop_path": 0.0},
            "unet16": {"norm": "instance", "dropout": (0.0,) * 5},
            "unet_decoders": {"norm": "instance", "dropout": (0.0,) * 5},
        }
        return build(network, *arguments, **{**options, **still.get(network, {"norm": "instance", "dropout": 0.0})})

    monkeypatch.setattr(nets, "build", plain)
    method = tiny(name, **muted(name))
    drawn, networks = draw_batch(method, shapes()), built(method)
    # Patches around unlabelled planes show labelled ones, too.
    drawn.label[drawn.labelled :] = 255
    if method.spatial_axes == 3:
        # Instance norm of a handful of voxels at the bottleneck magnifies the errors of single precision.
        networks, drawn = networks.double(), dataclasses.replace(drawn, image=drawn.image.double())
    total(method.losses(networks, drawn, 0.9)).backward()
    learned = gradients(networks)
    networks.zero_grad()
    alone = drawn.only(torch.arange(drawn.labelled))
    predicted = method.predictors(networks, alone.image)
    if name == "cct_r":
        predicted = predicted[:2]  # the third one is their mean
    loss = sum(cross_entropy(p, alone.label) if name == "bcll" else terms.supervised(p, alone) for p in predicted)
    # CCT takes the mean of four decoders, of which the main one predicts; two streams CE + Dice.
    (loss * {"cct": 0.25, "mcf": 2.0, "dual_stream": 2.0}.get(name, 1.0)).backward()
    expected = {key: grad for key, grad in gradients(networks).items() if grad.any()}
    if name == "cct":
        expected = {key: grad for key, grad in expected.items() if "encoder" not in key}
        assert expected
    for key, grad in expected.items():
        assert torch.allclose(learned[key], grad, rtol=1e-3, atol=1e-5 * float(grad.abs().max()) + 1e-7), key
    if name != "cct":
        assert {key for key, grad in learned.items() if grad.abs().max() > 1e-6} <= set(expected)


@segmenting
def test_a_confident_error_costs(name):
    """The supervised terms grow when right labels are replaced by wrong ones (1.6 g)."""
    method = tiny(name)
    volume = shapes()
    networks = built(method)
    rates = [{"params": networks[key].parameters(), "lr": 3e-3} for key in method.rates()]
    optimiser = torch.optim.AdamW(rates)
    for step in range(25 if method.spatial_axes == 2 else 50):
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
    torch.manual_seed(0)
    before = method.losses(networks, drawn, 0.5)
    inverse = torch.argsort(order)
    for key, head in networks.named_modules():
        if key.endswith(".head"):
            head.weight.data = head.weight.data[order]
            if head.bias is not None:
                head.bias.data = head.bias.data[order]
    permuted = torch.where(drawn.said, inverse[drawn.label.clamp(max=2)], 255)
    torch.manual_seed(0)
    carried = None if drawn.carried is None else drawn.carried[:, order]
    after = method.losses(networks, dataclasses.replace(drawn, label=permuted, carried=carried), 0.5)
    assert any("supervised" in key for key in before)
    for key, value in before.items():
        if "supervised" in key or "from" in key or key == "consistency":
            assert after[key].item() == pytest.approx(value.item(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SEGMENTING if "," not in name])
def test_overfits_four_labelled_slices(name):
    """Dice above .95 on the slices that it was trained on (1.6 d), within so many steps; the run ends when it is."""
    volume = shapes(planes=6, labelled=(0, 2, 3, 5))
    keeper, control = MemoryKeeper(), LocalControl()
    plan = plan_of(name, 150, threads=1)
    if tiny(name).spatial_axes == 3:
        # Narrow V-Nets take longer, and patches as wide as the planes show what is bright and what is not.
        faster = {**plan.settings, "crop": 64, "width": 4, "learning_rate": 5e-3}
        plan = plan.model_copy(update={"steps": 250, "settings": faster})

    def worst():
        predicted, truth = keeper.predictions["shapes"].labels[[0, 2, 3, 5]], volume.labels[[0, 2, 3, 5]]
        return min(
            2 * np.sum((predicted == c) & (truth == c)) / (np.sum(predicted == c) + np.sum(truth == c)) for c in (1, 2)
        )

    for event in train([volume], (0, 1, 2), plan, keeper=keeper, control=control):
        if isinstance(event, StepDone) and event.step % 25 == 0:
            control.current = Wish(predict=event.step)
        elif isinstance(event, PredictionReady) and worst() > 0.95:
            break
    assert worst() > 0.95


@segmenting
@pytest.mark.parametrize("size", [(64, 64), (50, 33), (97, 130)])
def test_predicts_at_any_size(name, size):
    method = tiny(name)
    networks = built(method).eval()
    size = size if method.spatial_axes == 2 else (5, *size)
    for logits in method.predictors(networks, torch.randn(1, 1, *size)):
        assert logits.shape == (1, 3, *size)
    assert sum(method.shares()) == pytest.approx(1)


@pytest.mark.parametrize("name", methods.names())
@pytest.mark.parametrize("preset", ["paper", "product"])
@pytest.mark.parametrize("small", [True, False])
def test_presets_are_valid(name, preset, small):
    method = methods.get(name).preset(preset, small=small)
    assert method.title
    assert method.summary
    for field, schema in method.model_json_schema()["properties"].items():
        assert schema.get("description"), field


SSL4MIS = {"optimiser": "sgd", "learning_rate": 0.01, "weight_decay": 1e-4, "crop": 256}
CONSISTENT = {**SSL4MIS, "labelled_batch": 12, "unlabelled_batch": 12, "consistency": 0.1}
CROSS = {"optimiser": "adamw", "cnn_rate": 5e-4, "transformer_rate": 1e-4, "weight_decay": 5e-4, "crop": 224,
         "transformer": "swin_unet"}  # fmt: skip
PRINTED = {
    "supervised": {**SSL4MIS, "labelled_batch": 24},
    **dict.fromkeys(("mean_teacher", "uamt", "ict", "dct", "cct", "cps"), CONSISTENT),
    "cross_teaching": {**CROSS, "labelled_batch": 8, "unlabelled_batch": 8},
    "mcsc": {**CROSS, "labelled_batch": 2, "unlabelled_batch": 2, "contrast": 1e-3, "scales": (1, 8)},
    "mcscv2": {
        **CROSS,
        "labelled_batch": 12,
        "unlabelled_batch": 12,
        "contrast": 1e-3,
        "anchors": 1000,
        "bank": 60_000,
    },
    "cct_r": {**CROSS, "labelled_batch": 4, "unlabelled_batch": 4, "registered_contrast": 1e-3},
    # Adam: AdamW without weight decay.
    "bcll": {"optimiser": "adamw", "weight_decay": 0.0, "kappa": 0.5, "samples": 512, "radius": 3},
}


@pytest.mark.parametrize("name", PRINTED)
def test_the_presets_of_the_papers_are_the_print(name):
    """Optimisers, rates, batches and sizes (methods.md 2 to 7); those of volumes are in `test_volume_methods.py`."""
    paper = methods.get(name).preset("paper", small=False).model_dump()
    assert {key: paper[key] for key in PRINTED[name]} == PRINTED[name]
