"""The decoder's likelihood is a distribution over 0..255."""

from math import log, pi

import pytest
import torch

from vqvae.likelihoods import pixel_nats

MEANS = [-1.7, -1.0, -0.998, -0.3, 0.0, 0.71, 1.0, 2.0]
VARIANCES = [1e-7, 1e-5, 1e-3, 0.1, 1.0, 50.0]
EVERY_VALUE = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)


def nats_of_every_value(mean, variance):
    return pixel_nats(EVERY_VALUE, torch.full((256, 1, 1, 1), mean, dtype=torch.float64), variance)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mean", MEANS)
def test_the_masses_of_the_256_values_sum_to_one(mean, variance):
    nats = nats_of_every_value(mean, variance)
    assert nats.dtype == torch.float64
    assert (nats >= 0).all()
    assert abs(nats.neg().exp().sum() - 1) < 1e-10


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("mean", MEANS)
def test_a_mass_is_the_gaussians_integral_over_its_bin(mean, variance):
    edges = (torch.arange(257, dtype=torch.float64) - 0.5) / 127.5 - 1  # in the units of [-1, 1]
    edges[0], edges[-1] = -torch.inf, torch.inf
    z = (edges - mean) / variance**0.5
    # differences of the smaller tail, so that the reference does not cancel; torch.special.ndtr loses it too
    below, above = (sign * (torch.erfc(-sign * z / 2**0.5) / 2).diff() for sign in (1, -1))
    expected = torch.where(z[:-1] > 0, above, below)
    readable = expected > 1e-280
    assert readable.any()
    torch.testing.assert_close(
        nats_of_every_value(mean, variance)[readable], -expected[readable].log(), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("mean", [-1.0, 1.0, -5.0, 5.0])
@pytest.mark.parametrize("variance", [1e-12, 1e-8, 1e-4])
def test_far_tails_are_finite_and_grow_as_the_square(mean, variance):
    nats = nats_of_every_value(mean, variance)
    assert nats.isfinite().all()
    opposite = 0 if mean > 0 else 255
    distance = abs((opposite - 127.5) / 127.5 - mean) - 0.5 / 127.5
    assert nats[opposite] == pytest.approx(distance**2 / (2 * variance), rel=0.01)


@pytest.mark.parametrize("value", [0, 100, 255])
def test_a_pixel_is_less_likely_the_farther_its_reconstruction_lies(value):
    away = torch.linspace(0, 1.5, 40, dtype=torch.float64).view(-1, 1, 1, 1)
    pixels = torch.full((40, 1, 1, 1), value, dtype=torch.uint8)
    directions = {0: [1], 100: [1, -1], 255: [-1]}[value]
    for direction in directions:
        nats = pixel_nats(pixels, value / 127.5 - 1 + direction * away, 0.01)
        assert (nats.diff() > 0).all()


def test_where_the_bins_are_fine_it_is_the_squared_error_and_a_constant():
    # the objective's term: -log N(x; mean, sigma^2) = (x - mean)^2 / (2 sigma^2) + log(sigma sqrt(2 pi))
    variance, values = 0.5, slice(1, 255)
    x = (EVERY_VALUE.double().flatten() - 127.5) / 127.5
    density = (x - 0.2) ** 2 / (2 * variance) + 0.5 * log(2 * pi * variance)
    nats = nats_of_every_value(0.2, variance)
    torch.testing.assert_close(nats[values], density[values] - log(1 / 127.5), rtol=0, atol=1e-4)


def test_an_images_nats_are_the_sum_of_its_pixels_whatever_the_batch():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 3, 4, 5), generator=generator, dtype=torch.uint8)
    reconstruction = torch.rand(3, 3, 4, 5, generator=generator) * 2 - 1
    nats = pixel_nats(pixels, reconstruction, 0.01)
    assert nats.shape == (3,)
    alone = pixel_nats(pixels.view(-1, 1, 1, 1), reconstruction.view(-1, 1, 1, 1), 0.01)
    torch.testing.assert_close(nats, alone.view(3, -1).sum(1))


def test_the_variance_may_be_a_tensor():
    mean = torch.zeros(256, 1, 1, 1)
    assert torch.equal(pixel_nats(EVERY_VALUE, mean, torch.tensor(0.25)), pixel_nats(EVERY_VALUE, mean, 0.25))
