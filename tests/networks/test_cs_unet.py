"""CS-Unet (methods.md 3, tests 1 to 6; the parameter count is in test_every_network.py)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from napari_semiseg.networks.cs_unet import Block, CSUnet, WindowAttention
from napari_semiseg.networks.tokens import DropPath, attend, join_windows, region_mask, shuffle, windows

SIZE = 7


def tokens(height, width, channels=12, batch=1, seed=0) -> torch.Tensor:
    return torch.randn(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(1, 3), down=st.integers(1, 4), right=st.integers(1, 4), size=st.integers(1, 7))
def test_windows_and_back(batch, down, right, size):
    x = tokens(down * size, right * size, 3, batch)
    cut = windows(x, size)
    assert cut.shape == (batch * down * right, size, size, 3)
    assert torch.equal(cut[0], x[0, :size, :size])
    assert torch.equal(join_windows(cut, down * size, right * size), x)


def test_windows_are_independent():
    """One changed token leaves the output of every other window bit-identical."""
    torch.manual_seed(0)
    attention = WindowAttention(12, 3, SIZE, 0).eval()
    x = tokens(3 * SIZE, 3 * SIZE)
    changed = x.clone()
    changed[0, SIZE + 6, SIZE] += 5  # a token at the window's border
    with torch.no_grad():
        differs = (attention(x) != attention(changed)).any(dim=-1)[0]
    per_window = windows(differs[None, :, :, None], SIZE).flatten(1).sum(dim=1)
    assert per_window[4] == SIZE * SIZE
    assert per_window.sum() == per_window[4]


def test_shifted_attention_crosses_the_windows():
    torch.manual_seed(0)
    attention = WindowAttention(12, 3, SIZE, 3).eval()
    x = tokens(3 * SIZE, 3 * SIZE)
    changed = x.clone()
    changed[0, SIZE, SIZE] += 5
    with torch.no_grad():
        differs = (attention(x) != attention(changed)).any(dim=-1)[0]
    rows, columns = torch.nonzero(differs, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 9, 3, 9)


@pytest.mark.parametrize(("height", "width"), [(14, 14), (10, 14), (21, 16), (8, 9)])
@pytest.mark.parametrize("shift", [0, 3])
def test_mask_separates_what_wraps_and_what_is_padding(height, width, shift):
    """Real tokens attend to a token if, and only if, it is real and lies as far away as it does in the window."""
    rows, columns = (side + -side % SIZE for side in (height, width))
    mask = region_mask(height, width, rows, columns, SIZE, shift, torch.device("cpu"))[:, 0]
    where = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
    origin = windows(torch.roll(where, (-shift, -shift), (0, 1))[None], SIZE).reshape(-1, SIZE * SIZE, 2)
    in_window = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"), dim=-1).reshape(
        -1, 2
    )
    apart = in_window[:, None] - in_window[None]
    neighbours = ((origin[:, :, None] - origin[:, None]) == apart).all(dim=-1)
    real = (origin[..., 0] < height) & (origin[..., 1] < width)
    allowed = neighbours & real[:, None, :]
    assert torch.equal((mask == 0)[real], allowed[real])


def test_softmax_mass_of_other_regions():
    """Below 1e-20 however strongly the tokens attract each other."""
    mask = region_mask(14, 14, 14, 14, SIZE, 3, torch.device("cpu"))
    q = 10 * torch.randn(len(mask), 3, SIZE * SIZE, 4, generator=torch.Generator().manual_seed(0))
    k = 10 * torch.randn(len(mask), 3, SIZE * SIZE, 4, generator=torch.Generator().manual_seed(1))
    weights = attend(q, k, torch.eye(SIZE * SIZE).expand(len(mask), 3, -1, -1), mask)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-5)
    masked = (mask < 0).expand_as(weights)
    assert masked.any()
    assert weights[masked].max() < 1e-20


def test_attention_equals_the_fused_kernel():
    q, k, v = (torch.randn(4, 3, 49, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    mask = torch.where(torch.rand(4, 1, 49, 49, generator=torch.Generator().manual_seed(3)) < 0.3, -1e4, 0.0)
    for m in (None, mask):
        assert torch.allclose(
            attend(q, k, v, m), functional.scaled_dot_product_attention(q, k, v, attn_mask=m), atol=1e-5
        )


def test_padding_takes_no_part_in_attention():
    """With Q = K = 0 and V the tokens themselves, each real token sees the mean of its window's real tokens."""
    attention = WindowAttention(12, 3, SIZE, 0)
    attention.norms[2] = nn.Identity()
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    with torch.no_grad():
        for norm in attention.norms[:2]:
            norm.weight.zero_()
        attention.project.weight[:] = centre
        attention.out.weight[:] = centre
    x = tokens(7, 10)
    result = attention(x)
    assert result.shape == x.shape
    for part in (slice(0, 7), slice(7, 10)):
        mean = x[:, :, part].mean(dim=(1, 2), keepdim=True)
        assert torch.allclose(result[:, :, part], functional.gelu(mean).expand_as(x[:, :, part]), atol=1e-5)


def test_block_without_branches_is_the_identity():
    """γ = 0 and output convolution 0."""
    torch.manual_seed(0)
    pair = nn.Sequential(*(Block(12, 3, SIZE, shift, 0.0, 0.0) for shift in (0, 3)))
    x = tokens(14, 14)
    assert not torch.equal(pair(x), x)
    for block in pair:
        nn.init.zeros_(block.attention.out.weight)
    assert torch.equal(pair(x), x)


@pytest.mark.parametrize("size", [(224, 224), (192, 320), (250, 250)])
def test_one_module_takes_all_sizes(size):
    torch.manual_seed(0)
    network = CSUnet(3, 4, embed_dim=24).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, *size)).logits.shape == (1, 4, *size)


def test_grey_is_repeated():
    torch.manual_seed(0)
    grey = CSUnet(1, 4, embed_dim=24).eval()
    colour = CSUnet(3, 4, embed_dim=24).eval()
    colour.load_state_dict(grey.state_dict())
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(grey(x).logits, colour(x.expand(-1, 3, -1, -1)).logits)


def test_final_shuffle_keeps_neighbours_together():
    """Channel 4p+q of token (i, j) becomes pixel (4i+p, 4j+q)."""
    rows, columns = torch.arange(8)[:, None], torch.arange(12)[None]
    pixels = (100.0 * rows + columns)[None, None]
    x = functional.pixel_unshuffle(pixels, 4).permute(0, 2, 3, 1)
    assert torch.equal(shuffle(x, 4)[..., 0], pixels[:, 0])


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 1, 1)
    kept = drop(x).reshape(4000, -1)
    assert (kept == kept[:, :1]).all()
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert kept.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(x), x)
