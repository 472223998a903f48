"""What every network must do."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from napari_semiseg.errors import InputError
from napari_semiseg.networks import NetworkOutput, build, names
from napari_semiseg.networks.padding import crop_back, crop_to, pad_to_multiple
from napari_semiseg.networks.unet import UPSAMPLING

NETWORKS = {
    "unet16": ("unet16", {}),
    "unet16, instance norm": ("unet16", {"norm": "instance"}),
    "cs_unet, narrow": ("cs_unet", {"embed_dim": 24}),
    "swin_unet, narrow": ("swin_unet", {"embed_dim": 24}),
    "unet_decoders": ("unet_decoders", {"channels": (8, 16, 32, 64, 128), "upsampling": UPSAMPLING}),
    "resnet_unet, narrow": ("resnet_unet", {"width": 16}),
    "resnet_unet, deep": ("resnet_unet", {"width": 8, "depth": 50}),
    "lrc_pair, narrow": ("lrc_pair", {"width": 16, "channels": (8, 16, 32, 64, 128)}),
    "unet32t, narrow": ("unet32t", {"channels": (8, 16, 32, 64, 128)}),
    "vnet16, narrow": ("vnet16", {"width": 8}),
    "vnet16, narrow, instance norm": ("vnet16", {"width": 8, "norm": "instance"}),
    "vnet_decoders, narrow": ("vnet_decoders", {"width": 4, "decoders": 3}),
    "res34_3d, narrow": ("res34_3d", {"width": 4}),
}
SEVERAL_DECODERS = ("unet_decoders", "vnet_decoders")
OF_VOLUMES = ("vnet16", "vnet_decoders", "res34_3d")
pytestmark = pytest.mark.usefixtures("one_thread")
every_network = pytest.mark.parametrize(("name", "options"), NETWORKS.values(), ids=NETWORKS.keys())


def built(name, options, channels=1, classes=4, seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, channels, classes, **options)


def image(*size, batch=2, channels=1) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))


def sized(network, *size, planes=8) -> tuple[int, ...]:
    """Rows and columns, with planes before them for networks of volumes."""
    return size if network.spatial_axes == 2 else (planes, *size)


def loss(output: NetworkOutput) -> torch.Tensor:
    return sum(decoder.logits.float().square().mean() for decoder in output.of_all_decoders)


def test_all_names_are_tested():
    assert {name for name, _ in NETWORKS.values()} == set(names())


@every_network
def test_it_says_what_it_takes(name, options):
    assert built(name, options).spatial_axes == (3 if name in OF_VOLUMES else 2)


@every_network
@pytest.mark.parametrize(
    ("size", "planes"), [((64, 64), 16), ((33, 47), 5), ((130, 130), 3), ((48, 96), 18), ((5, 70), 33), ((1, 1), 1)]
)
def test_any_size_in_and_out(name, options, size, planes):
    network = built(name, options)
    size = sized(network, *size, planes=planes)
    output = network(image(*size))
    assert isinstance(output, NetworkOutput)
    assert len(output.of_all_decoders) == (3 if name in SEVERAL_DECODERS else 1)
    loss(output).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    for decoder in output.of_all_decoders:
        assert decoder.logits.shape == (2, 4, *size)
        assert {"full", "1/4", "1/8"} <= set(decoder.features) == set(network.feature_channels)
        for scale, feature in decoder.features.items():
            divisor = 1 if scale == "full" else int(scale.removeprefix("1/"))
            assert feature.shape == (2, network.feature_channels[scale], *(-(-side // divisor) for side in size))


@every_network
def test_a_single_small_image_trains(name, options):
    """Batch norm refuses one value per channel."""
    network = built(name, options)
    loss(network(image(*sized(network, 9, 9, planes=2), batch=1))).backward()


@every_network
def test_every_parameter_learns(name, options):
    network = built(name, options)
    torch.manual_seed(1)  # dropped paths
    for _ in range(3):
        loss(network(image(*sized(network, 64, 64)))).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []
    # Nothing but a bias before a batch norm is without effect.
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())


@every_network
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_number_of_channels(name, options, channels):
    network = built(name, options, channels)
    size = sized(network, 32, 32)
    assert network(image(*size, channels=channels)).logits.shape == (2, 4, *size)


@every_network
def test_features_belong_to_the_graph(name, options):
    network = built(name, options)
    output = network(image(*sized(network, 32, 32)))
    for decoder in output.of_all_decoders:
        network.zero_grad()
        sum(feature.float().square().mean() for feature in decoder.features.values()).backward(retain_graph=True)
        assert next(network.parameters()).grad.abs().sum() > 0


@every_network
def test_saved_and_loaded_it_says_the_same(name, options, tmp_path):
    network = built(name, options)
    network(image(*sized(network, 64, 64)))  # moves running statistics
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    copy = built(name, options, seed=1)
    copy.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x = image(*sized(network, 40, 40))
    with torch.no_grad():
        first, second = network.eval()(x), copy.eval()(x)
    for one, other in zip(first.of_all_decoders, second.of_all_decoders, strict=True):
        assert torch.equal(one.logits, other.logits)


@every_network
def test_same_seed_same_network(name, options):
    first, second = built(name, options).state_dict(), built(name, options).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_network
def test_memory_format_changes_nothing(name, options):
    network = built(name, options).eval()
    x = image(*sized(network, 48, 64))
    last = torch.channels_last if network.spatial_axes == 2 else torch.channels_last_3d
    with torch.no_grad():
        plain = network(x).logits
        moved = network.to(memory_format=last)(x.to(memory_format=last)).logits
    assert torch.allclose(plain, moved, atol=1e-4, rtol=1e-4)


@every_network
def test_bfloat16_is_close_and_trains_slices(name, options):
    network = built(name, options).eval()
    x = image(*sized(network, 48, 64))
    with torch.no_grad():
        exact = network(x).logits
    with torch.autocast("cpu", torch.bfloat16):
        output = network(x)
    error = (output.logits.float() - exact).square().mean().sqrt() / exact.std()
    # Instance norms, 22 in V-Net, enlarge roundings where an image hardly varies.
    assert error < (0.15 if options.get("norm") == "instance" else 0.05)
    if network.spatial_axes == 3:
        return  # trained in float32 on a CPU, see choose_precision
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(x)
    loss(output).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@every_network
def test_images_of_a_batch_do_not_meet(name, options):
    """In evaluation the prediction of one image depends on no other."""
    network = built(name, options).eval()
    both = image(*sized(network, 33, 47))
    with torch.no_grad():
        together, alone = network(both).logits, network(both[:1]).logits
    assert torch.allclose(together[:1], alone, atol=1e-4)


@every_network
def test_padding_is_the_network_s_business(name, options):
    """An image whose last rows, columns and planes were repeated beforehand gets the same prediction."""
    network = built(name, options).eval()
    size = sized(network, 21, 30, planes=5)
    x = image(*size)
    padded = pad_to_multiple(x, 32 if network.spatial_axes == 2 else (16, 32, 32))
    assert padded.shape[2:] == sized(network, 32, 32, planes=16)
    with torch.no_grad():
        ours, theirs = network(x), network(padded)
    assert torch.allclose(ours.logits, crop_to(theirs.logits, size), atol=1e-5)
    for scale, feature in ours.features.items():
        divisor = 1 if scale == "full" else int(scale.removeprefix("1/"))
        assert torch.allclose(feature, crop_to(theirs.features[scale], size, divisor), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "channels", "classes", "options", "count"),
    [
        ("unet16", 1, 4, {}, 1_813_764),
        ("cs_unet", 3, 9, {}, 24_690_576),
        ("swin_unet", 1, 4, {}, 27_168_420),
        ("unet32t", 1, 4, {}, 7_766_532),
        # U-Net16, and 633,300 for every further decoder.
        ("unet_decoders", 1, 4, {"upsampling": ("bilinear",) * 4}, 3_713_664),
        ("vnet16", 1, 2, {}, 9_448_866),
        # MC-Net and MC-Net+ report 12.35 and 15.25 million.
        ("vnet_decoders", 1, 2, {}, 12_347_716),
        ("vnet_decoders", 1, 2, {"decoders": 3}, 15_246_566),
    ],
)
def test_parameter_counts(name, channels, classes, options, count):
    assert sum(p.numel() for p in build(name, channels, classes, **options).parameters()) == count


@pytest.mark.parametrize("name", ["cs_unet", "swin_unet"])
def test_grey_images_need_no_more_parameters(name):
    grey, colour = (sum(p.numel() for p in build(name, n, 9).parameters()) for n in (1, 3))
    assert grey == colour


@pytest.mark.parametrize(("side", "giga"), [(224, 2.26), (256, 2.95)])
def test_cost_of_the_unet(side, giga):
    """Multiply-adds of methods.md 14."""
    assert _multiply_adds(build("unet16", 1, 4), side) / 1e9 == pytest.approx(giga, abs=0.006)


def test_cost_of_cs_unet():
    """7.72 GMAC at 224² for nine classes, convolutions and linear layers only."""
    assert _multiply_adds(build("cs_unet", 3, 9), 224, 3) / 1e9 == pytest.approx(7.72, abs=0.006)


def test_cost_of_swin_unet():
    """5.87 GMAC at 224², convolutions and linear layers only."""
    assert _multiply_adds(build("swin_unet", 3, 4), 224, 3) / 1e9 == pytest.approx(5.87, abs=0.006)


def test_cost_of_four_decoders():
    """As much more than one as the thesis reports for CCT: 8.77 to 3.00 (T-Tab 5.9)."""
    four = _multiply_adds(build("unet_decoders", 1, 4, upsampling=("bilinear",) * 4), 256)
    assert four / _multiply_adds(build("unet16", 1, 4), 256) == pytest.approx(8.77 / 3.00, abs=0.01)


def _multiply_adds(network: nn.Module, side: int, channels: int = 1) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, channels, side, side))
    counted = counter.get_flop_counts()["Global"]
    return sum(n for operation, n in counted.items() if "bmm" not in str(operation)) / 2


def test_padding_repeats_the_last_of_each_axis():
    x = torch.arange(2 * 3 * 5.0).reshape(1, 1, 2, 3, 5)
    padded = pad_to_multiple(x, (1, 4, 4), least=(3, 0, 0))
    assert padded.shape == (1, 1, 3, 4, 8)
    assert torch.equal(crop_to(padded, (2, 3, 5)), x)
    assert torch.equal(padded[0, 0, 2], padded[0, 0, 1])
    assert torch.equal(padded[0, 0, :, 3], padded[0, 0, :, 2])
    assert all(torch.equal(padded[..., column], padded[..., 4]) for column in (5, 6, 7))
    assert pad_to_multiple(x, 1) is x


def test_cropping_keeps_what_covers_the_image():
    x = torch.arange(4 * 8.0).reshape(1, 1, 4, 8)
    assert torch.equal(crop_back(x, 5, 9, 2), x[..., :3, :5])
    assert crop_to(x[None], (1, 4, 8), (1, 4, 8)).shape == (1, 1, 1, 1, 1)


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(InputError, match="unet16, cs_unet"):
        build("resnet", 1, 2)


@pytest.mark.parametrize(
    "name", ["unet16", "unet32t", "unet_decoders", "resnet_unet", "vnet16", "vnet_decoders", "res34_3d"]
)
def test_unknown_norm_lists_the_valid_ones(name):
    with pytest.raises(InputError, match="batch, instance"):
        build(name, 1, 2, norm="group")


def test_levels_and_dropout_must_match():
    with pytest.raises(InputError, match="3 levels"):
        build("unet16", 1, 2, channels=(8, 16, 32))
    assert build("unet16", 1, 2, channels=(8, 16, 32), dropout=(0, 0, 0.5))(image(9, 9)).logits.shape == (2, 2, 9, 9)
