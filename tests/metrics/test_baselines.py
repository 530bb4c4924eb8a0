"""The baselines equal their closed forms, and a run keeps the counts that they are computed from."""

from collections import Counter
from fractions import Fraction
from math import log
from pathlib import Path

import pytest
import torch

from vqvae.files import read_records
from vqvae.metrics import Models, measure
from vqvae.metrics.baselines import count_codes, load_counts, pooled, save_counts, unigram_nats
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.tensors import images_from_pixels
from vqvae.training import Run


def random_codes(*shape: int, seed: int = 0) -> torch.Tensor:
    # of a few, so that some code is in no training image
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed))


def test_the_baselines_are_their_closed_forms() -> None:
    train, validation = random_codes(2, 7, 2, 3, 2), random_codes(5, 2, 3, 2, seed=1)
    validation[0] = 4  # never met
    counts = count_codes(train.short(), 5)
    by_position, everywhere = unigram_nats(validation, counts), unigram_nats(validation, pooled(counts))
    for at in torch.cartesian_prod(torch.arange(5), torch.arange(2), torch.arange(3), torch.arange(2)):
        b, i, j, d = at.tolist()
        code = int(validation[b, i, j, d])
        here, anywhere = (
            Counter(train[:, :, i, j, d].flatten().tolist()),
            Counter(train[..., d].flatten().tolist()),
        )
        assert float(by_position[b, i, j, d]) == pytest.approx(-log(Fraction(here[code] + 1, 14 + 5)))
        assert float(everywhere[b, i, j, d]) == pytest.approx(-log(Fraction(anywhere[code] + 1, 84 + 5)))


def test_each_baseline_is_a_distribution() -> None:
    counts = count_codes(random_codes(7, 2, 3, 2), 5)
    every = torch.arange(5)[:, None, None, None].expand(-1, 2, 3, 2)
    for of in (counts, pooled(counts)):
        mass = unigram_nats(every, of).neg().exp().sum(0)
        torch.testing.assert_close(mass, torch.ones(2, 3, 2, dtype=torch.float64))


def test_codes_that_are_independent_cost_their_entropy() -> None:
    p = torch.tensor([0.5, 0.25, 0.125, 0.125])
    drawn = torch.multinomial(p, 2 * 4000 * 4, True, generator=torch.Generator().manual_seed(0))
    train, validation = drawn.view(2, 4000, 2, 2, 1)
    for of in (count_codes(train, 4), pooled(count_codes(train, 4))):
        assert float(unigram_nats(validation, of).mean()) / log(2) == pytest.approx(1.75, abs=0.02)


def test_counts_are_kept_and_absent_where_there_are_none(tmp_path: Path) -> None:
    counts = count_codes(random_codes(7, 2, 3, 2), 5)
    assert load_counts(tmp_path / "counts") is None
    save_counts(tmp_path / "counts", counts)
    assert torch.equal(load_counts(tmp_path / "counts"), counts)


def test_a_priors_run_measures_its_baselines_in_training_and_in_evaluation(prior_run: Run) -> None:
    tokenizer, prior = load_tokenizer(prior_run.path), load_prior(prior_run.path)
    data = prior_run.read_config().data
    train, validation = (data.load(split, multiple_of=4) for split in ("train", "validation"))
    inputs = [images_from_pixels(images.pixels) for images in (train, validation)]
    codes, others = (tokenizer.encode(x, exact=True) for x in inputs)
    views = torch.stack(
        [codes, tokenizer.encode(inputs[0].flip(-1), exact=True)]
    )  # the small tokenizer's data are mirrored
    counts = load_counts(prior_run.code_counts)
    assert torch.equal(counts, count_codes(views, 16))
    expected = [float(unigram_nats(others, of).mean()) / log(2) for of in (pooled(counts), counts)]
    results = measure(Models(tokenizer, prior, counts), validation)
    records = [record for record in read_records(prior_run.metrics) if record["split"] == "validation"]
    names = "bits_per_code_unigram", "bits_per_code_position_unigram"
    assert [results[name] for name in names] == pytest.approx(expected)
    for record in records:
        assert [record[name] for name in names] == pytest.approx(expected, rel=1e-5)
    assert len(records) == 2
