"""Equation 3: each term trains exactly the parts it is meant to, and the rest is a constant."""

from math import log, log2

import pytest
import torch

from vqvae.models import VQVAE, objective, uniform_prior_bits
from vqvae.quantizers import EMAQuantizer, VectorQuantizer
from vqvae.tensors import CodeSpec

BETA, VARIANCE = 0.25, 0.3


@pytest.fixture(params=[VectorQuantizer, EMAQuantizer], ids=lambda kind: kind.__name__)
def model(request):
    torch.manual_seed(0)
    quantizer = request.param(16, 3, codes_per_position=2)
    model = VQVAE(quantizer, width=8, outer_width=6, residual_width=5, residual_blocks=1)
    model(images(9))  # the codebook starts
    quantizer.update()
    return model


def images(seed=1):
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def loss_of(model, beta=BETA):
    x = images()
    reconstruction, quantized = model(x)
    return objective(x, reconstruction, quantized, pixel_variance=VARIANCE, beta=beta)


def trained_by(model, term):
    """Return the parts that a term moves: every parameter of each, or none."""
    model.zero_grad()
    if term.requires_grad:
        term.backward()
    parts = {}
    for name, parameter in model.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.any())
        parts.setdefault(name.split(".")[0], set()).add(moved)
    assert all(len(moved) == 1 for moved in parts.values()), parts
    return {part for part, moved in parts.items() if True in moved}


def test_each_term_trains_exactly_the_parts_it_is_meant_to(model):
    learned = {"quantizer"} if isinstance(model.quantizer, VectorQuantizer) else set()
    assert trained_by(model, loss_of(model).reconstruction) == {"encoder", "decoder"}
    assert trained_by(model, loss_of(model).codebook) == learned
    assert trained_by(model, loss_of(model).commitment) == {"encoder"}
    assert trained_by(model, loss_of(model).total) == {"encoder", "decoder"} | learned


@pytest.mark.parametrize("beta", [0.0, 0.25, 100.0])
def test_beta_weighs_the_commitment_and_not_the_codebook(model, beta):
    model.eval()  # a training forward would move the codebook between the terms

    def gradients(term_of):
        # the two terms have one value: only their gradients tell which of them beta weighs
        model.zero_grad()
        term = term_of(loss_of(model, beta))
        if term.requires_grad:
            term.backward()
        return {name: 0.0 if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}

    total, reconstruction, codebook, commitment = (gradients(lambda loss, i=i: loss[i]) for i in range(4))
    for name, gradient in total.items():
        expected = reconstruction[name] + codebook[name] + beta * commitment[name]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_total_is_the_three_terms(model):
    loss = loss_of(model)
    assert torch.equal(loss.total, loss.reconstruction + loss.codebook + BETA * loss.commitment)


def test_the_terms_equal_the_papers_sums_up_to_the_stated_constants(model):
    x = images()
    reconstruction, quantized = model(x)
    loss = objective(x, reconstruction, quantized, pixel_variance=VARIANCE, beta=BETA)
    per_image = x[0].numel()
    sigma_squared = VARIANCE * per_image / 2
    nats = (x - reconstruction).double().square().flatten(1).sum(1) / (2 * sigma_squared)
    torch.testing.assert_close(loss.reconstruction.double(), nats.mean())
    z_e, dim = model.encoder(x), model.quantizer.codebook.shape[1]
    squared_norms = (z_e - quantized.z_q).unflatten(1, (-1, dim)).double().square().sum(2)  # one for each latent
    torch.testing.assert_close(loss.commitment.double(), squared_norms.mean() / dim)


@pytest.mark.parametrize(
    ("grid", "n", "bits"), [((8, 8), 1, 0.1875), ((16, 16), 1, 0.75), ((8, 8), 10, 1.875)], ids=str
)
def test_the_uniform_prior_costs_the_published_bits_a_dimension(grid, n, bits):
    assert uniform_prior_bits(CodeSpec(grid, n, 512), (3, 32, 32)) == bits


def test_the_kl_of_the_one_hot_posterior_to_a_uniform_prior_is_log_k_for_any_codes(model):
    codes = model(images())[1].codes
    posterior = torch.nn.functional.one_hot(codes, model.num_codes).double()  # [B, h, w, n, K]
    prior = torch.full((model.num_codes,), 1 / model.num_codes, dtype=torch.float64)
    # by definition, sum_k q_k log(q_k / p_k), with 0 log 0 = 0
    kl = (torch.xlogy(posterior, posterior) - torch.xlogy(posterior, prior)).sum(-1)
    torch.testing.assert_close(kl, torch.full_like(kl, log(16)))
    bits = kl.flatten(1).sum(1) / log(2) / images()[0].numel()
    expected = uniform_prior_bits(model.code_spec(16, 16), (3, 16, 16))
    assert expected == codes[0].numel() * log2(16) / (3 * 16 * 16)
    torch.testing.assert_close(bits, torch.full_like(bits, expected))


def test_a_model_cast_to_bf16_trains_and_its_codebook_stays_in_float32(model):
    model.to(torch.bfloat16)
    assert {p.dtype for p in model.encoder.parameters()} == {torch.bfloat16}
    assert model.quantizer.codebook.dtype == torch.float32
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    totals = []
    for _ in range(60):
        loss = loss_of(model)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.quantizer.update()
        totals.append(loss.reconstruction.item())
    assert sum(totals[-5:]) < 0.95 * sum(totals[:5]), totals
    model.eval()
    codes = model.encode(images().bfloat16())
    assert torch.equal(model.quantizer.embed(codes).bfloat16(), model(images().bfloat16())[1].z_q)
    assert model.decode(codes).isfinite().all()
