"""Swin-Unet (methods.md 1.2; what it shares with CS-Unet is tested in test_cs_unet.py)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_semiseg.networks.swin_unet import Block, Expand, SwinUnet, WindowAttention, relative_places

SIZE = 7


def tokens(height, width, channels=12, seed=0) -> torch.Tensor:
    return torch.randn(1, height, width, channels, generator=torch.Generator().manual_seed(seed))


def attention(shift=0, seed=0) -> WindowAttention:
    torch.manual_seed(seed)
    return WindowAttention(12, 3, SIZE, shift).eval()


def test_places_of_a_window_of_two():
    """Tokens 00, 01, 10, 11; row and column distance −1…1 count from the top left: 3·(dr+1) + dc+1."""
    assert relative_places(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_every_relative_position_has_its_bias():
    places = relative_places(SIZE)
    assert places.unique().tolist() == list(range(13 * 13))
    assert (places.diagonal() == 84).all()


def test_attention_by_hand():
    """Per head softmax(q·k/√4 + bias)·v, heads one after another in the channels."""
    layer = attention()
    nn.init.normal_(layer.bias)
    x = tokens(SIZE, SIZE)
    with torch.no_grad():
        result = layer(x)
        q, k, v = layer.project(x.reshape(49, 12)).split(12, dim=1)
        mixed = []
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            scores = q[:, part] @ k[:, part].T / 2 + layer.bias[relative_places(SIZE), head]
            mixed.append(scores.softmax(dim=1) @ v[:, part])
        expected = layer.out(torch.cat(mixed, dim=1)).reshape(1, SIZE, SIZE, 12)
    assert torch.allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(("shift", "reached"), [(0, (7, 13)), (3, (3, 9))])
def test_a_token_reaches_its_window_only(shift, reached):
    layer = attention(shift)
    x = tokens(3 * SIZE, 3 * SIZE)
    changed = x.clone()
    changed[0, SIZE, SIZE] += 5
    with torch.no_grad():
        rows, columns = torch.nonzero((layer(x) != layer(changed)).any(dim=-1)[0], as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == reached * 2


def test_padding_takes_no_part_in_attention():
    """With equal scores each real token sees the mean of its window's real tokens."""
    layer = attention()
    with torch.no_grad():
        layer.bias.zero_()
        layer.project.weight[:24].zero_()
        layer.project.weight[24:] = torch.eye(12)
        layer.project.bias.zero_()
        layer.out.weight[:] = torch.eye(12)
        layer.out.bias.zero_()
    x = tokens(7, 10)
    result = layer(x)
    for part in (slice(0, 7), slice(7, 10)):
        mean = x[:, :, part].mean(dim=(1, 2), keepdim=True)
        assert torch.allclose(result[:, :, part], mean.expand_as(x[:, :, part]), atol=1e-5)


def test_block_without_branches_is_the_identity():
    torch.manual_seed(0)
    block = Block(12, 3, SIZE, 3, 0.0)
    x = tokens(14, 14)
    assert not torch.equal(block(x), x)
    for layer in (block.attention.out, block.feed_forward[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    assert torch.equal(block(x), x)


def test_expanding_keeps_neighbours_together():
    """The 2C channels of a token are its four pixels, row by row, C/2 channels each, normalised one by one."""
    expand = Expand(4)
    x = tokens(2, 3, 4)
    with torch.no_grad():
        grown = expand.grow(x).reshape(1, 2, 3, 2, 2, 2)
        result = expand(x)
        assert result.shape == (1, 4, 6, 2)
        assert torch.allclose(result[0, 3, 4], expand.norm(grown[0, 1, 2, 1, 0]), atol=1e-6)


def test_weights_begin_small():
    network = SwinUnet(1, 4, embed_dim=24)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert all(layer.weight.abs().max() < 0.12 for layer in linear)
    assert all(not layer.bias.any() for layer in linear if layer.bias is not None)


def test_drop_path_grows_over_the_encoder_and_the_decoder_mirrors_it():
    network = SwinUnet(1, 4, embed_dim=24, drop_path=0.7)
    rates = [[round(block.drop_path.rate, 3) for block in stage] for stage in network.encoder]
    assert rates == [[0.0, 0.1], [0.2, 0.3], [0.4, 0.5], [0.6, 0.7]]
    assert [[round(block.drop_path.rate, 3) for block in stage] for stage in network.decoder] == rates[2::-1]


def test_every_second_block_is_shifted():
    network = SwinUnet(1, 4, embed_dim=24)
    shifts = [[block.attention.shift for block in stage] for stage in (*network.encoder, *network.decoder)]
    assert shifts == [[0, 3]] * 7


@pytest.mark.parametrize("size", [(224, 224), (192, 320), (250, 250)])
def test_one_module_takes_all_sizes(size):
    torch.manual_seed(0)
    network = SwinUnet(3, 4, embed_dim=24).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, *size)).logits.shape == (1, 4, *size)
