"""LFQ and BSQ: bits are codes and codes are bits, and the entropies are those of the distributions written out."""

import itertools
import math

import pytest
import torch

from vqvae.quantizers import BSQ, LFQ


@pytest.fixture(params=[LFQ, BSQ], ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def corners(bits, kind):
    """All codes as vectors, in order, channel 0 fastest."""
    signs = torch.tensor([point[::-1] for point in itertools.product((-1.0, 1.0), repeat=bits)])
    return signs / math.sqrt(bits) if kind is BSQ else signs


@pytest.mark.parametrize("bits", [1, 2, 7])
def test_codes_and_signs_are_in_bijection(kind, bits):
    quantizer = kind(bits)
    codes = torch.arange(2**bits).view(1, 1, -1, 1)
    values = quantizer.embed(codes)
    torch.testing.assert_close(values[0, :, 0].T, corners(bits, kind))
    out = quantizer(3 * values)
    assert torch.equal(out.codes, codes)
    assert torch.equal(out.z_q, values)


def test_sixty_two_bits_are_exact(randn):
    quantizer = BSQ(62)
    out = quantizer(randn(1, 2, 62, 3, 4))
    assert torch.equal(quantizer.embed(out.codes), out.z_q)
    assert out.codes.min() >= 0


@pytest.mark.parametrize("bits", [0, 63])
def test_bits_that_no_code_holds_are_refused(kind, bits):
    with pytest.raises(ValueError, match=f"bits: must be an integer from 1 to 62, got {bits}"):
        kind(bits)


@pytest.mark.parametrize("bits", [1, 4, 5])
def test_the_entropies_are_those_of_the_distributions_written_out(kind, bits, randn):
    temperature, diversity = 0.7, 1.3
    quantizer = kind(bits, entropy_weight=0.2, diversity=diversity, temperature=temperature)
    z = 0.5 * randn(1, 6, bits, 3, 3)
    rows = z.permute(0, 2, 3, 1).reshape(-1, bits).double()
    codes = corners(bits, kind).double()
    if kind is BSQ:
        rows = rows / rows.norm(dim=1, keepdim=True)
        q = (rows @ codes.T / temperature).softmax(1)
    else:
        q = (-(rows[:, None] - codes).square().sum(2) / temperature).softmax(1)
    each = -(q * q.log()).sum(1).mean()
    if kind is LFQ:
        together = -(q.mean(0) * q.mean(0).log()).sum()
    else:
        p = torch.stack([q[:, codes[:, i] > 0].sum(1).mean() for i in range(bits)])
        together = -(p * p.log() + (1 - p) * (1 - p).log()).sum()
    expected = 0.2 * (each - diversity * together)
    torch.testing.assert_close(quantizer(z).codebook_loss.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alike", [False, True])
def test_the_entropies_stay_finite_with_their_gradients_at_sure_bits(kind, alike, randn):
    z = 100 * randn(1, 2, 6, 3, 3)
    z = (z.abs() if alike else z).requires_grad_()  # alike: a bit's mean probability is exactly one
    loss = kind(6, temperature=0.01)(z).codebook_loss
    loss.backward()
    assert loss.isfinite() and z.grad.isfinite().all()


def test_the_entropies_memory_does_not_grow_as_latents_times_codes(randn):
    z = randn(1, 4, 18, 16, 16)  # 1024 latents and 2^18 codes would be a gigabyte
    assert LFQ(18)(z).codebook_loss.isfinite()


def test_losses_and_gradients_equal_their_closed_forms(kind, randn):
    quantizer = kind(5, entropy_weight=0.0)
    z = randn(1, 2, 5, 3, 4).requires_grad_()
    out = quantizer(z)
    assert out.codebook_loss == 0
    latents = z / z.norm(dim=1, keepdim=True) if kind is BSQ else z
    torch.testing.assert_close(out.commitment_loss, (latents - out.z_q).square().mean())
    g = randn(2, 2, 5, 3, 4)
    (out.z_q * g).sum().backward()
    expected = torch.autograd.grad((latents * g).sum(), z)[0]
    torch.testing.assert_close(z.grad, expected)


def test_the_spheres_error_is_bounded(randn):
    u = torch.nn.functional.normalize(randn(1, 4, 9, 20, 20), dim=1)
    error = (u - BSQ(9)(u).z_q).square().sum(1)
    assert error.max() < 2 - 2 / math.sqrt(9)
