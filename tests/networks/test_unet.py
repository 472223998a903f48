"""U-Net and its decoders (methods.md 1.2, 2 CCT, 8; the parameter counts are in test_every_network.py)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_semiseg.errors import InputError
from napari_semiseg.networks import build
from napari_semiseg.networks.unet import UPSAMPLING, UNetDecoders, UpBlock

SMALL = {"channels": (4, 8, 16, 32, 64), "dropout": (0.0,) * 5}


def image(*size) -> torch.Tensor:
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(0))


def built(name="unet_decoders", **options) -> nn.Module:
    torch.manual_seed(0)
    return build(name, 1, 3, **{**SMALL, **options})


def test_decoders_share_the_encoder_and_nothing_else():
    network = built(upsampling=UPSAMPLING).eval()
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    output = network(image(32, 32))
    assert calls == [1]
    logits = [decoder.logits for decoder in output.of_all_decoders]
    assert all(not torch.allclose(logits[i], logits[j], atol=1e-3) for i, j in ((0, 1), (0, 2), (1, 2)))
    output.others[0].logits.square().mean().backward()
    reached = (network.encoder, network.branches[0])
    for module in (*reached, network.decoder, network.head, network.branches[1]):
        assert all((p.grad is not None) == (module in reached) for p in module.parameters())


def test_the_first_decoder_is_that_of_the_unet():
    network, single = built(), built("unet16")
    mismatch = single.load_state_dict(network.state_dict(), strict=False)
    assert mismatch.missing_keys == []
    assert {key.split(".")[0] for key in mismatch.unexpected_keys} == {"branches"}
    x = image(33, 40)
    assert torch.equal(network.eval()(x).logits, single.eval()(x).logits)


def test_a_branch_decodes_other_levels_than_the_main_decoder():
    """As CCT perturbs what its auxiliary decoders see."""
    network = built().eval()
    levels = network.encode(image(32, 32))
    quiet = [torch.zeros_like(level) for level in levels]
    branch = network.branches[0]
    assert not torch.equal(network.decode(levels, 32, 32, branch).logits, network.decode(quiet, 32, 32, branch).logits)


def test_each_decoder_enlarges_in_its_own_way():
    network = built(upsampling=("nearest", "transposed", "bilinear"))
    kinds = [
        {type(up.enlarge).__name__ + getattr(up.enlarge, "mode", "") for up in part.decoder}
        for part in (network, *network.branches)
    ]
    assert kinds == [{"Upsamplenearest"}, {"ConvTranspose2d"}, {"Upsamplebilinear"}]


@pytest.mark.parametrize("how", UPSAMPLING)
def test_ways_of_enlarging(how):
    torch.manual_seed(0)
    up = UpBlock(4, 2, 3, "batch", how).eval()
    x, skip = torch.randn(1, 4, 3, 5), torch.randn(1, 2, 6, 10)
    assert up(x, skip).shape == (1, 3, 6, 10)
    enlarged = up.enlarge(up.reduce(x))
    assert torch.equal(up(x, skip), up.block(torch.cat([skip, enlarged], dim=1)))
    if how == "nearest":
        assert torch.equal(enlarged[..., ::2, ::2], enlarged[..., 1::2, 1::2])
    if how == "bilinear":
        corners = (..., [0, 0, -1, -1], [0, -1, 0, -1])
        assert torch.allclose(enlarged[corners], up.reduce(x)[corners], atol=1e-6)


def test_unknown_upsampling_lists_the_valid_ones():
    with pytest.raises(InputError, match="bilinear, transposed, nearest"):
        built("unet16", upsampling="cubic")
    with pytest.raises(InputError, match="at least one decoder"):
        UNetDecoders(1, 2, upsampling=())


@pytest.mark.parametrize(("depth", "count"), [(18, 11_176_512), (50, 23_508_032)])
def test_encoders_are_the_usual_resnets(depth, count):
    """Parameters of the published ResNets without their classifier."""
    network = build("resnet_unet", 3, 4, depth=depth)
    assert sum(p.numel() for p in network.encoder.parameters()) == count


def test_levels_of_a_resnet():
    network = build("resnet_unet", 1, 4, width=16).eval()
    levels = network.encode(image(64, 96))
    assert torch.equal(levels[0], image(64, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (1, 64, 96),
        (16, 32, 48),
        (16, 16, 24),
        (32, 8, 12),
        (64, 4, 6),
        (128, 2, 3),
    ]
    assert network.bottleneck_channels == 128


def test_unknown_depth_lists_the_valid_ones():
    with pytest.raises(InputError, match="18, 50"):
        build("resnet_unet", 1, 4, depth=34)
