"""What cross pseudo supervision (CE) and cross teaching (Dice) need of the losses (methods.md 2)."""

from __future__ import annotations

import pytest
import torch

from napari_semiseg.losses.supervised import cross_entropy, dice_loss

both_losses = pytest.mark.parametrize("loss", [cross_entropy, dice_loss])


@both_losses
def test_agreeing_confident_networks_pay_nothing(loss):
    """Near one-hot, all classes present: at most 1e-4."""
    label = torch.arange(64).reshape(1, 8, 8) % 4
    logits = 15.0 * torch.nn.functional.one_hot(label, 4).permute(0, 3, 1, 2).float()
    assert 0 <= loss(logits, logits.argmax(dim=1)).item() <= 1e-4


@both_losses
def test_only_the_taught_network_gets_a_gradient(loss):
    generator = torch.Generator().manual_seed(0)
    taught, teacher = (torch.randn(2, 3, 6, 6, generator=generator).requires_grad_() for _ in range(2))
    loss(taught, teacher.argmax(dim=1)).backward()
    assert taught.grad.abs().sum() > 0
    assert teacher.grad is None


@both_losses
def test_swapping_the_networks_changes_nothing(loss):
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(2, 3, 6, 6, generator=generator) for _ in range(2))

    def mutual(p, q):
        return (loss(p, q.argmax(dim=1)) + loss(q, p.argmax(dim=1))).item()

    assert mutual(a, b) == mutual(b, a)
