"""The discrete VAE's quantizer: samples, the relaxation's gradient, the KL (arXiv 1611.01144, 2102.12092)."""

import math

import pytest
import torch

from vqvae.quantizers import GumbelQuantizer

K, D, GRID = 6, 4, (3, 5)


def make(**changes):
    torch.manual_seed(0)
    return GumbelQuantizer(K, D, **changes)


def logits_of(quantizer, z_e):
    return quantizer.to_logits(z_e.permute(0, 2, 3, 1).reshape(-1, D))


def test_training_draws_from_the_posterior_and_eval_takes_its_mode(randn):
    quantizer = make()
    z_e = randn(1, 1, D, 1, 1).expand(200, D, 10, 10)
    p = logits_of(quantizer, z_e[:1, :, :1, :1])[0].softmax(0)
    frequencies = quantizer(z_e).codes.flatten().bincount(minlength=K) / 20_000
    torch.testing.assert_close(frequencies, p.detach(), rtol=0, atol=4 * 0.5 / math.sqrt(20_000))
    assert (quantizer.eval()(z_e).codes == p.argmax()).all()


def test_noise_is_a_function_of_seed_and_updates(randn):
    z_e = randn(1, 4, D, *GRID)
    one, two, other = make(), make(), make(seed=1)
    assert torch.equal(one(z_e).codes, two(z_e).codes)
    assert not torch.equal(one(z_e).codes, other(z_e).codes)
    first = one(z_e).codes
    one.update()
    assert not torch.equal(one(z_e).codes, first)


def test_temperature_falls_geometrically_with_the_updates():
    quantizer = make(start_temperature=2.0, final_temperature=0.5, anneal_updates=4)
    found = []
    for updates in range(7):
        quantizer.update_counter.updates.fill_(updates)
        found.append(quantizer.temperature)
    assert found == pytest.approx([2.0, 2**0.5, 1.0, 2**-0.5, 0.5, 0.5, 0.5])


def test_the_gradient_is_that_of_the_relaxed_sample(randn):
    quantizer = make(start_temperature=0.7)
    z_e = randn(1, 2, D, *GRID).requires_grad_()
    g = randn(2, 2, D, *GRID)
    (quantizer(z_e).z_q * g).sum().backward()
    got = [z_e.grad.clone(), quantizer.codebook.grad.clone(), quantizer.to_logits.weight.grad.clone()]
    z_e.grad = None
    quantizer.zero_grad()
    logits = logits_of(quantizer, z_e)
    soft = ((logits + quantizer._gumbel(logits)) / 0.7).softmax(1) @ quantizer.codebook
    (soft * g.permute(0, 2, 3, 1).reshape(-1, D)).sum().backward()
    for left, right in zip(got, [z_e.grad, quantizer.codebook.grad, quantizer.to_logits.weight.grad], strict=True):
        torch.testing.assert_close(left, right)


def test_the_kl_is_to_the_uniform_prior(randn):
    quantizer = make(kl_weight=0.3)
    z_e = randn(1, 2, D, *GRID)
    p = logits_of(quantizer, z_e).double().softmax(1)
    expected = (p * (p * K).log()).sum(1).mean()
    torch.testing.assert_close(quantizer(z_e).codebook_loss.double(), 0.3 * expected, rtol=1e-5, atol=1e-7)
    quantizer.to_logits.weight.data.zero_()
    quantizer.to_logits.bias.data.fill_(2.0)
    torch.testing.assert_close(quantizer(z_e).codebook_loss, torch.tensor(0.0), rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_order_of_the_sums_does_not_decide_between_equal_logits(randn):
    torch.manual_seed(0)
    quantizer, mixed = (GumbelQuantizer(4, 32).eval() for _ in range(2))
    weight, vectors, order = quantizer.to_logits.weight, randn(1, 4000, 32), torch.randperm(32)
    near = (vectors + 4 * (weight[0] + weight[1]) / (weight[0] + weight[1]).norm()).double()  # to codes 0 and 1
    apart = weight[1].double() - weight[0].double()
    tied = (near - (near @ apart / apart.square().sum())[:, None] * apart).float()  # the last bit decides
    quantizer.to_logits.bias.zero_()
    mixed.load_state_dict(quantizer.state_dict())
    mixed.to_logits.weight.copy_(weight[:, order])
    codes = quantizer(tied).codes
    assert len(codes.unique()) > 1
    assert torch.equal(codes, mixed(tied[:, order]).codes)


@torch.no_grad()
def test_of_equal_logits_the_first_counts(randn):
    quantizer = GumbelQuantizer(300, 32).eval()
    quantizer.to_logits.weight.copy_(quantizer.to_logits.weight[:1].expand(300, -1))
    quantizer.to_logits.bias.zero_()
    assert not quantizer(randn(1, 4000, 32)).codes.any()
