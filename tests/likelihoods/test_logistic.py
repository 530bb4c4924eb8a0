"""The discretised logistic: its masses are integrals over bins, its scale is learned, its gradients are finite."""

import pytest
import torch

from vqvae.likelihoods import LogisticLikelihood
from vqvae.likelihoods.logistic import clipped_logistic_mean, logistic_log_mass

EVERY_VALUE = torch.arange(256, dtype=torch.uint8)
MEANS = [-3.0, -1.0, -0.998, -0.3, 0.0, 0.71, 1.0, 2.0]
LOG_SCALES = [-7.0, -4.0, -2.0, 0.0, 3.0]


def log_masses(mean, log_scale):
    mean, log_scale = (torch.tensor(value, dtype=torch.float64) for value in (mean, log_scale))
    return logistic_log_mass(EVERY_VALUE, mean, log_scale)


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_a_mass_is_the_logistics_integral_over_its_bin(mean, log_scale):
    edges = ((torch.arange(257, dtype=torch.float64) - 0.5) / 127.5 - 1 - mean) / torch.tensor(
        log_scale
    ).double().exp()
    edges[0], edges[-1] = -torch.inf, torch.inf
    below, above = torch.sigmoid(edges).diff(), -torch.sigmoid(-edges).diff()  # the smaller tail does not cancel
    expected = torch.where(edges[:-1] > 0, above, below)
    found = log_masses(mean, log_scale)
    readable = expected > 1e-250
    torch.testing.assert_close(found[readable].exp(), expected[readable], rtol=1e-7, atol=0)
    assert abs(found.exp().sum() - 1) < 1e-12 and (found <= 0).all() and found.isfinite().all()


@pytest.mark.parametrize("scale", ["global", "channel", "pixel"])
def test_values_share_a_scale_as_the_setting_says(scale):
    likelihood = LogisticLikelihood(3, scale=scale)
    assert likelihood.out_channels == (6 if scale == "pixel" else 3)
    learned = {name: tensor.numel() for name, tensor in likelihood.named_parameters()}
    assert learned == {"global": {"log_scale": 1}, "channel": {"log_scale": 3}, "pixel": {}}[scale]


@pytest.mark.parametrize("scale", ["global", "channel", "pixel"])
def test_training_finds_the_scale_of_the_pixels(scale):
    likelihood = LogisticLikelihood(2, scale=scale)
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(64, 2, 8, 8, generator=generator).clamp(1e-6, 1 - 1e-6)
    wanted = torch.tensor([0.02, 0.08]) if scale != "global" else torch.tensor([0.05, 0.05])
    images = (wanted[:, None, None] * torch.logit(u)).clamp(-1, 1)
    parameters = torch.zeros(1, likelihood.out_channels, 1, 1, requires_grad=True)
    optimizer = torch.optim.Adam([parameters, *likelihood.parameters()], lr=0.03)
    for _ in range(150):
        spread = parameters.expand(64, -1, 8, 8)
        likelihood.loss(spread, images, pixel_variance=1.0).backward()
        optimizer.step()
        optimizer.zero_grad()
    _, log_scale = likelihood._mean_and_log_scale(parameters.detach())
    torch.testing.assert_close(log_scale.exp().flatten(), wanted, rtol=0.05, atol=0)


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_the_mean_is_the_mean_of_the_distribution_to_half_a_level(mean, log_scale):
    levels = EVERY_VALUE.double() / 127.5 - 1
    expected = (log_masses(mean, log_scale).exp() * levels).sum()
    found = clipped_logistic_mean(*(torch.tensor(value, dtype=torch.float64) for value in (mean, log_scale)))
    assert abs(found - expected) <= 0.5 / 127.5 + 1e-9
