"""The Gaussian likelihood: its masses are integrals over bins, and its variance is estimated."""

from math import log, pi

import pytest
import torch

from vqvae.likelihoods import GaussianLikelihood
from vqvae.likelihoods.gaussian import discretised_gaussian_nats
from vqvae.tensors import images_from_pixels, pixels_from_images

MEANS = [-1.7, -1.0, -0.998, -0.3, 0.0, 0.71, 1.0, 2.0]
VARIANCES = [1e-7, 1e-5, 1e-3, 0.1, 1.0, 50.0]
EVERY_VALUE = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)


def nats_of_every_value(mean, variance):
    means = torch.full((256, 1, 1, 1), mean, dtype=torch.float64)
    return discretised_gaussian_nats(EVERY_VALUE, means, variance).flatten()


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
        nats = discretised_gaussian_nats(pixels, value / 127.5 - 1 + direction * away, 0.01).flatten()
        assert (nats.diff() > 0).all()


def test_where_the_bins_are_fine_it_is_the_squared_error_and_a_constant():
    # the objective's term: -log N(x; mean, sigma^2) = (x - mean)^2 / (2 sigma^2) + log(sigma sqrt(2 pi))
    variance, values = 0.5, slice(1, 255)
    x = (EVERY_VALUE.double().flatten() - 127.5) / 127.5
    density = (x - 0.2) ** 2 / (2 * variance) + 0.5 * log(2 * pi * variance)
    nats = nats_of_every_value(0.2, variance)
    torch.testing.assert_close(nats[values], density[values] - log(1 / 127.5), rtol=0, atol=1e-4)


def gaussian(variance=0.01, channels=3):
    likelihood = GaussianLikelihood(channels)
    likelihood.noise_variance.fill_(variance)
    return likelihood


def random_pixels(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_mean_beyond_the_range_is_a_mean_at_its_end():
    likelihood, pixels = gaussian(), random_pixels(2, 3, 4, 5)
    parameters = 3 * torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(likelihood.nats(parameters, pixels), likelihood.nats(parameters.clamp(-1, 1), pixels))


def test_the_mean_is_the_decoders_output_and_its_gradient_passes_beyond_the_range():
    parameters = torch.tensor([-2.0, 0.3, 1.5]).view(1, 3, 1, 1).requires_grad_()
    mean = gaussian().mean(parameters)
    mean.sum().backward()
    assert torch.equal(mean, parameters) and torch.equal(parameters.grad, torch.ones(1, 3, 1, 1))


def test_the_loss_is_the_mean_squared_error_over_the_variance_of_the_images_whatever_sigma_is():
    images = images_from_pixels(random_pixels(2, 3, 4, 5))
    parameters = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    for likelihood in (gaussian(0.01), gaussian(1.0)):
        loss = likelihood.loss(parameters, images, pixel_variance=0.3)
        torch.testing.assert_close(loss, (parameters - images).square().mean() / 0.3)
    assert likelihood.loss(parameters[:0], images[:0], pixel_variance=0.3) == 0


def test_the_variance_is_estimated_as_the_mean_squared_error_over_all_batches():
    pixels = random_pixels(7, 3, 4, 5)
    parameters = torch.randn(7, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    batches = zip(parameters.split(3), pixels.split(3), strict=True)
    found = gaussian().estimate(batches)
    expected = (parameters.clamp(-1, 1) - images_from_pixels(pixels)).square().mean()
    assert found.keys() == {"noise_variance"}
    torch.testing.assert_close(found["noise_variance"], expected)
    exact = gaussian().estimate([(images_from_pixels(pixels), pixels)])
    assert exact["noise_variance"] == pytest.approx(1e-6)  # never 0, which no pixel but one would survive


def test_draws_have_the_gaussians_mean_and_variance():
    likelihood, n = gaussian(0.01, channels=1), 20_000
    u = torch.rand(n, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = images_from_pixels(likelihood.sample(torch.full((n, 1, 1, 1), 0.2), u)).double()
    assert abs(drawn.mean() - 0.2) < 4 * 0.1 / n**0.5
    assert drawn.var() == pytest.approx(0.01, rel=0.05)
    without_noise = gaussian(1e-12, channels=1).sample(torch.full((n, 1, 1, 1), 0.2), u)
    assert torch.equal(without_noise, pixels_from_images(torch.full((n, 1, 1, 1), 0.2)))
