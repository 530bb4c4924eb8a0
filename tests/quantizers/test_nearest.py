"""The nearest code is that of a float64 brute force, whatever the data look like."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vqvae.quantizers import nearest, nearest_code


def random(randn):
    return randn(1, 300, 8), randn(2, 50, 8)


def clustered(randn):
    centres = randn(3, 5, 8)
    return centres.repeat(60, 1) + 1e-3 * randn(1, 300, 8), centres.repeat(10, 1) + 1e-3 * randn(2, 50, 8)


def off_centre(randn):
    return 30 + 0.01 * randn(1, 500, 16), 30 + 0.01 * randn(2, 64, 16)


def far_off_centre(randn):
    return 1000 + 0.001 * randn(1, 500, 16), 1000 + 0.001 * randn(2, 64, 16)


def duplicated_codes(randn):
    return randn(1, 300, 4), randn(2, 10, 4).repeat(5, 1)


def near_ties_across_tiles(randn):
    codebook = randn(2, 2100, 4)
    return codebook[::7] + 1e-4 * randn(1, 300, 4), torch.cat([codebook + 1e-7, codebook, codebook])


def all_codes_equal(randn):
    return randn(1, 50, 4), torch.full((7, 4), 0.3)


def latents_on_codes(randn):
    codebook = randn(2, 40, 6)
    return codebook.flip(0), codebook


def lattice(randn):
    axis = torch.arange(-2.0, 3.0)
    points = torch.cartesian_prod(axis, axis, axis)
    return points + torch.tensor([0.5, 0.5, 0.0]), points.flip(0)


def halfway(randn):
    codebook = randn(2, 30, 4).mul(64).round()
    return (codebook[:, None] + codebook[None]).flatten(0, 1) / 2, codebook


def almost_halfway(randn):
    # the two distances of a rounded midpoint differ by less than float32 can tell
    codebook = randn(2, 12, 32)
    return (codebook[:, None] + codebook[None]).flatten(0, 1) / 2, codebook


def huge(randn):
    return 1e30 * randn(1, 300, 8), 1e30 * randn(2, 50, 8)


def tiny(randn):
    return 1e-30 * randn(1, 300, 8), 1e-30 * randn(2, 50, 8)


def one_code(randn):
    return randn(1, 30, 4), randn(2, 1, 4)


def one_code_at_the_latent(randn):
    return torch.ones(3, 4), torch.ones(1, 4)


def more_codes_than_a_tile(randn):
    return randn(1, 100, 3), randn(2, 5000, 3)


def more_latents_than_a_tile(randn):
    return randn(1, 2500, 3), randn(2, 20, 3)


def ties_across_tiles(randn):
    return randn(1, 100, 3), randn(2, 1500, 3).repeat(3, 1)


def one_code_far_away(randn):
    codebook = randn(2, 50, 8)
    codebook[7] = 1e6
    return randn(1, 300, 8), codebook


def latents_far_from_all_codes(randn):
    return 1e5 * randn(1, 300, 8), randn(2, 50, 8)


def one_dimension(randn):
    return randn(1, 500, 1), randn(2, 200, 1)


def no_latents(randn):
    return randn(1, 0, 8), randn(2, 50, 8)


def bfloat16(randn):
    return randn(1, 300, 4).bfloat16(), randn(2, 100, 4).bfloat16()


def bfloat16_latents(randn):
    return randn(1, 300, 4).bfloat16(), randn(2, 100, 4)


def double(randn):
    return 1 + 1e-9 * randn(1, 300, 4).double(), 1 + 1e-9 * randn(2, 50, 4).double()


CASES = [
    random, clustered, off_centre, far_off_centre, duplicated_codes, near_ties_across_tiles, all_codes_equal,
    latents_on_codes, lattice, halfway, almost_halfway, huge, tiny, one_code, one_code_at_the_latent,
    more_codes_than_a_tile, more_latents_than_a_tile, ties_across_tiles, one_code_far_away,
    latents_far_from_all_codes, one_dimension, no_latents, bfloat16, bfloat16_latents, double,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_nearest_code_equals_a_float64_brute_force(case, randn, brute_force):
    x, codebook = case(randn)
    codes = nearest_code(x, codebook)
    assert codes.dtype == torch.int64
    assert torch.equal(codes, brute_force(x, codebook))


@pytest.mark.parametrize("case", [random, off_centre, lattice, bfloat16], ids=lambda case: case.__name__)
def test_autocast_does_not_move_a_code(case, randn, brute_force):
    x, codebook = case(randn)
    with torch.autocast("cpu", torch.bfloat16):
        codes = nearest_code(x, codebook)
    assert torch.equal(codes, brute_force(x, codebook))


@pytest.mark.parametrize("scale", [1e16, 1e30])
def test_latents_that_dwarf_the_codebook_equal_the_brute_force(scale, randn, brute_force):
    x, codebook = scale * randn(1, 100, 4), randn(2, 64, 4)
    assert torch.equal(nearest_code(x, codebook), brute_force(x, codebook))


def test_a_codes_neighbours_do_not_matter(randn):
    x, codebook = random(randn)
    alone = torch.cat([nearest_code(row[None], codebook) for row in x[:50]])
    assert torch.equal(alone, nearest_code(x, codebook)[:50])


def test_a_nan_gets_code_0_and_leaves_the_others_alone(randn, brute_force):
    x, codebook = random(randn)
    x[3, 1] = torch.nan
    codes = nearest_code(x, codebook)
    assert codes[3] == 0
    rest = torch.arange(len(x)) != 3
    assert torch.equal(codes[rest], brute_force(x[rest], codebook))


def test_neither_argument_changes_and_no_gradient_flows(randn):
    x, codebook = random(randn)
    x.requires_grad_()
    before = x.detach().clone(), codebook.clone()
    assert not nearest_code(x, codebook).requires_grad
    assert torch.equal(x, before[0])
    assert torch.equal(codebook, before[1])


def bf16_search(points, centres, half_squares):
    """What TF32 and bf16 GEMMs do to a search: they round its operands."""
    return nearest._tiled_search(points.bfloat16().float(), centres.bfloat16().float(), half_squares)


@pytest.mark.parametrize("case", [random, clustered, off_centre, lattice, huge], ids=lambda case: case.__name__)
def test_operands_rounded_to_bf16_are_settled_where_the_bound_says_so(case, randn, brute_force):
    x, codebook = case(randn)
    expected = brute_force(x, codebook)
    assert torch.equal(nearest._nearest(x, codebook, bf16_search, torch.finfo(torch.bfloat16).eps), expected)
    unaware = nearest._nearest(x, codebook, bf16_search, torch.finfo(torch.float32).eps)
    assert case in (lattice, huge) or not torch.equal(unaware, expected)  # or the law above says nothing


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_a_setting_that_lets_gemms_round_moves_no_code(precision, randn, brute_force):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert (nearest._gemm_rounding("cuda") > 1e-3) == (precision != "highest")
        x, codebook = off_centre(randn)
        assert torch.equal(nearest_code(x, codebook), brute_force(x, codebook))
    finally:
        torch.set_float32_matmul_precision(before)


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any one result held."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_memory_does_not_grow_as_latents_times_codes(randn):
    x, codebook = randn(1, 4096, 2), randn(2, 8192, 2)
    with LargestTensor() as largest:
        nearest_code(x, codebook)
    assert largest.elements <= len(x) * len(codebook) / 8
