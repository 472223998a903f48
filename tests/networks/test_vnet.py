"""V-Net, its decoders and Res34-3D (methods.md 1.2, 8 and 12-E; the parameter counts are in test_every_network.py)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_semiseg.errors import InputError
from napari_semiseg.networks import build
from napari_semiseg.networks.strides import ALL_AXES, IN_PLANE, strides_for_spacing, totals
from napari_semiseg.networks.vnet import UPSAMPLING, Up, VNet, VNetDecoders

THICK = (IN_PLANE, IN_PLANE, ALL_AXES, ALL_AXES)
of_volumes = pytest.mark.parametrize("name", ["vnet16", "vnet_decoders", "res34_3d"])


def volume(*size, batch=1) -> torch.Tensor:
    return torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(0))


def built(name="vnet16", classes=2, **options) -> nn.Module:
    torch.manual_seed(0)
    return build(name, 1, classes, **{"width": 4, **options})


@pytest.mark.parametrize(
    ("spacing", "in_plane"),
    [
        ((1, 1, 1), 0),
        ((1.99, 1, 1), 0),
        ((2, 1, 1), 1),
        ((5, 1, 1), 2),
        ((10, 1.25, 1.25), 3),
        ((3.0, 0.7, 1.4), 2),
        ((0.5, 1, 1), 0),
        ((100, 1, 1), 4),
    ],
)
def test_planes_are_halved_only_below_a_ratio_of_two(spacing, in_plane):
    assert strides_for_spacing(spacing) == (IN_PLANE,) * in_plane + (ALL_AXES,) * (4 - in_plane)


def test_totals_of_strides():
    assert totals(THICK) == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8), (4, 16, 16)]


@pytest.mark.parametrize("spacing", [(1, 1), (0, 1, 1), (1, -1, 1), (1, 1, float("nan")), (1, float("inf"), 1)])
def test_what_is_no_spacing(spacing):
    with pytest.raises(InputError, match="three positive distances"):
        strides_for_spacing(spacing)


@of_volumes
@pytest.mark.parametrize("strides", [(ALL_AXES,) * 3, (ALL_AXES,) * 5, ((2, 2, 1), *[ALL_AXES] * 3), ((2, 2),) * 4])
def test_what_are_no_strides(name, strides):
    with pytest.raises(InputError, match="4 strides"):
        built(name, strides=strides)


@of_volumes
def test_thick_planes_are_halved_less_often(name):
    output = built(name, strides=THICK)(volume(6, 33, 20))
    assert output.logits.shape == (1, 2, 6, 33, 20)
    shapes = {scale: tuple(feature.shape[2:]) for scale, feature in output.features.items()}
    assert shapes == {"full": (6, 33, 20), "1/2": (6, 17, 10), "1/4": (6, 9, 5), "1/8": (3, 5, 3)}


@of_volumes
def test_strides_may_be_lists(name):
    """As they come from JSON."""
    as_lists = built(name, strides=[list(stride) for stride in THICK]).state_dict()
    as_tuples = built(name, strides=THICK).state_dict()
    assert {key: value.shape for key, value in as_lists.items()} == {k: v.shape for k, v in as_tuples.items()}


@of_volumes
def test_planes_never_meet_where_none_are_halved_but_in_the_bottleneck(name):
    network = built(name, strides=(IN_PLANE,) * 4).eval()
    x = volume(9, 32, 32)
    changed = x.clone()
    changed[:, :, 4] += 1
    maps, others = network.encoder(x), network.encoder(changed)
    for one, other in zip(maps[:-1], others[:-1], strict=True):
        planes = (one != other).any(dim=1).flatten(2).any(dim=2)[0]
        assert planes.nonzero().flatten().tolist() == [4]
    planes = (maps[-1] != others[-1]).any(dim=1).flatten(2).any(dim=2)[0]
    assert planes[3:6].all()


def test_kernels_follow_the_strides():
    network = VNet(1, 2, width=4, strides=THICK)
    kernels = [level[0].kernel_size for level in network.encoder.levels]
    assert kernels == [(1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert [level[0].kernel_size for level in network.decoders[0].levels] == kernels[-2::-1]
    assert [up[0].kernel_size for up in network.decoders[0].ups] == list(reversed(THICK))


def test_convolutions_per_level():
    network = VNet(1, 2, width=4)
    counts = [
        [sum(isinstance(layer, nn.Conv3d) for layer in level) for level in levels]
        for levels in (network.encoder.levels, network.decoders[0].levels)
    ]
    assert counts == [[1, 2, 3, 3, 3], [3, 3, 2, 1]]


@pytest.mark.parametrize("width", [2, 8, 16])
def test_width_scales_every_level(width):
    network = VNet(1, 2, width=width)
    assert [level[0].out_channels for level in network.encoder.levels] == [width * 2**i for i in range(5)]
    assert network.feature_channels == {"full": width, "1/2": 2 * width, "1/4": 4 * width, "1/8": 8 * width}


@of_volumes
def test_skips_are_added(name):
    """Without what comes from below, the finest level sees the encoder's finest map itself."""
    network = built(name).eval()
    decoder = network.decoders[0]
    for parameter in decoder.ups[-1].parameters():
        nn.init.zeros_(parameter)
    maps = network.encoder(volume(16, 32, 32))
    _, decoded = decoder(maps)
    assert torch.equal(decoded[0], decoder.levels[-1](maps[0]))


@of_volumes
def test_dropout_hits_whole_channels_of_the_bottleneck_and_of_the_last_map(name):
    network = built(name, dropout=0.5).train()
    bottleneck = network.encoder(volume(16, 32, 32, batch=2))[-1]
    gone = (bottleneck.flatten(2) == 0).all(dim=2)
    assert 0.2 < gone.float().mean() < 0.8
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout3d)] == [0.5] * (
        1 + len(network.decoders)
    )
    seen = []
    network.decoders[0].head.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    for seed in range(8):
        torch.manual_seed(seed)
        network(volume(16, 32, 32, batch=2))
    dropped = torch.stack([(x.flatten(2) == 0).all(dim=2) for x in seen])
    assert 0.2 < dropped.float().mean() < 0.8


@of_volumes
def test_features_are_not_dropped(name):
    network = built(name, dropout=0.9).train()
    full = network(volume(16, 32, 32)).features["full"]
    assert (full.flatten(2) != 0).any(dim=2).all()


@of_volumes
def test_without_dropout_training_is_deterministic(name):
    network = built(name, dropout=0.0).train()
    x = volume(16, 32, 32)
    assert torch.equal(network(x).logits, network(x).logits)


def test_decoders_share_the_encoder_and_nothing_else():
    network = built("vnet_decoders", decoders=3).eval()
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    output = network(volume(16, 32, 32))
    assert calls == [1]
    logits = [decoder.logits for decoder in output.of_all_decoders]
    assert all(not torch.allclose(logits[i], logits[j], atol=1e-3) for i, j in ((0, 1), (0, 2), (1, 2)))
    output.others[0].logits.square().mean().backward()
    assert all(p.grad is None for i in (0, 2) for p in network.decoders[i].parameters())
    assert all(p.grad is not None for module in (network.encoder, network.decoders[1]) for p in module.parameters())


def test_the_first_decoder_is_that_of_the_vnet():
    network, single = built("vnet_decoders"), built("vnet16")
    mismatch = single.load_state_dict(network.state_dict(), strict=False)
    assert mismatch.missing_keys == []
    assert {key.split(".")[1] for key in mismatch.unexpected_keys} == {"1"}
    x = volume(16, 32, 32)
    assert torch.equal(network.eval()(x).logits, single.eval()(x).logits)


def test_each_decoder_enlarges_in_its_own_way():
    network = VNetDecoders(1, 2, width=4, decoders=3)
    kinds = [[type(layer).__name__ for layer in decoder.ups[0]][:2] for decoder in network.decoders]
    assert kinds == [["ConvTranspose3d", "BatchNorm3d"], ["Upsample", "Conv3d"], ["Upsample", "Conv3d"]]
    assert [decoder.ups[0][0].mode for decoder in list(network.decoders)[1:]] == ["trilinear", "nearest"]


@pytest.mark.parametrize("how", UPSAMPLING)
@pytest.mark.parametrize("stride", [IN_PLANE, ALL_AXES])
def test_ways_of_enlarging(how, stride):
    torch.manual_seed(0)
    up = Up(4, 2, stride, "batch", how)
    x = torch.randn(1, 4, 3, 4, 5)
    assert up(x).shape == (1, 2, *(side * step for side, step in zip((3, 4, 5), stride, strict=True)))
    if how != "transposed":
        enlarged = up[0](x)
        exact = enlarged[..., :: stride[0], ::2, ::2] if how == "nearest" else enlarged[..., :1, :1, :1]
        assert torch.allclose(exact, x if how == "nearest" else x[..., :1, :1, :1])
        # Interpolation makes values that were not there, repetition does not.
        assert (len(enlarged.unique()) == len(x.unique())) == (how == "nearest")
    if how == "trilinear":  # corners stay where they are
        ramp = up[0](torch.arange(5.0).expand(1, 4, 3, 4, 5))
        assert torch.allclose(ramp[0, 0, 0, 0], torch.linspace(0, 4, 5 * stride[2]), atol=1e-5)


@pytest.mark.parametrize("decoders", [0, 1, 4])
def test_two_or_three_decoders(decoders):
    with pytest.raises(InputError, match="two or three"):
        VNetDecoders(1, 2, decoders=decoders)


def test_unknown_upsampling_lists_the_valid_ones():
    with pytest.raises(InputError, match="transposed, trilinear, nearest"):
        VNet(1, 2, upsampling=("cubic",))
    with pytest.raises(InputError, match="at least one decoder"):
        VNet(1, 2, upsampling=())


def test_parameters_of_res34():
    """Counted by hand: stem, stages (a norm has two per channel), V-Net decoder."""
    expected = 7**3 * 16 + 2 * 16
    for i, blocks in enumerate((3, 4, 6, 3)):
        small, large = 16 * 2**i, 32 * 2**i
        expected += 27 * small * large + small * large + 27 * large * large + 6 * large
        expected += (blocks - 1) * (2 * 27 * large * large + 4 * large)
    for i, convolutions in enumerate((1, 2, 3, 3)):
        small, large = 16 * 2**i, 32 * 2**i
        expected += 8 * large * small + 3 * small + convolutions * (27 * small * small + 3 * small)
    expected += 16 * 2 + 2
    assert sum(p.numel() for p in build("res34_3d", 1, 2).parameters()) == expected == 17_930_354


def test_res34_has_the_blocks_of_a_resnet_34():
    network = built("res34_3d")
    assert [len(stage) for stage in network.encoder.stages] == [3, 4, 6, 3]
    maps = network.eval().encoder(volume(16, 32, 48))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (4, 16, 32, 48),
        (8, 8, 16, 24),
        (16, 4, 8, 12),
        (32, 2, 4, 6),
        (64, 1, 2, 3),
    ]


def test_a_residual_block_without_branch_is_its_shortcut():
    network = built("res34_3d").eval()
    block = network.encoder.stages[0][1]
    nn.init.zeros_(block.branch[-1].weight)
    x = torch.randn(1, 8, 4, 6, 6)
    assert torch.equal(block(x), x.relu())
