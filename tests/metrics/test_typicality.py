"""Typicality is a rank on both sides, and finds what a likelihood alone does not."""

import pytest
import torch

from vqvae.data import load
from vqvae.metrics.typicality import code_bits, typicality
from vqvae.priors import PixelCNN


def test_it_is_the_share_of_held_out_images_at_least_as_far_from_their_mean():
    validation = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])  # mean 4, distances 3 2 1 0 6
    nats = torch.tensor([4.0, 5.0, 3.0, 6.5, 1.4, -2.0, 10.0, 11.0, -100.0])
    expected = [6 / 6, 5 / 6, 5 / 6, 3 / 6, 3 / 6, 2 / 6, 2 / 6, 1 / 6, 1 / 6]
    assert typicality(nats, validation).tolist() == pytest.approx(expected)


def test_it_knows_neither_unit_nor_side():
    validation = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nats = torch.randn(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    base = typicality(nats, validation)
    for scaled in (typicality(3 * nats + 7, 3 * validation + 7), typicality(-nats, -validation)):
        torch.testing.assert_close(scaled, base)


def test_of_images_like_the_held_out_ones_a_share_a_lies_below_a():
    generator = torch.Generator().manual_seed(0)
    values = typicality(torch.randn(20_000, generator=generator), torch.randn(5_000, generator=generator))
    for share in (0.01, 0.05, 0.3, 0.8):
        assert float((values <= share).double().mean()) == pytest.approx(share, abs=0.015)


def test_a_heat_map_sums_to_the_bits_of_the_image():
    nats = torch.rand(3, 4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    heat = code_bits(nats)
    assert heat.shape == (3, 4, 5)
    torch.testing.assert_close((2.0**heat).log(), nats.sum(3))


def codes_of(pixels):
    """Eight by eight brightnesses out of 16: codes that a test can see through, [B, 8, 8, 1]."""
    return (pixels[:, :, 2::4, 2::4].float().mean(1) / 16).long()[..., None]


@pytest.fixture(scope="module")
def nats_of():
    """The nats of pixels under a prior that has seen shapes for a few seconds."""
    codes = codes_of(load("shapes", "train", limit=1000).pixels)
    torch.manual_seed(0)
    prior = PixelCNN(16, width=16, layers=4, head_width=32)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for step in range(100):
        rows = torch.randint(0, 1000, (32,), generator=torch.Generator().manual_seed(step))
        prior.code_nats(codes[rows]).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def nats(pixels):
        return -prior.eval().log_prob(codes_of(pixels))

    return nats


def test_raw_likelihood_prefers_constant_images_and_typicality_flags_them_and_noise(nats_of):
    shapes, others = load("shapes", "test", limit=400).pixels.split(200)
    constant = others[:, :, :1, :1].expand(-1, -1, 32, 32)  # each of a background's colour
    noise = torch.randint(0, 256, (50, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    validation = nats_of(shapes)

    def flagged(pixels):
        return float((typicality(nats_of(pixels), validation) < 0.05).double().mean())

    # by its likelihood, nearly every constant image is more of a shape than any shape is
    assert (nats_of(constant) < validation.min()).double().mean() > 0.9
    assert flagged(constant) > 0.9 and flagged(noise) == 1
    assert 0.005 < flagged(others) < 0.1
