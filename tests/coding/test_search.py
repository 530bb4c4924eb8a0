"""The search for better codes: the bound never rises, and it is the best where one code is searched."""

import pytest
import torch
from torch import nn

from vqvae.coding import search_codes
from vqvae.models import VQVAE
from vqvae.priors import PixelCNN
from vqvae.quantizers import ResidualQuantizer, VectorQuantizer


def single():
    return VectorQuantizer(8, 4)


def residual():
    return ResidualQuantizer([VectorQuantizer(8, 4), VectorQuantizer(8, 4)])


def models(make_quantizer, grid):
    torch.manual_seed(0)
    quantizer = make_quantizer()
    tokenizer = VQVAE(quantizer, width=8, outer_width=8, residual_width=4, residual_blocks=1).eval()
    tokenizer.likelihood.noise_variance.fill_(0.05)
    prior = PixelCNN(8, codes_per_position=quantizer.codes_per_position, grid=grid, width=8, layers=2).eval()
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.3)
    return tokenizer, prior


def nats_of(tokenizer, prior, codes, pixels):
    with torch.no_grad():
        nats = tokenizer.likelihood.nats(tokenizer.decode_parameters(codes), pixels)
        return nats if prior is None else nats - prior.log_prob(codes)


def pixels_of(count, size):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("with_prior", [True, False])
@pytest.mark.parametrize("make_quantizer", [single, residual])
def test_the_bound_never_rises_and_the_gain_is_its_fall(with_prior, make_quantizer):
    tokenizer, prior = models(make_quantizer, (3, 3))
    prior = prior if with_prior else None
    pixels = pixels_of(4, 12)
    codes = tokenizer.encode(pixels, exact=True)
    found, gain = search_codes(tokenizer, prior, codes, pixels, candidates=3)
    before, after = (nats_of(tokenizer, prior, each, pixels) for each in (codes, found))
    rounding = 1e-6 * before  # of the networks, in float32, at another batch size
    assert (after <= before + rounding).all() and not torch.equal(found, codes)
    assert gain == pytest.approx(float((before - after).sum()), rel=1e-4, abs=float(rounding.sum())) and gain > 0
    alone, _ = search_codes(tokenizer, prior, codes[:1], pixels[:1], candidates=1)
    assert nats_of(tokenizer, prior, alone, pixels[:1]) <= (before + rounding)[:1]


def test_with_all_codes_as_candidates_one_code_is_the_best():
    tokenizer, prior = models(single, (1, 1))
    pixels = pixels_of(5, 4)
    codes = tokenizer.encode(pixels, exact=True)
    found, _ = search_codes(tokenizer, prior, codes, pixels, candidates=100)
    every = torch.stack([nats_of(tokenizer, prior, torch.full_like(codes, k), pixels) for k in range(8)])
    assert torch.equal(found.flatten(), every.argmin(0))
