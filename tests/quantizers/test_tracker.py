"""A codebook starts from data, and codes that nothing chooses start again."""

import pytest
import torch

from vqvae.quantizers.tracker import CodebookTracker, starting_codes


def is_row_of(row, rows):
    return bool((rows == row).all(1).any())


@pytest.mark.parametrize("count", [1, 7, 40])
def test_starting_codes_are_distinct_rows_of_the_latents(count, randn):
    latents = randn(1, 40, 3)
    codes = starting_codes(latents, count, 5, 0)
    assert codes.shape == (count, 3)
    assert len(codes.unique(dim=0)) == count
    assert all(is_row_of(code, latents) for code in codes)


def test_starting_codes_are_a_function_of_the_keys(randn):
    latents = randn(1, 40, 3)
    assert torch.equal(starting_codes(latents, 10, 5, 0), starting_codes(latents, 10, 5, 0))
    assert not torch.equal(starting_codes(latents, 10, 5, 0), starting_codes(latents, 10, 5, 1))
    assert not torch.equal(starting_codes(latents, 10, 5, 0), starting_codes(latents, 10, 6, 0))


def test_every_latent_may_start_a_code(randn):
    latents = randn(1, 12, 3)
    drawn = torch.cat([starting_codes(latents, 2, seed) for seed in range(60)])
    assert len(drawn.unique(dim=0)) == 12


@pytest.mark.parametrize("count", [11, 20, 64])
def test_fewer_latents_than_codes_start_near_the_latents_without_equal_codes(count, randn):
    latents = randn(1, 10, 3)
    codes = starting_codes(latents, count, 5, 0)
    assert len(codes.unique(dim=0)) == count
    assert sum(is_row_of(code, latents) for code in codes) == 10
    spread = latents.std(0, correction=0)
    offset = codes[:, None] - latents[None]
    nearest = offset[torch.arange(count), offset.square().sum(2).argmin(1)]
    assert (nearest.abs() <= 0.0051 * spread).all()
    served = torch.cdist(codes, latents).argmin(1).bincount(minlength=10)
    assert served.max() - served.min() <= 1


@pytest.mark.parametrize("value", [0.0, 30.0])
def test_one_latent_starts_codes_that_all_differ(value):
    codes = starting_codes(torch.full((1, 4), value), 16, 5, 0)
    assert len(codes.unique(dim=0)) == 16


def test_latents_that_repeat_a_value_start_codes_that_all_differ(randn):
    # plain backgrounds: an encoder answers equal patches with equal latents
    latents = randn(1, 10, 3).repeat(10, 1)
    codes = starting_codes(latents, 16, 5, 0)
    assert len(codes.unique(dim=0)) == 16


@pytest.fixture
def tracker():
    def make(**changes):
        return CodebookTracker(4, **{"seed": 5, "revive_every": 3, "revive_below": 0.5, **changes})

    return make


def test_it_starts_once_and_not_from_an_empty_batch(tracker, randn):
    it, codebook = tracker(), torch.zeros(4, 2)
    assert not it.start(codebook, randn(1, 0, 2))
    assert not codebook.any()
    assert it.start(codebook, randn(1, 9, 2))
    first = codebook.clone()
    assert first.any()
    assert not it.start(codebook, randn(2, 9, 2))
    assert torch.equal(codebook, first)


def test_codes_die_below_the_share_of_the_mean_since_the_last_revival(tracker, randn):
    it, latents = tracker(), randn(1, 20, 2)
    revived = []
    # three updates sum to [24, 2, 4, 2]: the mean is 8, half of it 4; a code at just half lives
    for counts in ([8, 0, 4, 1], [8, 2, 0, 0], [8, 0, 0, 1], [1, 9, 9, 9], [1, 9, 9, 9], [1, 9, 9, 9]):
        it.count(torch.tensor(counts))
        codes, restart = it.revivals(latents)
        assert len(codes) == len(restart) == len(restart.unique(dim=0))
        assert all(is_row_of(row, latents) for row in restart)
        revived.append(codes.tolist())
    assert revived == [[], [], [1, 3], [], [], [0]]


def test_two_revivals_draw_different_latents(tracker, randn):
    it, latents, drawn = tracker(revive_every=1), randn(1, 50, 2), []
    for _ in range(2):
        it.count(torch.tensor([100, 0, 0, 0]))
        drawn.append(it.revivals(latents)[1])
    assert not torch.equal(*drawn)


def test_zero_never_revives(tracker, randn):
    it = tracker(revive_every=0)
    for _ in range(10):
        it.count(torch.tensor([100, 0, 0, 0]))
        assert len(it.revivals(randn(1, 50, 2))[0]) == 0
