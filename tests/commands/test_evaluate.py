"""Measurements equal their definitions, over the whole split, at any batch size."""

import json
import math
from dataclasses import fields, replace

import pytest
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from vqvae.commands.evaluate import Results, evaluate
from vqvae.commands.evaluate_run import evaluate_run
from vqvae.commands.results_table import results_table
from vqvae.data import load
from vqvae.metrics.images import CodeCounts, psnr, ssim
from vqvae.metrics.metric_info import MEASURES
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.training import Run


def _random_pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def test_pixels_and_images_are_each_others_inverse() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    images = images_from_pixels(pixels)
    assert images.dtype == torch.float32 and (images.min(), images.max()) == (-1.0, 1.0)
    assert torch.equal(pixels_from_images(images), pixels)
    assert pixels_from_images(torch.tensor([-7.0, 7.0])).tolist() == [0, 255]


def test_psnr_is_that_of_a_peer_on_rounded_pixels() -> None:
    pixels = _random_pixels(3, 3, 16, 16)
    reconstruction = images_from_pixels(_random_pixels(3, 3, 16, 16, seed=1)) + 0.001
    for one, other, mine in zip(
        pixels, pixels_from_images(reconstruction), psnr(pixels, reconstruction), strict=True
    ):
        peer = peak_signal_noise_ratio(other.double(), one.double(), data_range=255.0)
        assert float(mine) == pytest.approx(float(peer), rel=1e-6)
    assert psnr(pixels, images_from_pixels(pixels)).isinf().all()


def test_ssim_is_one_for_a_copy_and_falls_with_noise() -> None:
    pixels = _random_pixels(2, 3, 16, 16)
    images = images_from_pixels(pixels)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    levels = [ssim(pixels, images + sigma * noise) for sigma in (0.0, 0.1, 0.5)]
    torch.testing.assert_close(levels[0], torch.ones(2, dtype=torch.float64), rtol=1e-4, atol=0)
    assert (levels[0] > levels[1]).all() and (levels[1] > levels[2]).all()
    assert ssim(
        _random_pixels(1, 1, 6, 9), images_from_pixels(_random_pixels(1, 1, 6, 9))
    ).item() == pytest.approx(1)


def test_perplexity_and_usage_equal_their_definitions() -> None:
    counts = CodeCounts(8)
    counts.add(torch.tensor([[0, 0], [1, 1]]))
    counts.add(torch.tensor([2, 2, 3, 3]))
    assert counts.perplexity == pytest.approx(4.0) and counts.usage == 0.5
    skewed = CodeCounts(4)
    skewed.add(torch.tensor([0, 0, 0, 1]))
    assert skewed.perplexity == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_no_figure_depends_on_the_batch_size(tokenizer_run: Run, prior_run: Run) -> None:
    tokenizer, prior = load_tokenizer(tokenizer_run.path), load_prior(prior_run.path)
    images = load("shapes", "test", limit=50)
    results = [evaluate(tokenizer, images, prior=prior, batch_size=size) for size in (50, 7, 1)]
    first = results[0][0].to_dict()
    for other, counts in results[1:]:
        assert torch.equal(counts, results[0][1])
        for name, value in other.to_dict().items():
            assert value == (pytest.approx(first[name], rel=1e-5) if isinstance(value, float) else first[name]), (
                name
            )


def test_results_equal_a_direct_computation(tokenizer_run: Run, prior_run: Run) -> None:
    tokenizer, prior = load_tokenizer(tokenizer_run.path), load_prior(prior_run.path)
    images = load("shapes", "test", limit=30)
    results, counts = evaluate(tokenizer, images, prior=prior)
    x = images_from_pixels(images.pixels)
    codes = tokenizer.encode(x)
    error = (tokenizer.decode(codes) - x).double().square().mean()
    train = images_from_pixels(load("shapes", "train", limit=96).pixels).double()
    assert results.nmse == pytest.approx(float(error / train.var(correction=0)), rel=1e-5)
    assert counts.sum() == codes.numel()
    nats = -prior.log_prob(codes, images.labels).detach().double().sum() / codes.numel()
    assert results.bits_per_code == pytest.approx(float(nats) / math.log(2), rel=1e-6)
    assert results.bits_per_code_uniform == math.log2(16)
    saved = (results.bits_per_code_uniform - results.bits_per_code) * 64 / (3 * 32 * 32)
    assert results.bits_per_dim_prior == pytest.approx(results.bits_per_dim_uniform - saved)
    assert results.kl_bits_per_dim_uniform == pytest.approx(64 * 4 / 3072)
    unlabelled, _ = evaluate(tokenizer, images, prior=prior, use_labels=False)
    assert unlabelled.bits_per_code != results.bits_per_code and not unlabelled.protocol["labels"]


def test_without_a_prior_the_uniform_one_is_the_bound(tokenizer_run: Run) -> None:
    results, _ = evaluate(load_tokenizer(tokenizer_run.path), load("shapes", "test", limit=8))
    assert results.bits_per_code_prior is None and results.bits_per_dim_prior is None
    assert results.bits_per_code == results.bits_per_code_uniform
    assert " - " in results_table(results)


def test_an_evaluation_is_kept_in_the_run(prior_run: Run) -> None:
    results = evaluate_run(str(prior_run.path), "shapes")
    kept = json.loads(prior_run.evaluation.read_text())
    assert kept["results"]["bits_per_code"] == results.bits_per_code
    assert sum(kept["counts"]) == 2000 * 64
    table = results_table(replace(results))
    for name in ("nmse", "psnr", "ssim", "perplexity", "bits_per_dim_prior"):
        assert name in table


def test_every_figure_has_its_meaning() -> None:
    assert [*MEASURES, "protocol"] == [field.name for field in fields(Results)]
