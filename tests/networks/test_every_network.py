"""What every network must do."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from napari_semiseg.errors import InputError
from napari_semiseg.networks import NetworkOutput, build, names

NETWORKS = {
    "unet16": ("unet16", {}),
    "unet16, instance norm": ("unet16", {"norm": "instance"}),
    "cs_unet, narrow": ("cs_unet", {"embed_dim": 24}),
}
every_network = pytest.mark.parametrize(("name", "options"), NETWORKS.values(), ids=NETWORKS.keys())


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(name, options, channels=1, classes=4, seed=0) -> nn.Module:
    torch.manual_seed(seed)
    return build(name, channels, classes, **options)


def image(height, width, batch=2, channels=1) -> torch.Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


def test_all_names_are_tested():
    assert {name for name, _ in NETWORKS.values()} == set(names())


@every_network
@pytest.mark.parametrize("size", [(64, 64), (33, 47), (250, 250), (96, 160), (5, 70), (1, 1)])
def test_any_size_in_and_out(name, options, size):
    network = built(name, options)
    output = network(image(*size))
    assert isinstance(output, NetworkOutput)
    assert output.logits.shape == (2, 4, *size)
    output.logits.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    for scale, divisor in (("full", 1), ("1/4", 4), ("1/8", 8)):
        expected = (2, network.feature_channels[scale], *(-(-side // divisor) for side in size))
        assert output.features[scale].shape == expected


@every_network
def test_every_parameter_learns(name, options):
    network = built(name, options)
    torch.manual_seed(1)  # dropped paths
    for _ in range(3):
        network(image(64, 64)).logits.square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()] == []


@every_network
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_number_of_channels(name, options, channels):
    assert built(name, options, channels)(image(32, 32, channels=channels)).logits.shape == (2, 4, 32, 32)


@every_network
def test_features_belong_to_the_graph(name, options):
    network = built(name, options)
    output = network(image(32, 32))
    sum(output.features[scale].float().square().mean() for scale in ("full", "1/4", "1/8")).backward()
    first = next(network.parameters())
    assert first.grad.abs().sum() > 0


@every_network
def test_saved_and_loaded_it_says_the_same(name, options, tmp_path):
    network = built(name, options)
    network(image(64, 64))  # moves running statistics
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    copy = built(name, options, seed=1)
    copy.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        assert torch.equal(network.eval()(image(40, 40)).logits, copy.eval()(image(40, 40)).logits)


@every_network
def test_same_seed_same_network(name, options):
    first, second = built(name, options).state_dict(), built(name, options).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_network
def test_memory_format_changes_nothing(name, options):
    network = built(name, options).eval()
    with torch.no_grad():
        plain = network(image(48, 64)).logits
        moved = network.to(memory_format=torch.channels_last)(
            image(48, 64).to(memory_format=torch.channels_last)
        ).logits
    assert torch.allclose(plain, moved, atol=1e-4, rtol=1e-4)


@every_network
def test_bfloat16_is_close_and_trains(name, options):
    network = built(name, options).eval()
    with torch.no_grad():
        exact = network(image(48, 64)).logits
    with torch.autocast("cpu", torch.bfloat16):
        output = network(image(48, 64))
    error = (output.logits.float() - exact).square().mean().sqrt() / exact.std()
    assert error < 0.05
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image(48, 64)).logits
    logits.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@every_network
def test_images_of_a_batch_do_not_meet(name, options):
    """In evaluation the prediction of one image depends on no other."""
    network = built(name, options).eval()
    both = image(33, 47)
    with torch.no_grad():
        together, alone = network(both).logits, network(both[:1]).logits
    assert torch.allclose(together[:1], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "channels", "classes", "count"), [("unet16", 1, 4, 1_813_764), ("cs_unet", 3, 9, 24_690_576)]
)
def test_parameter_counts(name, channels, classes, count):
    assert sum(p.numel() for p in build(name, channels, classes).parameters()) == count


def test_grey_images_need_no_more_parameters():
    grey, colour = (sum(p.numel() for p in build("cs_unet", n, 9).parameters()) for n in (1, 3))
    assert grey == colour


@pytest.mark.parametrize(("side", "giga"), [(224, 2.26), (256, 2.95)])
def test_cost_of_the_unet(side, giga):
    """Multiply-adds of methods.md 14."""
    assert _multiply_adds(build("unet16", 1, 4), side) / 1e9 == pytest.approx(giga, abs=0.006)


def test_cost_of_cs_unet():
    """7.72 GMAC at 224² for nine classes, convolutions and linear layers only."""
    assert _multiply_adds(build("cs_unet", 3, 9), 224, 3) / 1e9 == pytest.approx(7.72, abs=0.006)


def _multiply_adds(network: nn.Module, side: int, channels: int = 1) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, channels, side, side))
    counted = counter.get_flop_counts()["Global"]
    return sum(n for operation, n in counted.items() if "bmm" not in str(operation)) / 2


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(InputError, match="unet16, cs_unet"):
        build("resnet", 1, 2)


def test_unknown_norm_lists_the_valid_ones():
    with pytest.raises(InputError, match="batch, instance"):
        build("unet16", 1, 2, norm="group")


def test_levels_and_dropout_must_match():
    with pytest.raises(InputError, match="3 levels"):
        build("unet16", 1, 2, channels=(8, 16, 32))
    assert build("unet16", 1, 2, channels=(8, 16, 32), dropout=(0, 0, 0.5))(image(9, 9)).logits.shape == (2, 2, 9, 9)
