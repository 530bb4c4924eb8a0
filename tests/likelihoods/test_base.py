"""Every exported likelihood is a distribution over 0..255, and can be drawn from."""

from math import log

import pytest
import torch
from tests.likelihoods.own_kinds import Categorical, Logistic

from vqvae.likelihoods import GaussianLikelihood, LikelihoodConfig
from vqvae.models import VQVAE
from vqvae.quantizers import VectorQuantizer
from vqvae.tensors import images_from_pixels

SHIPPED = sorted(kind for kind, each in LikelihoodConfig.kinds().items() if each.__module__.startswith("vqvae."))
KINDS = [*SHIPPED, "test-categorical", "test-logistic"]
SMALL = {"width": 8, "outer_width": 6, "residual_width": 5, "residual_blocks": 1}


def build(kind, channels):
    torch.manual_seed(0)
    return LikelihoodConfig.kinds()[kind](kind=kind).build(channels=channels)


def random_parameters(likelihood, *shape, seed=0, scale=1.0):
    count, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, likelihood.out_channels, height, width, generator=generator)


def every_image(channels, height, width):
    """All images of two values at most, uint8 [256 or 65536, C, H, W]."""
    values = torch.arange(256, dtype=torch.uint8)
    all_of_them = values[:, None] if channels * height * width == 1 else torch.cartesian_prod(values, values)
    return all_of_them.view(-1, channels, height, width)


def in_order(likelihood, parameters, pixels):
    """The distribution functions of the parts of given pixels."""
    return [below for _, below in likelihood.coding_order(parameters, pixels)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (1, 1, 2)], ids=["a value", "two channels", "two pixels"])
def test_the_probabilities_of_all_images_sum_to_one(kind, shape, scale):
    channels, height, width = shape
    likelihood, images = build(kind, channels), every_image(*shape)
    parameters = random_parameters(likelihood, 1, height, width, scale=scale)
    with torch.no_grad():
        nats = torch.cat(
            [
                likelihood.nats(parameters.expand(len(part), *parameters.shape[1:]), part)
                for part in images.split(4096)
            ]
        )
    assert nats.dtype == torch.float64 and (nats >= 0).all()
    assert abs(nats.neg().exp().sum() - 1) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_an_images_nats_are_the_sum_of_its_terms_whatever_the_batch(kind, monkeypatch):
    likelihood = build(kind, 3)
    parameters = random_parameters(likelihood, 5, 4, 6)
    pixels = torch.randint(0, 256, (5, 3, 4, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        nats = likelihood.nats(parameters, pixels)
        terms = likelihood.pixel_nats(parameters.double(), pixels)
        assert terms.shape in ((5, 3, 4, 6), (5, 1, 4, 6))
        torch.testing.assert_close(nats, terms.sum((1, 2, 3)))
        for row in range(5):
            alone = likelihood.nats(parameters[row : row + 1], pixels[row : row + 1])
            assert torch.equal(alone, nats[row : row + 1])
        assert likelihood.nats(parameters[:0], pixels[:0]).shape == (0,)
        monkeypatch.setattr("vqvae.likelihoods.base._MOST_ELEMENTS", 2 * parameters[0].numel())
        assert torch.equal(likelihood.nats(parameters, pixels), nats)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_a_draw_inverts_the_distribution_function(kind, scale):
    likelihood, n = build(kind, 1), 999
    parameters = random_parameters(likelihood, 1, 1, 1, scale=scale)
    with torch.no_grad():
        nats = likelihood.nats(parameters.expand(256, -1, -1, -1), every_image(1, 1, 1))
        reached = nats.neg().exp().cumsum(0)
        u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        drawn = likelihood.sample(parameters.expand(n, -1, -1, -1), u.view(n, 1, 1, 1))
    assert drawn.dtype == torch.uint8 and drawn.shape == (n, 1, 1, 1)
    values = drawn.flatten().long()
    before = torch.where(values > 0, reached[(values - 1).clamp(min=0)], 0.0)
    assert (before <= u + 1e-9).all() and (u <= reached[values] + 1e-9).all()


@pytest.mark.parametrize("kind", SHIPPED)
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_the_distribution_function_of_a_channel_sums_the_probabilities(kind, scale):
    # of one channel, and of the second of two given the first: their joint probability over the first one's
    likelihood, one = build(kind, 2), build(kind, 1)
    levels = torch.arange(257)
    with torch.no_grad():
        parameters = random_parameters(one, 1, 1, 1, scale=scale).double()
        masses = one.nats(parameters.expand(256, -1, -1, -1), every_image(1, 1, 1)).neg().exp()
        below = in_order(one, parameters.expand(257, -1, -1, -1), torch.empty(257, 1, 1, 1, dtype=torch.uint8))[0]
        torch.testing.assert_close(below(levels[:, None, None]).flatten()[1:], masses.cumsum(0))
        parameters = random_parameters(likelihood, 1, 1, 1, scale=scale, seed=1).double()
        joint = likelihood.nats(parameters.expand(2**16, -1, -1, -1), every_image(2, 1, 1)).neg().exp()
        joint = joint.view(256, 256)
        first = int(joint.sum(1).argmax())
        given = torch.full((257, 2, 1, 1), first, dtype=torch.uint8)
        found = in_order(likelihood, parameters.expand(257, -1, -1, -1), given)[1](levels[:, None, None]).flatten()
    assert found[0] == 0 and found[256] == 1 and (found.diff() >= -1e-15).all()
    torch.testing.assert_close(found[1:], joint[first].cumsum(0) / joint[first].sum(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", SHIPPED)
@pytest.mark.parametrize("value", [0, 1, 254, 255])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_gradients_are_finite_at_the_ends_and_far_from_the_pixels(kind, value, scale):
    likelihood = build(kind, 3)
    parameters = random_parameters(likelihood, 4, 2, 2, scale=scale).requires_grad_()
    pixels = torch.full((4, 3, 2, 2), value, dtype=torch.uint8)
    likelihood.loss(parameters, images_from_pixels(pixels), pixel_variance=0.3).backward()
    gradients = [parameters.grad, *(each.grad for each in likelihood.parameters() if each.grad is not None)]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_teaches_the_parameters_and_is_finite_without_images(kind):
    likelihood = build(kind, 3)
    pixels = torch.randint(0, 256, (4, 3, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = images_from_pixels(pixels)
    parameters = random_parameters(likelihood, 4, 2, 2).requires_grad_()
    own = {"params": [*likelihood.parameters()], "lr": 0.005}
    optimizer = torch.optim.Adam([{"params": [parameters]}, own], lr=0.05)
    losses = []
    for _ in range(60):
        loss = likelihood.loss(parameters, images, pixel_variance=0.3)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    nothing = likelihood.loss(parameters[:0], images[:0], pixel_variance=0.3)
    nothing.backward()
    assert nothing == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_an_image_with_a_gradient(kind):
    likelihood = build(kind, 3)
    parameters = random_parameters(likelihood, 2, 4, 6, scale=0.1).bfloat16().requires_grad_()
    mean = likelihood.mean(parameters)
    assert mean.shape == (2, 3, 4, 6) and mean.dtype == torch.float32
    mean.square().sum().backward()
    assert parameters.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_makes_its_parameters_and_decoding_is_its_mean(kind):
    likelihood = build(kind, 3)
    model = VQVAE(VectorQuantizer(16, 3), likelihood=likelihood, **SMALL).eval()
    codes = torch.randint(0, 16, (3, 4, 2, 1), generator=torch.Generator().manual_seed(0))
    parameters = model.decode_parameters(codes)
    assert parameters.shape == (3, likelihood.out_channels, 16, 8)
    assert torch.equal(model.decode(codes), likelihood.mean(parameters).clamp(-1, 1))
    drawn = model.sample_pixels(codes, seed=5)
    assert drawn.shape == (3, 3, 16, 8) and drawn.dtype == torch.uint8
    assert torch.equal(model.sample_pixels(codes[1:], seed=5, first=1), drawn[1:])
    assert not torch.equal(model.sample_pixels(codes, seed=6), drawn)
    assert set(likelihood.state_dict()) == {
        name.removeprefix("likelihood.") for name in model.state_dict() if name.startswith("likelihood.")
    }


def test_the_default_is_the_gaussian():
    assert isinstance(VQVAE(VectorQuantizer(16, 3), **SMALL).likelihood, GaussianLikelihood)
    assert isinstance(VQVAE.Config().build(channels=1).likelihood, GaussianLikelihood)
    config = VQVAE.Config(likelihood=Categorical.Config())
    assert isinstance(config.build(channels=1).likelihood, Categorical)


def test_the_default_loss_is_the_nats_per_dimension():
    likelihood = Logistic(3)
    pixels = torch.randint(0, 256, (4, 3, 2, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    parameters = random_parameters(likelihood, 4, 2, 5, scale=0.3)
    loss = likelihood.loss(parameters, images_from_pixels(pixels), pixel_variance=0.3)
    torch.testing.assert_close(loss.double(), likelihood.nats(parameters, pixels).mean() / (3 * 2 * 5))


def test_a_categorical_of_equal_logits_costs_8_bits_and_has_a_grey_mean():
    likelihood = Categorical(1)
    nats = likelihood.nats(torch.zeros(256, 256, 1, 1), every_image(1, 1, 1))
    torch.testing.assert_close(nats, torch.full((256,), 8 * log(2), dtype=torch.float64))
    assert likelihood.mean(torch.zeros(1, 256, 1, 1)).abs().max() < 1e-6
