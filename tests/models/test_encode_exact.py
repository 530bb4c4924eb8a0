"""An image's codes depend on the image alone, and the encoder in float64 says which they are."""

import copy

import pytest
import torch

from vqvae.models import VQVAE
from vqvae.quantizers import FSQ, ProjectedQuantizer, VectorQuantizer

PAIRS = 16


@pytest.fixture
def images():
    return torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def balanced(images):
    """A tokenizer with a near-tie in nearly every image: z_e on the middle between two codes."""
    torch.manual_seed(0)
    model = VQVAE(VectorQuantizer(2 * PAIRS, 8), width=32, outer_width=16, residual_width=16).eval()
    with torch.no_grad():
        z_e = model.encoder(images)[:PAIRS, :, 1, 2]
        apart = 1e-3 * torch.nn.functional.normalize(torch.randn(PAIRS, 8), dim=1)
        model.quantizer.codebook.copy_(torch.cat([z_e + apart, z_e - apart]))
    return model


def _codes(model, images, batch_size):
    parts = [model.encode_exact(part) for part in images.split(batch_size)]
    return torch.cat([part.codes for part in parts]), sum(part.near_ties for part in parts)


def test_no_batch_size_and_no_number_of_threads_changes_a_code(balanced, images):
    expected, near_ties = _codes(balanced, images, len(images))
    assert near_ties >= PAIRS
    before = torch.get_num_threads()
    try:
        for threads, batch_size in ((1, 1), (1, 7), (1, 64), (1, 256), (2, 256)):
            torch.set_num_threads(threads)
            codes, _ = _codes(balanced, images, batch_size)
            assert torch.equal(codes, expected), (threads, batch_size)
    finally:
        torch.set_num_threads(before)
    backwards, _ = _codes(balanced, images.flip(0), 7)
    assert torch.equal(backwards.flip(0), expected)


def test_the_codes_are_those_of_the_float64_encoder(balanced, images):
    precise = copy.deepcopy(balanced.encoder).double()
    with torch.no_grad():
        z_e = precise(images.double())
        expected = balanced.quantizer(z_e.float()).codes
        plain = balanced.quantizer(balanced.encoder(images)).codes
    assert torch.equal(balanced.encode(images), expected)
    assert not torch.equal(plain, expected)  # the plain encoder alone gets some of these wrong


def test_near_ties_are_few_where_nobody_made_any(images):
    torch.manual_seed(0)
    model = VQVAE(ProjectedQuantizer(FSQ((8, 5, 5)), 16), width=32, outer_width=16, residual_width=16).eval()
    codes, near_ties = _codes(model, images, 64)
    assert near_ties < 0.02 * codes.numel()
    assert torch.equal(codes, _codes(model, images, 5)[0])


def test_the_error_observed_is_far_below_what_is_allowed(images):
    torch.manual_seed(0)
    model = VQVAE(FSQ((8, 5, 5)), width=32, outer_width=16, residual_width=16).eval()
    precise = copy.deepcopy(model.encoder).double()
    with torch.no_grad():
        z_e, exact = model.encoder(images), precise(images.double())
    size = exact.square().sum(1).flatten(1).mean(1).sqrt()
    error = (z_e - exact).norm(dim=1).flatten(1).amax(1) / size
    assert error.max() < 8 * error[:2].max()  # encode_exact allows 16 times


def test_encode_under_autocast_is_encode_without_it(balanced, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = balanced.encode(images)
    assert torch.equal(codes, balanced.encode(images))
