"""Metrics of codes follow their definitions, for every quantizer, at any batch size, and change nothing."""

from functools import cache
from math import log2
from typing import Any

import pytest
import torch
from tests.quantizers.kinds import kinds, variants

from vqvae.data import load
from vqvae.files import read_records
from vqvae.metrics import Batch, Measurement, Models, measured_in
from vqvae.metrics.codes import CodeCounts, CodeUse
from vqvae.metrics.gradients import gradient_norms
from vqvae.models import VQVAE
from vqvae.quantizers import BSQ
from vqvae.tensors import images_from_pixels
from vqvae.training import Run

QUANTIZERS = kinds() | {
    "bsq-of-40-bits": BSQ.Config(bits=40),  # 2^40 codes: nothing may be as long as the codebook
    "projected-of-residual": variants()["projected-of-residual"],
    "residual-sizes": variants()["residual-sizes"],
}


def tokenizer_of(kind: str) -> VQVAE:
    torch.manual_seed(0)
    quantizer = QUANTIZERS[kind].build()
    tokenizer = VQVAE(quantizer, width=8, outer_width=4, residual_width=4, residual_blocks=1)
    tokenizer(images(8))  # a codebook starts from its first batch
    tokenizer.quantizer.update()
    return tokenizer.eval()


@cache
def images(count: int) -> torch.Tensor:
    return images_from_pixels(load("shapes", "test", limit=count).pixels)


def measured(tokenizer: VQVAE, size: int) -> dict[str, Any]:
    measurement = Measurement(models := Models(tokenizer), measured_in("validation"))
    with torch.no_grad():
        for pixels in load("shapes", "test", limit=8).pixels.split(size):
            z_e = tokenizer.encoder(images_from_pixels(pixels))
            measurement.add(Batch(models, pixels, tokenizer.quantizer(z_e).codes, z_e=z_e))
    return measurement.values()


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_every_quantizer_is_measured(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    found, alone = measured(tokenizer, 8), measured(tokenizer, 1)
    assert found == pytest.approx(alone, rel=1e-4, abs=1e-8)  # code_gain is near 0 in an untrained tokenizer
    n = tokenizer.codes_per_position
    assert found["counted"] == 8 * 8 * 8 * n and 1 <= found["perplexity"] <= tokenizer.num_codes
    assert found["dead_codes"] == pytest.approx(tokenizer.num_codes * (1 - found["usage"]))
    assert (f"usage_{n}" in found) == (n > 1) and f"usage_{n + 1}" not in found
    norms = gradient_norms(tokenizer, images(8), beta=0.25)
    assert norms["gradient_reconstruction"] > 0
    learned_by_gradient = tokenizer.quantizer(tokenizer.encoder(images(8))).codebook_loss.requires_grad
    assert (norms["gradient_codebook"] > 0) == learned_by_gradient
    for name, value in tokenizer.state_dict().items():
        assert torch.equal(before[name], value), name
    assert all(p.grad is None for p in tokenizer.parameters())


def test_the_quantization_error_is_its_definition() -> None:
    tokenizer = tokenizer_of("ema")
    with torch.no_grad():
        z_e = tokenizer.encoder(images(8)).double()
        z_q = tokenizer.quantizer(z_e.float()).z_q.double()
    spread = (z_e - z_e.mean((0, 2, 3), keepdim=True)).square().sum()
    expected = float((z_e - z_q).square().sum() / spread)
    assert measured(tokenizer, 3)["quantization_error"] == pytest.approx(expected, rel=1e-5)


def test_inside_a_projection_the_error_is_that_of_what_is_compared() -> None:
    tokenizer = tokenizer_of("projected")
    quantizer: Any = tokenizer.quantizer
    with torch.no_grad():
        low = quantizer.low(tokenizer.encoder(images(8)))
        left = low - quantizer.inner(low).z_q
    expected = float(left.square().sum() / (low - low.mean((0, 2, 3), keepdim=True)).square().sum())
    assert measured(tokenizer, 3)["quantization_error"] == pytest.approx(expected, rel=1e-4)


def test_a_dead_level_shows_though_the_codes_together_are_used() -> None:
    tokenizer = tokenizer_of("grouped")
    every = torch.arange(tokenizer.num_codes).view(1, 4, -1)
    codes = torch.stack([every, torch.zeros_like(every)], dim=3)
    use = CodeUse(models := Models(tokenizer))
    use.add(Batch(models, torch.zeros(1, 3, 16, 16, dtype=torch.uint8), codes))
    found = use.result()
    assert found["usage"] == 1.0 and (found["usage_1"], found["usage_2"]) == (1.0, 1 / tokenizer.num_codes)


def test_layers_with_different_numbers_of_codes_count_each_with_its_own() -> None:
    tokenizer = tokenizer_of("residual-sizes")
    sizes = tokenizer.code_sizes
    assert len(set(sizes)) == len(sizes) == tokenizer.codes_per_position and max(sizes) == tokenizer.num_codes
    every = torch.stack([torch.arange(tokenizer.num_codes).clamp(max=size - 1) for size in sizes], dim=1)
    pixels = torch.zeros(1, 3, 4 * tokenizer.num_codes, 4, dtype=torch.uint8)
    measurement = Measurement(models := Models(tokenizer), measured_in("evaluation"))
    measurement.add(Batch(models, pixels, every.view(1, -1, 1, len(sizes))))
    found = measurement.values()
    assert [found[f"usage_{level}"] for level in (1, 2, 3)] == [1.0, 1.0, 1.0]
    bits = [sum(map(log2, sizes[:depth])) for depth in (1, 2, 3)]
    rates = [found[f"kl_bits_per_dim_uniform{of}"] for of in ("_1", "_2", "_3", "")]
    positions_per_dimension = tokenizer.num_codes / pixels[0].numel()
    assert rates == pytest.approx([each * positions_per_dimension for each in (*bits, bits[-1])])
    assert found["bits_per_code_uniform"] == pytest.approx(bits[-1] / len(sizes))


def test_the_commitments_gradient_is_its_closed_form_and_grows_with_beta() -> None:
    tokenizer = tokenizer_of("ema")
    with torch.no_grad():
        z_e = tokenizer.encoder(images(8))
        expected = (2 * (z_e - tokenizer.quantizer(z_e).z_q) / z_e.numel()).norm()
    for beta in (0.25, 5.0):
        found = gradient_norms(tokenizer, images(8), beta=beta)["gradient_commitment"]
        assert found == pytest.approx(beta * float(expected), rel=1e-5)


def test_the_metrics_of_codes_are_in_the_records_of_a_run(tokenizer_run: Run, prior_run: Run) -> None:
    [*_, tokens] = (record for record in read_records(tokenizer_run.metrics) if record["split"] == "validation")
    assert {"dead_codes", "counted", "quantization_error", "gradient_reconstruction"} <= tokens.keys()
    [*_, codes] = (record for record in read_records(prior_run.metrics) if record["split"] == "validation")
    assert 0 < codes["bits_per_code_unigram"] <= 4.1


def test_perplexity_and_usage_equal_their_definitions() -> None:
    counts = CodeCounts(8)
    counts.add(torch.tensor([[0, 0], [1, 1]]))
    counts.add(torch.tensor([2, 2, 3, 3]))
    assert counts.perplexity == pytest.approx(4.0) and counts.usage == 0.5
    skewed = CodeCounts(4)
    skewed.add(torch.tensor([0, 0, 0, 1]))
    entropy = -(0.75 * log2(0.75) + 0.25 * log2(0.25))
    assert skewed.perplexity == pytest.approx(2**entropy)


def test_counts_hold_no_more_than_the_codes_in_use() -> None:
    counts = CodeCounts(2**62)
    counts.add(torch.tensor([2**61, 5, 5]))
    counts.add(torch.tensor([[7, 5]]))
    assert counts.counted == 5 and counts.dead == 2**62 - 3 and counts.times.tolist() == [3, 1, 1]
    assert counts.perplexity == pytest.approx(5 / 3 ** (3 / 5))
    assert len(counts.counts) == 0
