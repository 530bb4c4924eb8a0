"""Likelihoods that correct a mixture given earlier pixels: their distribution, their files and their loss."""

from math import log

import pytest
import torch
from tests.likelihoods.test_base import every_image, random_parameters

from vqvae.coding.integer import LIKELIHOODS
from vqvae.coding.integer.tables import ONE
from vqvae.coding.pixels import code_pixels, pixel_bits
from vqvae.coding.range_coder import RangeReader, RangeWriter
from vqvae.likelihoods import AutoregressiveLikelihood, LogisticMixtureLikelihood, MultiscaleLikelihood

KINDS = {"multiscale": MultiscaleLikelihood, "autoregressive": AutoregressiveLikelihood}
SMALL = {"multiscale": {"levels": 2, "blocks": 1}, "autoregressive": {"blocks": 2}}
SIZES = [(8, 8), (6, 10), (5, 7), (6, 7), (1, 5), (1, 3), (4, 1), (2, 1)]
FORMS = {"float": lambda each: each, "integer": LIKELIHOODS.make}
every_kind = pytest.mark.parametrize("kind", KINDS)


def trained(kind, channels=3, scale=0.3, **settings):
    """A likelihood whose networks are no longer the zero that they start as."""
    torch.manual_seed(0)
    likelihood = KINDS[kind](channels, components=2, width=8, **(SMALL[kind] | settings))
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return likelihood


def some_pixels(count, channels, height, width):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


@every_kind
@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 2, 1), (2, 1, 1)])
def test_the_probabilities_of_all_images_sum_to_one_once_trained(kind, shape):
    likelihood = trained(kind, channels=shape[0])
    parameters, images = random_parameters(likelihood, 1, *shape[1:]), every_image(*shape)
    with torch.no_grad():
        nats = [likelihood.nats(parameters.expand(len(x), -1, -1, -1), x) for x in images.split(4096)]
    assert abs(torch.cat(nats).neg().exp().sum() - 1) < 1e-6


@every_kind
def test_it_starts_as_the_mixture_and_its_mean_stays_the_mixtures(kind):
    likelihood, mixture = KINDS[kind](3, components=4), LogisticMixtureLikelihood(3, components=4)
    parameters, pixels = random_parameters(likelihood, 2, 6, 4), some_pixels(2, 3, 6, 4)
    with torch.no_grad():
        torch.testing.assert_close(likelihood.nats(parameters, pixels), mixture.nats(parameters, pixels))
    smaller = LogisticMixtureLikelihood(3, components=2)
    assert torch.equal(trained(kind).mean(parameters[:, :20]), smaller.mean(parameters[:, :20]))


@every_kind
@pytest.mark.parametrize("size", SIZES)
def test_a_sample_has_the_nats_of_its_own_distribution(kind, size):
    likelihood = trained(kind)
    parameters = random_parameters(likelihood, 64, *size).double()
    u = torch.rand(64, 3, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        drawn = likelihood.sample(parameters, u)
        nats = likelihood.nats(parameters, drawn)
        bits = pixel_bits(likelihood, parameters, drawn)
    assert bits == pytest.approx(float(nats.sum()) / log(2), rel=2e-3)


@every_kind
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_files_restore_every_pixel_at_the_length_of_the_nats(kind, form, size):
    likelihood = trained(kind)
    parameters = random_parameters(likelihood, 3, *size).double()
    u = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        pixels = likelihood.sample(parameters, u)
        bits = float(likelihood.nats(parameters, pixels).sum()) / log(2)
    coder, given = FORMS[form](likelihood), (parameters * ONE).round() if form == "integer" else parameters
    writer = RangeWriter()
    code_pixels(writer, coder, given, pixels)
    content = writer.finish()
    assert 8 * len(content) <= 1.01 * bits + 40
    assert torch.equal(code_pixels(RangeReader(content, where="x"), coder, given), pixels)


@every_kind
def test_the_integer_form_does_not_depend_on_the_batch(kind):
    likelihood = LIKELIHOODS.make(trained(kind))
    parameters = (random_parameters(trained(kind), 7, 8, 8).double() * ONE).round()
    pixels = some_pixels(7, 3, 8, 8)

    def tables(rows):
        own = pixels[rows]
        order = likelihood.coding_order(parameters[rows], own)
        return [below(own[place].long()) for place, below in order]

    whole = tables(slice(None))
    for row in range(7):
        assert all(
            torch.equal(a[row : row + 1], b) for a, b in zip(whole, tables(slice(row, row + 1)), strict=True)
        )


@every_kind
def test_the_gradient_of_the_loss_reaches_every_weight_and_alone_trains_the_mean(kind):
    likelihood = trained(kind)
    parameters = random_parameters(likelihood, 2, 8, 8).requires_grad_()
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    likelihood.loss(parameters, images, pixel_variance=0.3).backward()
    assert all(each.grad.any() for each in likelihood.parameters()) and parameters.grad.any()
    without, with_mean = (KINDS[kind](3, alone=alone) for alone in (0.0, 0.5))
    given = random_parameters(without, 2, 8, 8)
    with torch.no_grad():
        loss, other = (each.loss(given, images, pixel_variance=0.3) for each in (without, with_mean))
        torch.testing.assert_close(other, 1.5 * loss)  # at the start both terms are the mixture's
