"""Where a code is not ambiguous, no change of z_e within the tolerance gives another code."""

from dataclasses import replace

import pytest
import torch
from tests.quantizers.kinds import small

from vqvae.quantizers import Quantizer, QuantizerConfig

CODES = {"num_codes": 64, "dim": 4, "bits": 4, "levels": (8, 5, 5, 3), "channels": 4}
KINDS = {kind: small(config, **CODES) for kind, config in QuantizerConfig.kinds().items()}
KINDS |= {f"{kind}-n2": replace(config, codes_per_position=2) for kind, config in KINDS.items()
          if hasattr(config, "codes_per_position")}  # fmt: skip


@pytest.fixture(params=KINDS)
def quantizer(request):
    torch.manual_seed(0)
    made = KINDS[request.param].build()
    for name, values in [*made.named_parameters(), *made.named_buffers()]:
        if name.endswith("codebook"):
            values.data.normal_()
    return made.eval()


def has_an_answer(quantizer):
    """Say whether a kind says more than the default: that every position may be ambiguous."""
    return type(quantizer).ambiguous_vectors is not Quantizer.ambiguous_vectors


@torch.no_grad()
def test_what_moves_was_ambiguous_and_much_of_what_is_ambiguous_moves(quantizer, randn):
    z_e = randn(1, 64, quantizer.channels, 6, 5)
    tolerance = torch.linspace(0.01, 0.05, 64)
    ambiguous, codes = quantizer.is_ambiguous(z_e, tolerance), quantizer(z_e).codes
    moved = torch.zeros_like(ambiguous)
    for seed in range(30):
        direction = torch.nn.functional.normalize(randn(2 + seed, 64, quantizer.channels, 6, 5), dim=1)
        there = quantizer(z_e + 0.999 * tolerance[:, None, None, None] * direction).codes
        moved |= (there != codes).any(3)
    assert not (moved & ~ambiguous).any()
    assert moved.any() and (ambiguous.sum() < 6 * moved.sum() or not has_an_answer(quantizer))


@torch.no_grad()
def test_a_smaller_tolerance_leaves_fewer_ambiguous_and_nan_always_is(quantizer, randn):
    z_e = randn(1, 64, quantizer.channels, 6, 5)
    z_e[0, :, 0, 0] = torch.nan
    marks = [quantizer.is_ambiguous(z_e, torch.full((64,), t)) for t in (1e-5, 1e-2, 1e-1)]
    if has_an_answer(quantizer):
        assert marks[0].sum() < marks[1].sum() < marks[2].sum()
    assert not (marks[0] & ~marks[1]).any() and not (marks[1] & ~marks[2]).any()
    assert all(mark[0, 0, 0] for mark in marks)
