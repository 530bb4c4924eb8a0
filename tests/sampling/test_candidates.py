"""Of several candidates the one is kept that tells its class best."""

import pytest
import torch

from vqvae import noise
from vqvae.sampling import Controls, class_evidence, sample

LABELS = torch.arange(10) % 3


def test_the_first_candidate_is_the_image_itself_and_the_best_is_kept(any_prior):
    seeds = [3, *noise.random_bits(3, torch.arange(4)).tolist()[1:]]
    sets = torch.stack([sample(any_prior, 10, seed=seed, labels=LABELS) for seed in seeds])
    evidence = torch.stack([class_evidence(any_prior, codes, LABELS) for codes in sets])
    assert len(evidence.argmax(0).unique()) > 1
    kept = sample(any_prior, 10, seed=3, labels=LABELS, candidates=4)
    assert torch.equal(kept, sets[evidence.argmax(0), torch.arange(10)])


def test_the_evidence_is_that_of_bayes(any_prior):
    codes = sample(any_prior, 10, labels=LABELS)
    expected = any_prior.log_prob(codes, LABELS) - any_prior.log_prob(codes)
    torch.testing.assert_close(class_evidence(any_prior, codes, LABELS), expected.double(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_size_changes_nothing(any_prior, batch_size):
    expected = sample(any_prior, 10, labels=LABELS, candidates=3, batch_size=30)
    assert torch.equal(sample(any_prior, 10, labels=LABELS, candidates=3, batch_size=batch_size), expected)


def test_it_goes_with_guidance_and_a_first_row(any_prior):
    controls = Controls(guidance=2.0)
    whole = sample(any_prior, 10, labels=LABELS, candidates=2, controls=controls)
    rest = sample(any_prior, 6, labels=LABELS[4:], candidates=2, controls=controls, first=4)
    assert torch.equal(whole[4:], rest)


@pytest.mark.parametrize(
    ("candidates", "labels", "message"), [(0, LABELS, "must be 1 or more"), (2, None, "needs labels")]
)
def test_what_cannot_be_chosen(any_prior, candidates, labels, message):
    with pytest.raises(ValueError, match=message):
        sample(any_prior, 10, labels=labels, candidates=candidates)
