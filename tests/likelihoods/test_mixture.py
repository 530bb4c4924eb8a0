"""The mixture of logistics: components that are coupled over the channels of a pixel."""

import pytest
import torch

from vqvae.likelihoods import LogisticLikelihood, LogisticMixtureLikelihood
from vqvae.likelihoods.logistic import logistic_log_mass
from vqvae.tensors import images_from_pixels


def parameters_of(likelihood, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(1, likelihood.out_channels, 1, 1, generator=generator, dtype=torch.float64)


def test_a_pixels_probability_is_the_papers_sum_over_components():
    # arXiv 1701.05517, equation 3, component by component, in plain loops
    likelihood = LogisticMixtureLikelihood(3, components=4)
    parameters = parameters_of(likelihood)
    pixel = torch.tensor([17, 200, 255], dtype=torch.uint8)
    x = images_from_pixels(pixel).double()
    rows = parameters.view(4, 10)
    total = torch.tensor(0.0, dtype=torch.float64)
    for row, weight in zip(rows, rows[:, 0].softmax(0), strict=True):
        means, log_scales, (a, b, c) = row[1:4], (row[4:7] - 2).clamp(-7, 5), row[7:10].tanh()
        shifted = [means[0], means[1] + a * x[0], means[2] + b * x[0] + c * x[1]]
        masses = [logistic_log_mass(pixel[i], shifted[i], log_scales[i]) for i in range(3)]
        total += weight * torch.stack(masses).sum().exp()
    found = likelihood.nats(parameters, pixel.view(1, 3, 1, 1))
    torch.testing.assert_close(found[0], -total.log())


def test_one_component_of_grey_is_the_logistic():
    parameters = torch.randn(2, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    pixels = torch.randint(0, 256, (2, 1, 3, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mixture, logistic = LogisticMixtureLikelihood(1, components=1), LogisticLikelihood(1)
    with_weight = torch.cat([torch.randn(2, 1, 3, 5), parameters], 1)  # of one component, any weight is 1
    torch.testing.assert_close(mixture.nats(with_weight, pixels), logistic.nats(parameters, pixels))
    torch.testing.assert_close(mixture.mean(with_weight), logistic.mean(parameters))


def test_the_coupling_lets_one_channel_tell_of_the_next():
    likelihood = LogisticMixtureLikelihood(2, components=1)
    parameters = torch.zeros(1, 6, 1, 1, dtype=torch.float64)  # weight, two means, two log-scales, a coupling
    parameters[0, 5] = 3.0  # tanh(3) = 0.995: green is nearly red
    likely = likelihood.nats(parameters, torch.tensor([200, 200], dtype=torch.uint8).view(1, 2, 1, 1))
    unlikely = likelihood.nats(parameters, torch.tensor([200, 55], dtype=torch.uint8).view(1, 2, 1, 1))
    assert likely + 5 < unlikely


@pytest.mark.parametrize("seed", range(3))
def test_draws_have_the_joint_distribution_of_the_nats_by_chi_square(seed):
    likelihood, n = LogisticMixtureLikelihood(2, components=3), 40_000
    parameters = parameters_of(likelihood, seed, scale=0.7)
    values = torch.arange(256, dtype=torch.uint8)
    pairs = torch.cartesian_prod(values, values).view(-1, 2, 1, 1)
    masses = likelihood.nats(parameters.expand(len(pairs), -1, -1, -1), pairs).neg().exp().view(256, 256)
    u = torch.rand(n, 2, 1, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = likelihood.sample(parameters.expand(n, -1, -1, -1), u).view(n, 2).long() // 16
    expected = masses.view(16, 16, 16, 16).sum((1, 3)) * n
    observed = torch.bincount(drawn[:, 0] * 16 + drawn[:, 1], minlength=256).view(16, 16)
    often = expected >= 5
    rest = torch.tensor([expected[~often].sum()]), torch.tensor([observed[~often].sum()])
    e, o = torch.cat([expected[often], rest[0]]), torch.cat([observed[often], rest[1]])
    chi_square, freedom = ((o - e) ** 2 / e.clamp(min=1)).sum(), len(e) - 1
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5  # five standard deviations


def test_the_mean_is_the_mean_of_draws():
    likelihood, n = LogisticMixtureLikelihood(3, components=5), 40_000
    parameters = parameters_of(likelihood, 4, scale=0.5)
    u = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = images_from_pixels(likelihood.sample(parameters.expand(n, -1, -1, -1), u)).double()
    assert (drawn.mean(0) - likelihood.mean(parameters)[0]).abs().max() < 0.03
