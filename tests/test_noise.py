"""Randomness is a function of its keys, and the function is a good one."""

import pytest
import torch

from vqvae import noise

MASK = (1 << 64) - 1


def mix(x: int) -> int:
    """SplitMix64's finaliser in Python's own integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def expected_bits(*keys: int) -> int:
    state = 0
    for key in keys:
        state = mix(((state ^ mix(key & MASK)) + 0x9E3779B97F4A7C15) & MASK)
    return state


@pytest.mark.parametrize("keys", [(0,), (1, 2), (2, 1), (-1,), (7, -3, 2**62), (-(2**63), 2**63 - 1, 0, 5)])
def test_the_bits_equal_an_independent_splitmix64(keys):
    assert int(noise.random_bits(*keys)) & MASK == expected_bits(*keys)


def test_the_mixer_meets_the_published_splitmix64_sequence():
    # the reference generator's first outputs for seed 0: mix(golden), mix(2 golden), ...
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [mix(i * 0x9E3779B97F4A7C15 & MASK) for i in (1, 2, 3)] == published
    assert int(noise.random_bits(0)) & MASK == published[0]


def test_the_order_and_the_number_of_keys_matter():
    keys = [(1, 2), (2, 1), (1,), (2,), (1, 2, 0), (0, 1, 2), (1, 0, 2)]
    assert len({int(noise.random_bits(*k)) for k in keys}) == len(keys)


def test_broadcast_keys_equal_keys_taken_one_by_one():
    rows, columns = torch.arange(-3, 4)[:, None], torch.arange(5)[None]
    whole = noise.random_bits(11, rows, columns, 2)
    assert whole.shape == (7, 5)
    for i in range(7):
        for j in range(5):
            assert int(whole[i, j]) == int(noise.random_bits(11, i - 3, j, 2))


def test_a_number_does_not_depend_on_the_batch_it_is_drawn_in():
    rows = torch.arange(1000)
    whole = noise.uniform(5, rows)
    assert torch.equal(torch.cat([noise.uniform(5, part) for part in rows.split(7)]), whole)
    assert torch.equal(noise.uniform(5, rows.flip(0)).flip(0), whole)


@pytest.mark.parametrize("varied", [0, 1, 2])
def test_uniform_numbers_pass_kolmogorov_smirnov_whichever_key_varies(varied):
    n = 20_000
    keys: list[int | torch.Tensor] = [3, 1, 4]
    keys[varied] = torch.arange(n)
    u = noise.uniform(*keys)
    assert u.dtype == torch.float64
    assert u.min() > 0
    assert u.max() < 1
    assert abs(u.mean() - 1 / 2) < 3 * (1 / 12 / n) ** 0.5
    assert abs(u.var() - 1 / 12) < 3 * (1 / 180 / n) ** 0.5
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    ordered = u.sort().values
    distance = torch.maximum((steps[1:] - ordered).max(), (ordered - steps[:-1]).max())
    assert distance < 1.63 / n**0.5  # the 1 % point
    assert abs(torch.corrcoef(torch.stack([u[:-1], u[1:]]))[0, 1]) < 3 / n**0.5


def test_numbers_of_neighbouring_seeds_are_uncorrelated():
    rows = torch.arange(20_000)
    u = torch.stack([noise.uniform(seed, rows) for seed in range(4)])
    assert (torch.corrcoef(u) - torch.eye(4)).abs().max() < 4 / 20_000**0.5


def test_neither_0_nor_1_at_the_extreme_bit_patterns(monkeypatch):
    monkeypatch.setattr(noise, "random_bits", lambda *keys, device=None: torch.tensor([0, -1]))
    smallest, largest = noise.uniform(0).tolist()
    assert smallest == 2.0**-53
    assert largest == 1 - 2.0**-53


@pytest.mark.parametrize("n", [0, 1, 2, 257])
def test_a_permutation_holds_every_index_once(n):
    order = noise.permutation(n, 3, 1)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(n))


def test_a_permutation_is_a_function_of_its_keys():
    assert torch.equal(noise.permutation(100, 3, 1), noise.permutation(100, 3, 1))
    others = [noise.permutation(100, *keys) for keys in [(3, 1), (1, 3), (3,), (3, 2)]]
    assert len({tuple(order.tolist()) for order in others}) == 4


def test_every_order_of_three_is_as_likely():
    orders = [tuple(noise.permutation(3, seed).tolist()) for seed in range(1200)]
    counts = torch.tensor([orders.count(order) for order in set(orders)], dtype=torch.float64)
    assert len(counts) == 6
    assert ((counts - 200) ** 2 / 200).sum() < 20.5  # chi-square, 5 degrees of freedom, the 0.1 % point
