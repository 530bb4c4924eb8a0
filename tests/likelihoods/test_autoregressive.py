"""The autoregressive likelihood: what each pixel may see, and that files hold what it predicts."""

from math import log

import pytest
import torch
from tests.likelihoods.test_base import every_image, random_parameters

from vqvae.coding.integer import LIKELIHOODS
from vqvae.coding.integer.tables import ONE
from vqvae.coding.pixels import code_pixels, pixel_bits
from vqvae.coding.range_coder import RangeReader, RangeWriter
from vqvae.likelihoods import AutoregressiveLikelihood, LogisticMixtureLikelihood

SIZES = [(6, 7), (1, 5), (4, 1)]
FORMS = {"float": lambda each: each, "integer": LIKELIHOODS.make}


def trained(channels=3, blocks=2, scale=0.3):
    """A likelihood whose network is no longer the zero that it starts as."""
    torch.manual_seed(0)
    likelihood = AutoregressiveLikelihood(channels, components=2, width=8, blocks=blocks)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return likelihood


def some_pixels(count, channels, height, width):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_sees_only_pixels_before_it_in_raster_order(size):
    likelihood = trained()
    parameters, pixels = random_parameters(likelihood, 1, *size).double(), some_pixels(1, 3, *size)
    order = torch.arange(size[0] * size[1]).view(size)
    with torch.no_grad():
        whole = likelihood.given(parameters, pixels)
        for row in range(size[0]):
            for column in range(size[1]):
                changed = pixels.clone()
                changed[..., row, column] = 255 - changed[..., row, column]
                moved = (likelihood.given(parameters, changed) != whole).any(1)[0]
                assert not (moved & (order <= order[row, column])).any()


def test_a_pixel_sees_its_row_and_the_rows_above_as_far_as_the_blocks_reach():
    likelihood = trained(blocks=2)
    parameters = random_parameters(likelihood, 1, 8, 16).requires_grad_()
    pixels, moved = some_pixels(1, 3, 8, 16), torch.zeros(8, 16, dtype=torch.bool)
    with torch.no_grad():
        whole = likelihood.given(parameters, pixels)
        for row in range(8):
            for column in range(16):
                changed = pixels.clone()
                changed[..., row, column] = 255 - changed[..., row, column]
                moved[row, column] = (likelihood.given(parameters, changed) != whole)[..., 6, 8].any()
    assert moved[6, 1:8].all() and not moved[6, 8:].any() and not moved[6, 0]  # 3 + 2 * 2 columns to the left
    assert moved[5, 3:12].any() and moved[3].any() and not moved[2].any()  # 1 + 2 rows above
    likelihood.given(parameters, pixels)[..., 6, 8].sum().backward()
    assert parameters.grad[..., 6, 8].any()  # the decoder's output at the pixel itself


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 2, 1), (2, 1, 1)])
def test_the_probabilities_of_all_images_sum_to_one_once_trained(shape):
    likelihood = trained(channels=shape[0])
    parameters, images = random_parameters(likelihood, 1, *shape[1:]), every_image(*shape)
    with torch.no_grad():
        nats = [likelihood.nats(parameters.expand(len(x), -1, -1, -1), x) for x in images.split(4096)]
    assert abs(torch.cat(nats).neg().exp().sum() - 1) < 1e-6


def test_it_starts_as_the_mixture_and_its_mean_stays_the_mixtures():
    likelihood, mixture = AutoregressiveLikelihood(3, components=4), LogisticMixtureLikelihood(3, components=4)
    parameters, pixels = random_parameters(likelihood, 2, 6, 4), some_pixels(2, 3, 6, 4)
    with torch.no_grad():
        torch.testing.assert_close(likelihood.nats(parameters, pixels), mixture.nats(parameters, pixels))
    assert torch.equal(
        trained().mean(parameters[:, :20]), LogisticMixtureLikelihood(3, components=2).mean(parameters[:, :20])
    )


@pytest.mark.parametrize("size", SIZES)
def test_a_sample_has_the_nats_of_its_own_distribution(size):
    likelihood = trained()
    parameters = random_parameters(likelihood, 64, *size).double()
    u = torch.rand(64, 3, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with torch.no_grad():
        drawn = likelihood.sample(parameters, u)
        nats = likelihood.nats(parameters, drawn)
        bits = pixel_bits(likelihood, parameters, drawn)
    assert bits == pytest.approx(float(nats.sum()) / log(2), rel=2e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES)
def test_files_restore_every_pixel_at_the_length_of_the_nats(form, size):
    likelihood = trained()
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


def test_the_integer_form_does_not_depend_on_the_batch_and_equals_a_whole_pass():
    likelihood = LIKELIHOODS.make(trained())
    parameters = (random_parameters(trained(), 5, 6, 7).double() * ONE).round()
    pixels = some_pixels(5, 3, 6, 7)

    def tables(rows):
        own = pixels[rows]
        return [below(own[place].long()) for place, below in likelihood.coding_order(parameters[rows], own)]

    whole = tables(slice(None))
    for row in range(5):
        own = tables(slice(row, row + 1))
        assert all(torch.equal(a[row : row + 1], b) for a, b in zip(whole, own, strict=True))
    images = (2 * ONE * (2 * pixels.long() - 255) + 255) // 510
    at_once = parameters + likelihood.network(images.double(), parameters)
    order = list(likelihood.coding_order(parameters, pixels))[::3]
    for place, below in order:
        values = torch.full((5, 1, 1), 100)
        expected = likelihood.mixture.cumulative(at_once[..., *place[2:]], pixels[:, :0, *place[2:]])(values)
        assert torch.equal(below(values), expected)


def test_the_gradient_of_the_loss_reaches_every_weight_and_alone_trains_the_mean():
    likelihood = trained()
    parameters = random_parameters(likelihood, 2, 8, 8).requires_grad_()
    images = torch.rand(2, 3, 8, 8) * 2 - 1
    likelihood.loss(parameters, images, pixel_variance=0.3).backward()
    assert all(each.grad.any() for each in likelihood.parameters()) and parameters.grad.any()
    without, with_mean = (AutoregressiveLikelihood(3, alone=alone) for alone in (0.0, 0.5))
    given = random_parameters(without, 2, 8, 8)
    with torch.no_grad():
        loss, other = (each.loss(given, images, pixel_variance=0.3) for each in (without, with_mean))
        torch.testing.assert_close(other, 1.5 * loss)  # at the start both terms are the mixture's
