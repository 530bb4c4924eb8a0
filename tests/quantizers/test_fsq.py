"""Finite scalar quantization: every code has its value, every value its code (arXiv 2309.15505)."""

import itertools

import pytest
import torch

from vqvae.quantizers import FSQ

LEVELS = [(3,), (8,), (8, 6, 5), (5, 3, 4), (7, 5, 5, 5), (4, 4, 3)]


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_codes_and_values_are_in_bijection(levels):
    quantizer = FSQ(levels)
    codes = torch.arange(quantizer.num_codes).view(1, 1, -1, 1)
    values = quantizer.embed(codes)
    # the values as the paper has them: from -floor(L/2) to floor((L-1)/2), over floor(L/2), first channel fastest
    axes = [[i / (level // 2) for i in range(-(level // 2), (level - 1) // 2 + 1)] for level in levels]
    expected = torch.tensor([point[::-1] for point in itertools.product(*axes[::-1])])
    assert torch.equal(values[0, :, 0].T, expected)
    # each value is reached by some z, the inverse of the bound, and gives its code back
    half = torch.tensor([(level - 1) * 1.001 / 2 for level in levels], dtype=torch.float64)
    offset = torch.tensor([0.5 if level % 2 == 0 else 0.0 for level in levels], dtype=torch.float64)
    steps = expected.double() * torch.tensor([level // 2 for level in levels])
    z = torch.atanh((steps + offset) / half) - torch.atanh(offset / half)
    out = quantizer(z.T[None, :, None].float())
    assert torch.equal(out.codes, codes)
    assert torch.equal(out.z_q, values)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_zero_is_the_middle(levels):
    quantizer = FSQ(levels)
    assert not quantizer(torch.zeros(1, len(levels), 1, 1)).z_q.any()


def test_saturated_latents_stay_in_range():
    levels = (3, 4, 1001, 1002, 1003, 5000)
    quantizer = FSQ(levels)
    for z, code in ((-1e9, 0), (1e9, quantizer.num_codes - 1)):
        out = quantizer(torch.full((1, len(levels), 1, 1), z))
        assert out.codes.item() == code
        assert torch.equal(quantizer.embed(out.codes), out.z_q)
        assert out.z_q.abs().max() == 1


@pytest.mark.parametrize("levels", [(255,) * 7, (1000,) * 6, (5,) * 27, (8, 8, 8, 5, 5, 5)], ids=str)
def test_codes_beyond_float32_and_int32_are_exact(levels, randn):
    quantizer = FSQ(levels)
    out = quantizer(randn(1, 4, len(levels), 8, 9))
    assert torch.equal(quantizer.embed(out.codes), out.z_q)
    digits = out.z_q.permute(0, 2, 3, 1).double().mul(torch.tensor(levels) // 2).round().long()
    digits += torch.tensor(levels) // 2
    for point, code in zip(digits.flatten(0, 2).tolist(), out.codes.flatten().tolist(), strict=True):
        expected, place = 0, 1
        for digit, level in zip(point, levels, strict=True):
            expected, place = expected + digit * place, place * level
        assert code == expected


def test_bf16_latents_and_autocast_get_the_codes_of_their_float32_values(randn):
    quantizer = FSQ((8, 8, 8, 6, 5))
    z_e = 2 * randn(1, 8, 5, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        cast = quantizer(z_e)
    plain = quantizer(z_e.float())
    assert torch.equal(cast.codes, plain.codes)
    assert cast.z_q.dtype == torch.bfloat16 and torch.equal(cast.z_q, plain.z_q.bfloat16())
    assert torch.equal(quantizer.to(torch.bfloat16)(z_e).codes, plain.codes)


def test_the_gradient_is_that_of_the_bound(randn):
    quantizer, levels = FSQ((5, 4)), torch.tensor([5, 4])
    z = randn(1, 6, 2, 3, 3).requires_grad_()
    g = randn(2, 6, 2, 3, 3)
    (quantizer(z).z_q * g).sum().backward()
    half = ((levels - 1) * 1.001 / 2)[:, None, None]
    shift = torch.atanh(torch.tensor([0.0, 0.5])[:, None, None] / half)
    slope = half * (1 - torch.tanh(z.detach() + shift) ** 2) / (levels // 2)[:, None, None]
    torch.testing.assert_close(z.grad, g * slope)


@pytest.mark.parametrize("levels", [(), (8, 2), (8, 1), (5000,) * 6], ids=str)
def test_levels_that_cannot_be_are_refused(levels):
    with pytest.raises(ValueError, match="levels"):
        FSQ(levels)
