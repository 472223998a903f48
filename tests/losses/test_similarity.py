"""Similarities (methods.md 7, tests 1, 2 and 4)."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_semiseg.losses.similarity import ggd_vmf, similarity, t_vmf


def at(function, x, kappa):
    return function(torch.tensor(x, dtype=torch.float64), kappa).item()


@pytest.mark.parametrize(
    ("x", "kappa", "value"),
    [
        (-1.0, 0.5, -1),
        (0.0, 0.5, -0.761594),
        (0.5, 0.5, -0.287829),
        (1.0, 0.5, 1),
        (0.0, 1.0, -0.750698),
        (0.5, 2.0, -0.670325),
    ],
)
def test_ggd_vmf_by_hand(x, kappa, value):
    # At x = 1 the distance is held at 1e-6, which takes 2e-6 off.
    assert at(ggd_vmf, x, kappa) == pytest.approx(value, abs=3e-6)


@pytest.mark.parametrize("kappa", [0.25, 0.5, 1, 2, 5])
@pytest.mark.parametrize("kind", ["ggd_vmf", "t_vmf", "cosine"])
def test_monotone_from_minus_one(kind, kappa):
    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    values = similarity(x, kind, kappa)
    assert (values.diff() >= 0).all()
    assert values[-1] - values[0] > 0.5
    assert values[0].item() == pytest.approx(-1, abs=1e-6)
    assert values.max() <= 1


def test_slope_at_identical_vectors():
    """φ'(1) = 4.07463 for κ = ½."""
    x = torch.tensor(1 - 1e-6, dtype=torch.float64, requires_grad=True)
    ggd_vmf(x, 0.5).backward()
    assert x.grad.item() == pytest.approx(4.07463, abs=2e-5)


@pytest.mark.parametrize("kappa", [0.25, 0.5, 1, 5])
def test_finite_gradients_for_identical_and_opposite_vectors(kappa):
    direction = functional.normalize(torch.randn(1, 32, generator=torch.Generator().manual_seed(0)))
    vectors = torch.cat([direction, direction, -direction]).requires_grad_()
    unit = functional.normalize(vectors, dim=1)
    value = ggd_vmf(unit @ unit.T, kappa).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("kappa", [0.25, 0.5, 1, 5])
def test_rounding_beyond_one_is_harmless(kappa):
    x = torch.tensor([1 + 1e-6, -1 - 1e-6], requires_grad=True)
    values = ggd_vmf(x, kappa)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(x.grad).all()


def test_t_vmf_by_hand():
    assert at(t_vmf, 1.0, 0.5) == 1
    assert at(t_vmf, -1.0, 0.5) == -1
    assert at(t_vmf, 0.0, 0.5) == pytest.approx(1 / 1.5 - 1)
    assert at(t_vmf, 0.3, 0.0) == pytest.approx(0.3)


def test_unknown_kind():
    with pytest.raises(ValueError, match="ggd_vmf"):
        similarity(torch.zeros(1), "euclidean", 0.5)  # type: ignore[arg-type]
