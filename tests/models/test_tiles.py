"""Tiles: a convolutional network gives the codes of the whole image, and its pixels up to rounding."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tests.shared_data import KODAK, needs_kodak
from torch import nn

from vqvae.models import VQVAE
from vqvae.models.tiles import Reach, decoder_reach, encoder_reach, reach_of, tiles_of
from vqvae.networks import Network, NetworkConfig, PaperNetwork, ResNet
from vqvae.quantizers import FSQ, VectorQuantizer
from vqvae.tensors import images_from_pixels, pixels_from_images


def _tokenizer(factor=4, blocks=2, channels=3, seed=0):
    torch.manual_seed(seed)
    paper = {"width": 16, "outer_width": 8, "residual_width": 8, "residual_blocks": blocks, "factor": factor}
    return _with_used_codes(VQVAE(VectorQuantizer(64, 4), channels=channels, **paper))


def _with_used_codes(model):
    """Take the vectors of a photo as codebook, so that the codes of an image differ."""
    with torch.no_grad():
        z_e = model.encoder(images_from_pixels(_photo(16 * model.factor, 16 * model.factor, model.channels)))
        model.quantizer.codebook.copy_(z_e.flatten(2)[0].T[::4])
    return model.eval()


def _photo(height, width, channels=3, seed=0):
    """Return smooth random pixels: all codes of white noise would be alike."""
    small = torch.rand(1, channels, height // 4 + 2, width // 4 + 2, generator=torch.Generator().manual_seed(seed))
    large = nn.functional.interpolate(small, (height, width), mode="bicubic")
    return pixels_from_images(large.clamp(0, 1) * 2 - 1)


def _check_equal(model, pixels, tile):
    """Assert that tiles give the exact codes of the whole, and pixels within one level; return the difference."""
    images = images_from_pixels(pixels)
    codes = model.encode(images, exact=True)
    assert torch.equal(model.encode(images, exact=True, tile=tile), codes)
    assert torch.equal(model.encode(pixels, exact=True, tile=tile), codes)
    whole, tiled = model.decode(codes), model.decode(codes, tile=tile)
    assert float((whole - tiled).abs().max()) < 1e-5
    difference = pixels_from_images(whole).int() - pixels_from_images(tiled).int()
    assert int(difference.abs().max()) <= 1
    return int(difference.abs().max()), codes


@pytest.mark.parametrize(
    ("factor", "blocks", "tile"), [(2, 0, 7), (4, 2, 16), (4, 2, 40), (8, 1, 64), (16, 3, 64)]
)
def test_tiles_give_the_codes_and_pixels_of_the_whole_at_odd_sizes_and_borders(factor, blocks, tile):
    model = _tokenizer(factor, blocks)
    for cells in ((11, 7), (5, 23), (1, 9)):
        _, codes = _check_equal(model, _photo(cells[0] * factor, cells[1] * factor), max(tile, factor))
        assert len(codes.unique()) > 1


NETWORKS = {kind: config() for kind, config in sorted(NetworkConfig.kinds().items())}
NETWORKS["attention"] = ResNet.Config(attention=True)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_every_kind_of_network_is_tiled_exactly_or_says_that_it_cannot_be(network):
    torch.manual_seed(0)
    config = VQVAE.Config(network=network, quantizer=VectorQuantizer.Config(num_codes=64, dim=4))
    model = _with_used_codes(config.build(channels=3))
    for parameter in model.parameters():  # blocks that start at zero would look at nothing
        torch.nn.init.normal_(parameter, std=0.05) if not parameter.any() else None
    if encoder_reach(model) is None or decoder_reach(model) is None:
        assert network not in (PaperNetwork.Config(), ResNet.Config())  # their outputs depend on a window
        with pytest.raises(ValueError, match="looks at the whole image"):
            model.decode(model.encode(_photo(64, 64), tile=32), tile=32)
        return
    _check_equal(model, _photo(23 * model.factor, 19 * model.factor), 9 * model.factor)


def test_grey_images_batches_and_tiles_larger_than_the_image():
    model = _tokenizer(channels=1)
    pixels = torch.cat([_photo(52, 36, 1, seed) for seed in range(3)])
    for tile in (7, 32, 36, 1000):
        _check_equal(model, pixels, tile)


@needs_kodak
def test_the_kodak_photographs_have_no_differing_code_and_pixels_within_one_level():
    import pyarrow.parquet as pq

    model, levels = _tokenizer(), 0
    for row in pq.read_table(KODAK / "test.parquet").column(0).to_pylist()[::8]:
        with Image.open(io.BytesIO(row["bytes"])) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]
        level, codes = _check_equal(model, pixels, 200)
        assert len(codes.unique()) > 30
        levels = max(levels, level)
    assert levels <= 1


@torch.no_grad()
def _tiles_differ(network, whole, cells, reach):
    """Return how many of the outputs of tiles of 5 cells differ from those of the whole."""

    def cut(values, where, cell):
        rows, columns = (slice(part.start * cell, part.stop * cell) for part in where)
        return values[..., rows, columns]

    expected = network(whole)
    return sum(
        int((~torch.isclose(cut(network(cut(whole, tile.window, cells[0])), tile.inside, cells[1]),
                            cut(expected, tile.kept, cells[1]), rtol=0, atol=1e-10)).sum())
        for tile in tiles_of((33, 33), side=5, reach=reach)
    )  # fmt: skip


def test_the_reach_is_measured_from_the_network_and_no_smaller_one_will_do():
    for factor, blocks in ((4, 2), (8, 0), (2, 5)):
        model = _tokenizer(factor, blocks)
        for reach, network, channels, cells in (
            (encoder_reach(model), model.encoder, 3, (factor, 1)),
            (decoder_reach(model), model.decoder, 4, (1, factor)),
        ):
            assert reach is not None and blocks <= min(reach) and max(reach) <= blocks + 3
            whole = torch.randn(1, channels, 33 * cells[0], 33 * cells[0], dtype=torch.float64, requires_grad=True)
            row = slice(16 * cells[1], 17 * cells[1])
            network.double()(whole)[..., row, row].sum().backward()  # the gradient agrees where no ReLU is off
            seen = whole.grad.abs().sum((0, 1)).view(33, cells[0], 33, cells[0]).sum((1, 3)).nonzero()
            assert int(seen.min()) >= 16 - reach.before and int(seen.max()) <= 16 + reach.after
            assert _tiles_differ(network, whole.detach(), cells, reach) == 0
            for smaller in (reach._replace(before=reach.before - 1), reach._replace(after=reach.after - 1)):
                assert _tiles_differ(network, whole.detach(), cells, smaller) > 0


def test_a_dead_relu_does_not_hide_what_a_network_looks_at():
    network = nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1))
    with torch.no_grad():
        network[0].bias.fill_(-1e6)
    assert reach_of(network, channels=3, input_cell=1, output_cell=1) == Reach(3, 3)


def test_a_network_that_is_not_symmetric_has_two_sides():
    shifted = nn.Sequential(nn.ZeroPad2d((2, 0, 2, 0)), nn.Conv2d(1, 1, 3))  # looks up and left alone
    assert reach_of(shifted, channels=1, input_cell=1, output_cell=1) == Reach(2, 0)


class Positions(nn.Module):
    def forward(self, x):
        return x + torch.arange(x.shape[3], dtype=x.dtype)


class Attention(nn.Module):
    def forward(self, x):
        flat = x.flatten(2).mT
        return nn.functional.scaled_dot_product_attention(flat, flat, flat).mT.view_as(x)


class Windows(nn.Module):
    """Means over windows of 3 pixels, counted from the left border."""

    def forward(self, x):
        return (
            nn.functional.avg_pool2d(nn.functional.pad(x, (0, 2, 0, 2)), 3, ceil_mode=True)
            .repeat_interleave(3, 2)
            .repeat_interleave(3, 3)[..., : x.shape[2], : x.shape[3]]
        )


@pytest.mark.parametrize("module", [nn.GroupNorm(1, 4), Attention(), Positions(), Windows(), nn.InstanceNorm2d(4)])
def test_what_depends_on_the_whole_image_or_on_the_place_has_no_reach(module):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), module)
    assert reach_of(network, channels=3, input_cell=1, output_cell=1) is None


def test_batch_normalisation_in_eval_mode_is_local():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)).eval()
    assert reach_of(network, channels=3, input_cell=1, output_cell=1) == Reach(1, 1)


def test_a_network_that_looks_at_the_whole_image_needs_an_overlap():
    paper = PaperNetwork(3, latent_channels=3, width=16, outer_width=8, residual_width=8)
    network = Network(nn.Sequential(*paper.encoder, nn.GroupNorm(1, 3)), paper.decoder, factor=4)
    model = VQVAE(FSQ((4, 4, 4)), network=network).eval()
    pixels = _photo(64, 96)
    with pytest.raises(ValueError, match="looks at the whole image"):
        model.encode(pixels, tile=32)
    assert model.encode(pixels, tile=32, overlap=16).shape == (1, 16, 24, 1)
    assert torch.equal(model.encode(pixels, tile=96, overlap=0), model.encode(pixels))
    for wrong, says in (({"tile": 3}, "tile 3"), ({"tile": 32, "overlap": -1}, "overlap -1")):
        with pytest.raises(ValueError, match=says):
            model.encode(pixels, **{"overlap": 8, **wrong})
    with pytest.raises(ValueError, match="multiples of 4"):
        model.encode(_photo(64, 96)[..., :-1], tile=32)


@pytest.mark.parametrize(("grid", "side"), [((7, 5), 2), ((1, 1), 4), ((8, 3), 8)])
def test_tiles_cover_every_cell_once_and_stay_inside(grid, side):
    seen = torch.zeros(grid)
    for tile in tiles_of(grid, side=side, reach=Reach(2, 1)):
        seen[tile.kept] += 1
        for kept, window, size in zip(tile.kept, tile.window, grid, strict=True):
            assert window.start == max(0, kept.start - 2) and window.stop == min(size, kept.stop + 1)
    assert (seen == 1).all()
