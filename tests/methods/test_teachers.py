"""Mean teacher, uncertainty-aware mean teacher and interpolation consistency (methods.md 2)."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from pydantic import ValidationError
from small_methods import Says, built, draw_batch, has_gradient, random_logits, shapes, sharp, tiny
from torch import nn

from napari_semiseg import methods
from napari_semiseg.methods import ict, teacher, terms, uamt
from napari_semiseg.methods.mean_teacher import teacher_consistency

TAUGHT = ("mean_teacher", "uamt", "ict")


def batch_of(name, **settings):
    return draw_batch(tiny(name, **settings), shapes())


@pytest.mark.parametrize("name", TAUGHT)
def test_the_teacher_begins_as_the_student_and_follows(name):
    method = tiny(name)
    networks = built(method)
    student, follower = networks["student"], networks["teacher"]
    for parameter in student.parameters():
        parameter.data += 1.0
    student.encoder[0][1].running_mean += 3.0
    method.after_step(networks, 0)  # α(0) = 0
    same = zip(student.state_dict().values(), follower.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    before = follower.head.bias.clone()
    student.head.bias.data += 1.0
    student.encoder[0][1].running_mean += 1.0
    method.after_step(networks, 9)  # α(9) = 0.9
    assert torch.allclose(follower.head.bias, before + 0.1)
    assert torch.equal(follower.encoder[0][1].running_mean, student.encoder[0][1].running_mean)
    method.after_step(networks, 10_000)  # at most 0.99
    assert torch.allclose(follower.head.bias, before + 0.1 + 0.01 * 0.9)
    method.after_warm_start(networks)
    assert torch.equal(follower.head.bias, student.head.bias)


@pytest.mark.parametrize("name", TAUGHT)
def test_no_gradient_reaches_the_teacher(name):
    method = tiny(name)
    networks = sharp(built(method))
    method.losses(networks, batch_of(name), 1.0)["consistency"].backward()
    assert has_gradient(networks["student"])
    assert all(p.grad is None and not p.requires_grad for p in networks["teacher"].parameters())


@pytest.mark.parametrize("name", TAUGHT)
def test_who_predicts_can_be_chosen(name):
    networks = built(tiny(name)).eval()
    networks["teacher"].head.bias.data += 1.0
    image = random_logits(1, 1, 64, 64)
    for who in ("student", "teacher"):
        (logits,) = tiny(name, predict_with=who).predictors(networks, image)
        assert torch.equal(logits, networks[who](image).logits)


def test_noise_is_a_tenth_and_at_most_a_fifth():
    image = torch.full((4, 1, 100, 100), 3.0)
    noise = teacher.noisy(image) - image
    assert noise.abs().max().item() == pytest.approx(0.2, abs=1e-5)
    # A normal variable cut at two deviations has 0.96 of its deviation.
    assert noise.std().item() == pytest.approx(0.0960, abs=0.002)


def test_teachers_use_running_statistics_and_dropout_on_request():
    torch.manual_seed(0)
    networks = built(tiny("mean_teacher"))
    follower, image = networks["teacher"], random_logits(2, 1, 64, 64)
    before = {name: value.clone() for name, value in follower.state_dict().items()}
    assert torch.equal(teacher.says(follower.train(), image), follower.eval()(image).logits)
    assert not torch.equal(teacher.says(follower, image, dropout=True), teacher.says(follower, image, dropout=True))
    assert torch.equal(teacher.says(follower, image), teacher.says(follower, image))
    assert all(torch.equal(value, before[name]) for name, value in follower.state_dict().items())


def test_a_teacher_that_says_the_same_costs_nothing(monkeypatch):
    batch = batch_of("mean_teacher")
    logits = random_logits(4, 3, 64, 64)
    assert teacher_consistency(Says(logits), logits, batch).item() == 0
    networks = built(tiny("mean_teacher")).eval()
    monkeypatch.setattr("napari_semiseg.methods.mean_teacher.noisy", lambda image: image)
    assert tiny("mean_teacher").losses(networks, batch, 0.9)["consistency"].item() == pytest.approx(0, abs=1e-12)


def test_mean_teacher_by_hand():
    """One-hot against uniform of three classes: (4/9 + 1/9 + 1/9)/3 where nothing is said, whatever elsewhere."""
    batch = batch_of("mean_teacher")
    sure = torch.tensor([60.0, 0.0, 0.0])[:, None, None].expand(4, 3, 64, 64)
    student = torch.where(batch.said[:, None], torch.tensor([0.0, 60.0, 0.0])[:, None, None], sure)
    told = Says(torch.zeros(1, 3, 64, 64))
    assert teacher_consistency(told, student, batch).item() == pytest.approx(2 / 9, rel=1e-5)
    (seen,) = told.images
    assert 0 < (seen - batch.image).abs().max() <= 0.2 + 1e-6


@pytest.mark.parametrize(("progress", "listens"), [(0.0, False), (0.032, False), (0.034, True), (0.9, True)])
def test_the_mean_teacher_is_quiet_at_first(progress, listens):
    losses = tiny("mean_teacher").losses(built(tiny("mean_teacher")), batch_of("mean_teacher"), progress)
    assert ("consistency" in losses) == listens


def test_weight_of_the_consistency_follows_the_ramp():
    """w(t) = 0.1·exp(−5(1−t)²): at the end 1/.286505 of what it is half way."""
    method, batch = tiny("mean_teacher"), batch_of("mean_teacher")
    networks = built(method).eval()
    values = []
    for progress in (0.5, 1.0):
        torch.manual_seed(0)
        values.append(method.losses(networks, batch, progress)["consistency"].item())
    assert values[0] / values[1] == pytest.approx(0.286505, rel=1e-4)


@pytest.mark.parametrize(("progress", "value"), [(0.0, 0.521028), (1.0, 0.693147)])
def test_threshold_of_uncertainty(progress, value):
    assert uamt.threshold(progress, math.log(2)) == pytest.approx(value, abs=1e-6)


def certain_loss(answer, progress=1.0, classes=3, **settings):
    batch = batch_of("uamt")
    logits = random_logits(4, classes, 64, 64).requires_grad_()
    told = Says(answer)
    loss = tiny("uamt", **settings).certain_consistency(told, logits, batch, progress)
    return loss, logits, batch, told


def test_an_undecided_teacher_is_not_listened_to():
    loss, logits, *_ = certain_loss(torch.zeros(1, 3, 64, 64))
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_a_certain_teacher_is_a_mean_teacher():
    sure = 60.0 * nn.functional.one_hot(torch.arange(64) % 3, 3).T[None, :, :, None].expand(1, 3, 64, 64).float()
    loss, logits, batch, _ = certain_loss(sure, progress=0.0)
    assert loss.item() == pytest.approx(teacher_consistency(Says(sure), logits, batch).item(), rel=1e-6)


def test_only_certain_pixels_count():
    """Half of the rows certain: the loss is the mean over these."""
    answer = torch.zeros(1, 3, 64, 64)
    answer[:, 0, :32] = 60.0
    loss, logits, *_ = certain_loss(answer, progress=0.0)
    p = logits.softmax(dim=1)[2:, :, :32]
    expected = (p - torch.tensor([1.0, 0, 0])[:, None, None]).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_certainty_is_that_of_the_mean_of_all_passes():
    """Passes that are sure of different classes are not certain together."""
    calls = []

    def fickle(image):
        calls.append(1)
        return 60.0 * nn.functional.one_hot(torch.tensor(len(calls) % 3), 3)[None, :, None, None].float()

    loss, *_ = certain_loss(lambda image: fickle(image).expand(1, 3, 64, 64), passes=6)
    assert loss.item() == 0


def test_constants_of_two_classes():
    """As released: threshold ln 2·0.75 at the start and divisor 2; an entropy of 0.6 is too much."""
    p = torch.tensor([0.8, 0.15, 0.05])
    entropy = -(p * p.log()).sum().item()
    assert 0.521 < entropy < 0.75 * math.log(3)
    answer = p.log()[None, :, None, None].expand(1, 3, 64, 64)
    assert certain_loss(answer, progress=0.0)[0].item() > 0
    assert certain_loss(answer, progress=0.0, binary_constants=True)[0].item() == 0
    sure = torch.tensor([60.0, 0, 0])[None, :, None, None].expand(1, 3, 64, 64)
    ratio = certain_loss(sure, binary_constants=True)[0] / certain_loss(sure)[0]
    assert ratio.item() == pytest.approx(3 / 2, rel=1e-5)
    assert methods.get("uamt").preset("paper", small=False).binary_constants


def test_nine_predictions_per_image_in_five_calls():
    *_, told = certain_loss(torch.zeros(1, 3, 64, 64), passes=8)
    assert [len(image) for image in told.images] == [8, 8, 8, 8, 4]
    assert all(not torch.equal(image[:4], image[4:]) for image in told.images[:-1])


def test_an_odd_number_of_passes_is_refused():
    with pytest.raises(ValidationError):
        tiny("uamt", passes=3)


def test_mixing_by_hand():
    values = torch.tensor([2.0, 10.0])[:, None, None, None]
    mixture = ict.mixed(values, torch.tensor([1, 0]), torch.tensor([0.25, 0.5]))
    assert mixture.flatten().tolist() == [4.0, 6.0]


def test_shares_are_drawn_from_beta():
    """Beta(0.2, 0.2): mean ½, variance 1/(4·1.4)."""
    torch.manual_seed(0)
    share = ict.mixing_share(20_000, torch.device("cpu"))
    assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert share.var().item() == pytest.approx(1 / 5.6, abs=0.01)


def interpolated(monkeypatch, share, *, same=False):
    method, batch = tiny("ict"), batch_of("ict")
    if same:
        batch.image[3] = batch.image[2]
    monkeypatch.setattr(ict, "mixing_share", lambda count, device: torch.full((count,), share))
    networks = sharp(built(method).eval())
    networks["teacher"].head.bias.data += torch.tensor([1.0, 0.0, -1.0])
    return method.losses(networks, batch, 1.0)["consistency"].item(), networks, batch


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_extreme_shares_give_a_mean_teacher_without_noise(monkeypatch, share):
    value, networks, batch = interpolated(monkeypatch, share)
    rest = batch.only(torch.tensor([2, 3]))
    monkeypatch.setattr("napari_semiseg.methods.mean_teacher.noisy", lambda image: image)
    plain = teacher_consistency(networks["teacher"], networks["student"](rest.image).logits, rest)
    assert value == pytest.approx(0.1 * plain.item(), rel=1e-5)


def test_equal_images_do_not_depend_on_the_share(monkeypatch):
    values = [interpolated(monkeypatch, share, same=True)[0] for share in (0.1, 0.5, 0.8)]
    assert values[1:] == pytest.approx([values[0]] * 2, rel=1e-5)
    assert interpolated(monkeypatch, 0.5)[0] != pytest.approx(values[0], rel=1e-3)


def test_the_student_sees_mixtures_and_the_target_is_a_distribution(monkeypatch):
    method, batch = tiny("ict"), batch_of("ict")
    networks, seen, targets = built(method).eval(), [], []
    networks["student"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    square = terms.mean_square
    monkeypatch.setattr(terms, "mean_square", lambda p, q, where: targets.append(q) or square(p, q, where))
    monkeypatch.setattr(ict, "mixing_share", lambda count, device: torch.full((count,), 0.25))
    method.losses(networks, batch, 1.0)
    (image,), (target,) = seen, targets
    assert torch.equal(image[:2], batch.image[:2])
    assert torch.allclose(image[2], 0.75 * batch.image[2] + 0.25 * batch.image[3])
    assert torch.allclose(target.sum(dim=1), torch.ones(2, 64, 64), atol=1e-5)
    p = teacher.says(networks["teacher"], batch.image[2:]).softmax(dim=1)
    assert torch.allclose(target[1], 0.75 * p[1] + 0.25 * p[0], atol=1e-6)


def test_pixels_that_are_said_in_either_crop_are_left_out(monkeypatch):
    """A scribble in one of the two crops, and nothing else, is missing from the mean of both mixtures."""
    method, batch = tiny("ict"), batch_of("ict")
    label = batch.label.clone()
    label[3, :32] = 1
    seen, square = [], terms.mean_square
    monkeypatch.setattr(terms, "mean_square", lambda p, q, where: seen.append(where) or square(p, q, where))
    method.losses(built(method), dataclasses.replace(batch, label=label), 1.0)
    assert not seen[0][:, :32].any()
    assert seen[0][:, 32:].all()


def test_partners_are_no_near_copies():
    batch = batch_of("ict")
    batch = dataclasses.replace(batch, volume=torch.tensor([0, 0, 0, 1]), plane=torch.tensor([0, 2, 9, 0]))
    drawn = torch.stack([ict.partners(batch) for _ in range(60)])
    assert [sorted(set(column.tolist())) for column in drawn.T] == [[2, 3], [2, 3], [0, 1, 3], [0, 1, 2]]


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [1, 0])])
def test_partners_where_there_is_no_choice(count, expected):
    batch = batch_of("ict").only(torch.arange(count))
    batch = dataclasses.replace(batch, plane=torch.arange(count))
    assert ict.partners(batch).tolist() == expected
