"""A sample is a function of (seed, image), whatever the way and the batch it is drawn in."""

import pytest
import torch

from vqvae.priors import PixelCNN
from vqvae.sampling import Controls, restrict, sample, sample_naively
from vqvae.sampling.sampler import invert, numbers
from vqvae.tensors import CodeSpec


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    model = PixelCNN(12, codes_per_position=2, grid=(4, 3), num_classes=3, width=16, layers=4, head_width=32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)  # decided enough that the codes before matter
    return model.eval()


@pytest.fixture
def logits():
    return 3 * torch.randn(50, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("labelled", [False, True])
def test_cached_sampling_equals_naive_sampling_code_for_code(prior, labelled):
    labels = torch.arange(64) % 4 if labelled else None
    cached = sample(prior, 64, seed=3, labels=labels)
    assert cached.shape == (64, 4, 3, 2)
    assert torch.equal(cached, sample_naively(prior, 64, seed=3, labels=labels))
    assert torch.equal(cached, prior.sample(64, seed=3, labels=labels))
    assert len(cached.unique(dim=0)) == 64


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_sample_does_not_depend_on_the_batch_size(prior, batch_size):
    labels = torch.arange(20) % 4
    expected = sample(prior, 20, seed=3, labels=labels, batch_size=20)
    assert torch.equal(sample(prior, 20, seed=3, labels=labels, batch_size=batch_size), expected)


def test_the_first_of_many_are_the_few(prior):
    assert torch.equal(sample(prior, 20, seed=3)[:5], sample(prior, 5, seed=3))


def test_a_seed_gives_the_same_samples_and_another_seed_others(prior):
    torch.manual_seed(1)
    first = sample(prior, 20, seed=3)
    torch.manual_seed(2)
    assert torch.equal(sample(prior, 20, seed=3), first)
    assert not torch.equal(sample(prior, 20, seed=4), first)


def test_a_label_changes_the_sample(prior):
    first, second = (sample(prior, 20, seed=3, labels=torch.full((20,), label)) for label in (0, 1))
    assert not torch.equal(first, second)


def test_any_grid_may_be_drawn(prior):
    assert sample(prior, 2, grid=(2, 5)).shape == (2, 2, 5, 2)


def test_temperature_0_takes_the_likeliest_code_at_every_step(prior):
    codes = torch.zeros(2, 4, 3, 2, dtype=torch.int64)
    with torch.no_grad():
        for row in range(4):
            for column in range(3):
                for depth in range(2):
                    codes[:, row, column, depth] = prior(codes)[:, row, column, depth].argmax(1)
    assert torch.equal(sample(prior, 2, seed=3, controls=Controls(temperature=0.0)), codes)
    assert torch.equal(sample(prior, 2, seed=4, controls=Controls(top_k=1)), codes)


@pytest.mark.parametrize("control", [{"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.5}], ids=str)
def test_every_control_reaches_the_sample(prior, control):
    plain = sample(prior, 20, seed=3)
    bent = sample(prior, 20, seed=3, controls=Controls(**control))
    assert not torch.equal(bent, plain)
    assert torch.equal(bent, prior.sample(20, seed=3, **control))


def test_progress_is_told_of_every_code(prior):
    drawn = []
    sample(prior, 10, batch_size=4, progress=drawn.append)
    assert sum(drawn) == 10 * 4 * 3 * 2
    assert drawn == [4] * 24 + [4] * 24 + [2] * 24


class Chain:
    """A prior that is no network: each code is the one before it plus 0 or 1, with odds 3 to 1."""

    spec, num_classes = CodeSpec((1, 50), 1, 4), 0

    def start(self, count, grid, labels=None):
        return count

    def step(self, cache, previous):
        previous = torch.zeros(cache, dtype=torch.int64) if previous is None else previous
        stay, move = (torch.nn.functional.one_hot((previous + step) % 4, 4) for step in (0, 1))
        return (stay * 0.75 + move * 0.25).log()


def test_the_sampler_knows_of_a_prior_no_more_than_the_protocol():
    codes = sample(Chain(), 200, seed=0).flatten(1)
    steps = codes.diff(dim=1) % 4
    assert set(steps.unique().tolist()) == {0, 1}
    share, count = steps.double().mean(), steps.numel()
    assert abs(share - 0.25) < 3 * (0.25 * 0.75 / count) ** 0.5


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_temperature_divides_the_logits(logits, temperature):
    expected = (logits.double() / temperature).exp()
    expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(restrict(logits, temperature=temperature), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [0.0, 1e-310, 1e-300, 1e-6, 1e300, float("inf")])
def test_extreme_temperatures_still_give_probabilities(logits, temperature):
    probabilities = restrict(logits, temperature=temperature)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(50, dtype=torch.float64))
    if temperature <= 1e-6:
        assert torch.equal(probabilities.argmax(1), logits.argmax(1))
        assert (probabilities.amax(1) > 1 - 1e-9).all()
    else:
        torch.testing.assert_close(probabilities, torch.full_like(probabilities, 1 / 9))


@pytest.mark.parametrize("k", [1, 2, 8, 9, 100])
def test_top_k_keeps_the_k_likeliest_in_their_proportions(logits, k):
    kept = restrict(logits, top_k=k)
    full = logits.double().softmax(1)
    for row, all_of_them in zip(kept, full, strict=True):
        best = sorted(range(9), key=lambda code: -float(all_of_them[code]))[:k]
        assert row.nonzero().flatten().tolist() == sorted(best)
        torch.testing.assert_close(row[best], all_of_them[best] / all_of_them[best].sum())


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_keeps_k_codes_among_equals_too(k):
    logits = torch.tensor([[0.0, 1.0, 1.0, 1.0, 0.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    kept = restrict(logits, top_k=k)
    assert (kept > 0).sum(1).tolist() == [k, k]
    if k == 1:
        assert torch.equal(kept, restrict(logits, temperature=0.0))


@pytest.mark.parametrize("p", [1e-9, 0.3, 0.5, 0.9, 0.999, 1.0])
def test_top_p_keeps_the_fewest_codes_whose_mass_reaches_p(logits, p):
    kept = restrict(logits, top_p=p)
    torch.testing.assert_close(kept.sum(1), torch.ones(50, dtype=torch.float64))
    for row, full in zip(kept, logits.double().softmax(1), strict=True):
        chosen, mass = [], 0.0
        for code in sorted(range(9), key=lambda code: -float(full[code])):
            if mass >= p:
                break
            chosen.append(code)
            mass += float(full[code])
        assert row.nonzero().flatten().tolist() == sorted(chosen)
        torch.testing.assert_close(row[chosen], full[chosen] / mass)


def test_top_p_sees_what_temperature_and_top_k_left(logits):
    both = restrict(logits, temperature=2.0, top_k=4, top_p=0.8)
    after = restrict(logits, temperature=2.0, top_k=4).log()
    torch.testing.assert_close(both, restrict(after, top_p=0.8))


def draw(probabilities, seed, images, position):
    """The codes of a position as ``sample`` draws them."""
    *_, u = numbers(position + 1, seed, images)
    return invert(probabilities, u)


def test_draws_have_the_probabilities_frequencies_and_never_the_impossible():
    probabilities = torch.tensor([0.0, 0.4, 0.25, 0.0, 0.2, 0.1, 0.05, 0.0], dtype=torch.float64)
    possible = probabilities > 0
    for images, position in ((torch.arange(20_000), 3), (torch.arange(40_000, 60_000), 0)):
        codes = draw(probabilities.expand(20_000, -1), 7, images, position)
        counts = codes.bincount(minlength=8).double()
        assert not counts[~possible].any()
        expected = 20_000 * probabilities[possible]
        assert ((counts[possible] - expected) ** 2 / expected).sum() < 18.5  # 4 degrees of freedom, 0.1 %


@pytest.mark.parametrize("u", [2.0**-53, 1 - 2.0**-53])
def test_the_extreme_uniform_numbers_draw_possible_codes(u):
    probabilities = torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.1, 0.3, 0.0]], dtype=torch.float64)
    assert invert(probabilities, torch.tensor([u], dtype=torch.float64)).item() == (1 if u < 0.5 else 5)


def test_a_draw_is_a_function_of_seed_image_and_position():
    probabilities = torch.full((100, 50), 0.02, dtype=torch.float64)
    images = torch.arange(100)
    base = draw(probabilities, 1, images, 2)
    assert torch.equal(draw(probabilities[:10], 1, images[40:50], 2), base[40:50])
    for other in (draw(probabilities, 2, images, 2), draw(probabilities, 1, images + 1, 2),
                  draw(probabilities, 1, images, 3)):  # fmt: skip
        assert not torch.equal(other, base)


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"temperature": -0.1}, "temperature -0.1: must be 0 or more"),
        ({"temperature": float("nan")}, "temperature nan: must be 0 or more"),
        ({"top_k": 0}, "top_k 0: must be 1 or more"),
        ({"top_k": 2.5}, "top_k 2.5: must be 1 or more, an integer"),
        ({"top_p": 0.0}, "top_p 0.0: must be above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p 1.1: must be above 0 and at most 1"),
        ({"top_p": float("nan")}, "top_p nan: must be above 0 and at most 1"),
    ],
    ids=str,
)
def test_controls_out_of_range_are_refused_with_the_range(prior, control, message):
    with pytest.raises(ValueError, match=message):
        Controls(**control).check(classes=False)
    with pytest.raises(ValueError, match=message):
        sample(prior, 1, controls=Controls(**control))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": -1}, "num -1: must be 0 or more"),
        ({"num": -1, "labels": 1}, "num -1: must be 0 or more"),
        ({"num": 1, "grid": (0, 3)}, "grid 0x3: height and width must be 1 or more"),
        ({"num": 1, "grid": (4, -1)}, "grid 4x-1: height and width must be 1 or more"),
    ],
    ids=str,
)
def test_sizes_out_of_range_are_refused(any_prior, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(any_prior, **arguments)


@pytest.mark.parametrize("how", [{}, {"labels": 1, "candidates": 2, "controls": Controls(guidance=2.0)}], ids=str)
def test_no_samples_are_an_empty_tensor(any_prior, how):
    codes = sample(any_prior, 0, **how)
    assert codes.shape == (0, 4, 3, 2) and codes.dtype == torch.int64
