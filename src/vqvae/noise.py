"""Random numbers as a function of keys: equal keys give equal numbers, on any device and at any batch size.

A counter-based generator has no state. So the random numbers of a run are a function of (seed, step, row) and do
not depend on the numbers that were drawn before. Resuming, the batch size and the number of ranks do not change
them. The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number
generators", 2014).
"""

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _logical_shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _logical_shift(x, 30)) * _MIX_1
    x = (x ^ _logical_shift(x, 27)) * _MIX_2
    return x ^ _logical_shift(x, 31)


def random_bits(*keys: int | Tensor) -> Tensor:
    """Hash integer keys to 64 random bits.

    Args:
        *keys: integers or int64 tensors that broadcast together. Their order matters: (1, 2) is not (2, 1).

    Returns:
        int64, the keys' broadcast shape; every bit pattern is equally likely.
    """
    tensors = [key for key in keys if isinstance(key, Tensor)]
    state = torch.zeros((), dtype=torch.int64, device=tensors[0].device if tensors else None)
    for key in keys:
        state = _mix((state ^ _mix(torch.as_tensor(key, dtype=torch.int64, device=state.device))) + _GOLDEN)
    return state


def uniform(*keys: int | Tensor) -> Tensor:
    """Hash integer keys to float64 uniform on the open interval (0, 1): 52 random bits, never 0 or 1."""
    return (_logical_shift(random_bits(*keys), 12).double() + 0.5) * 2.0**-52


def permutation(n: int, *keys: int) -> Tensor:
    """Return a random order of ``0 .. n-1``, int64 [n], as a function of the keys."""
    return random_bits(*keys, torch.arange(n)).argsort(stable=True)
