"""Any prior: the cache draws what whole passes draw, and guidance is its formula."""

import pytest
import torch

from vqvae.sampling import Controls, sample, sample_naively
from vqvae.sampling.guidance import stepper

LABELS = torch.arange(10) % 3


@pytest.fixture(scope="module")
def exact(any_prior):
    from copy import deepcopy

    return deepcopy(any_prior).double()


def test_200_images_are_the_same_by_whole_passes_and_by_the_cache_at_any_batch_size(any_prior):
    labels = torch.arange(200) % 4
    expected = sample_naively(any_prior, 200, seed=3, labels=labels)
    assert len(expected.unique(dim=0)) == 200
    for batch_size in (1, 7, 64):
        assert torch.equal(sample(any_prior, 200, seed=3, labels=labels, batch_size=batch_size), expected)


def test_guided_logits_are_the_formula(exact):
    codes = torch.randint(0, 12, (10, 4, 3, 2), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        c, u = exact(codes, LABELS).flatten(1, 3), exact(codes).flatten(1, 3)
        step, previous = stepper(exact, 10, (4, 3), labels=LABELS, guidance=2.5), None
        for position, code in enumerate(codes.flatten(1).T):
            expected = u[:, position] + 2.5 * (c[:, position] - u[:, position])
            torch.testing.assert_close(step(previous), expected, rtol=0, atol=1e-11)
            previous = code


def test_guidance_1_is_the_class_0_is_none_and_more_is_something_else(exact):
    plain = sample(exact, 10, seed=5, labels=LABELS)
    assert torch.equal(sample(exact, 10, seed=5, labels=LABELS, controls=Controls(guidance=1.0)), plain)
    assert torch.equal(
        sample(exact, 10, seed=5, labels=LABELS, controls=Controls(guidance=0.0)), sample(exact, 10, seed=5)
    )
    guided = exact.sample(10, seed=5, labels=LABELS, guidance=3.0)
    assert not torch.equal(guided, plain)
    assert torch.equal(
        sample(exact, 10, seed=5, labels=LABELS, controls=Controls(guidance=3.0), batch_size=3), guided
    )


def test_guidance_without_classes_is_refused(any_prior):
    with pytest.raises(ValueError, match=r"guidance 2\.0: needs labels"):
        sample(any_prior, 2, controls=Controls(guidance=2.0))
    with pytest.raises(ValueError, match="guidance nan: must be a finite number"):
        any_prior.sample(2, labels=torch.zeros(2, dtype=torch.int64), guidance=float("nan"))


def test_code_nats_are_each_codes_share_of_the_likelihood(exact):
    codes = torch.randint(0, 12, (4, 5, 2, 2), generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        nats, logits = exact.code_nats(codes, labels), exact(codes, labels)
    expected = -logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    torch.testing.assert_close(nats, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(exact.log_prob(codes, labels), -nats.sum((1, 2, 3)), rtol=0, atol=1e-12)
