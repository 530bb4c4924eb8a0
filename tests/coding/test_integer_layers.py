"""Tables and layers of whole numbers: the functions of floating point, rounded, and equal on every machine."""

import hashlib
from math import erfc, exp, isqrt, sqrt, tanh

import pytest
import torch
from torch import nn

from vqvae.coding.integer import LAYERS, tables
from vqvae.coding.integer.layers import IntegerAffine, IntegerNorm, integer_silu, square_root
from vqvae.coding.integer.tables import MASS, ONE
from vqvae.coding.integer.transformer import rotation_of
from vqvae.errors import UserError
from vqvae.priors import transformer as floating


def test_the_tables_are_the_functions_rounded():
    for table, function, unit in (
        (tables.tanh(), tanh, ONE),
        (tables.sigmoid(), lambda x: 1 / (1 + exp(-x)), ONE),
        (tables.silu(), lambda x: x / (1 + exp(-x)), ONE),
    ):
        reach = len(table) // 2
        arguments = range(-reach, reach + 1, 77)
        assert all(abs(float(table[a + reach]) - unit * function(a / ONE)) <= 0.5 + 1e-6 for a in arguments)
    for table, function in (
        (tables.logistic_cdf(), lambda x: 1 / (1 + exp(-x))),
        (tables.normal_cdf(), lambda x: erfc(-x / sqrt(2)) / 2),
    ):
        arguments = range(-16 * 256, 16 * 256 + 1, 7)
        assert len(table) == 2 * 16 * 256 + 2
        assert all(abs(int(table[a + 16 * 256]) - MASS * function(a / 256)) <= 0.5 + 1e-6 for a in arguments)
    assert all(abs(int(tables.exp()[i]) - MASS * exp(-i / ONE)) <= 0.5 + 1e-6 for i in range(0, 17 * ONE, 77))
    scales = range(-7 * ONE, 5 * ONE + 1, 77)
    found = tables.inverse_scale()
    assert all(abs(int(found[s + 7 * ONE]) - tables.INVERSE / 255 * exp(-s / ONE)) <= 0.5 + 1e-6 for s in scales)


def test_the_tables_are_those_of_every_machine():
    # SHA-256 of the entries as int64: a machine on which one differs could not read files of others
    named = (tables.tanh, tables.sigmoid, tables.silu, tables.exp, tables.logistic_cdf, tables.normal_cdf,
             tables.inverse_scale)  # fmt: skip
    every = [table() for table in named] + [*tables.turns(8, 32), *tables.turns(3, 5)]
    content = b"".join(table.long().numpy().astype("<i8").tobytes() for table in every)
    assert (
        hashlib.sha256(content).hexdigest() == "a23f1301ef32c8b52721b6d01a4d90fe8bf1314de0c664f3d602131b492e4125"
    )


@pytest.mark.parametrize(("grid", "head_dim"), [((8, 8), 32), ((3, 5), 4), ((1, 40), 12)])
def test_the_rotation_is_the_transformers_rounded(grid, head_dim):
    like = torch.zeros((), dtype=torch.float64)
    pairs = zip(floating.rotation_of(grid, head_dim, like), rotation_of(grid, head_dim), strict=True)
    for exact, integers in pairs:
        assert exact.shape == integers.shape
        assert (tables.TURN * exact - integers).abs().max() <= 0.5 + 1e-6


def test_the_square_root_is_the_largest_whole_number_whose_square_is_not_larger():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.rand(10_000, generator=generator, dtype=torch.float64) * 53
    roots = torch.randint(1, 2**26, (1000,), generator=generator).double()
    squares = torch.cat([sizes.exp2().floor(), roots * roots, roots * roots - 1, roots * roots + 1]).clamp(
        1, 2**53 - 1
    )
    root, unit = square_root(squares)
    for value, found, scale in zip(squares.tolist(), root.tolist(), unit.tolist(), strict=True):
        assert found == isqrt(int(value) * int(scale) ** 2) and scale == (1024 if value < 2**33 else 1)


@pytest.mark.parametrize("size", [0.01, 1.0, 50.0])
def test_norm_and_silu_are_those_of_floating_point_rounded(size):
    generator = torch.Generator().manual_seed(0)
    whole = (size * ONE * torch.randn(50, 24, generator=generator, dtype=torch.float64)).round()
    norm = nn.RMSNorm(24, eps=1e-6).double()
    with torch.no_grad():
        norm.weight.copy_(torch.rand(24, generator=generator) + 0.5)
        expected = norm(whole / ONE)
    found = LAYERS.make(norm)(whole)
    assert torch.equal(found, found.round()) and (found / ONE - expected).abs().max() < 1e-3
    silu = integer_silu(whole)
    assert (silu / ONE - nn.functional.silu(whole / ONE)).abs().max() <= 0.51 / ONE
    assert not LAYERS.make(norm)(torch.zeros(2, 24, dtype=torch.float64)).any()


def test_a_norm_whose_sums_could_be_inexact_is_refused():
    IntegerNorm(torch.ones(2**12), 1e-6, -1)
    for scale in (torch.ones(2**13), torch.full((8,), 1e9)):
        with pytest.raises(UserError, match=r"below 2\^53"):
            IntegerNorm(scale, 1e-6, -1)


def test_a_layer_whose_sums_could_be_inexact_is_refused():
    layer = nn.Conv2d(8, 4, 3)
    with torch.no_grad():
        layer.weight.fill_(1e5)
    with pytest.raises(UserError, match=r"below 2\^53"):
        IntegerAffine(layer)
