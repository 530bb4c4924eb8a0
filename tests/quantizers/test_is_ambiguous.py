"""Where a quantizer says that it is sure, no change of z_e within the tolerance gives another code."""

import pytest
import torch

from vqvae.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    CosineQuantizer,
    EMAQuantizer,
    GroupedQuantizer,
    GumbelQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
)

KINDS = {
    "vq": lambda: VectorQuantizer(64, 4),
    "ema of two codes": lambda: EMAQuantizer(64, 2, codes_per_position=2),
    "cosine": lambda: CosineQuantizer(64, 4),
    "simvq": lambda: SimVQ(64, 4),
    "gumbel": lambda: GumbelQuantizer(64, 4),
    "fsq": lambda: FSQ((8, 5, 5, 3)),
    "lfq": lambda: LFQ(4),
    "bsq": lambda: BSQ(4),
    "residual": lambda: ResidualQuantizer([EMAQuantizer(16, 4), EMAQuantizer(16, 4)]),
    "grouped": lambda: GroupedQuantizer([EMAQuantizer(16, 2), EMAQuantizer(16, 2)]),
    "projected": lambda: ProjectedQuantizer(FSQ((8, 8)), 4),
}


@pytest.fixture(params=KINDS)
def quantizer(request):
    torch.manual_seed(0)
    made = KINDS[request.param]()
    for name, values in [*made.named_parameters(), *made.named_buffers()]:
        if name.endswith("codebook"):
            values.data.normal_()
    return made.eval()


@torch.no_grad()
def test_what_is_sure_stays_and_what_moves_was_unsure(quantizer, randn):
    z_e = randn(1, 64, 4, 6, 5)
    tolerance = torch.linspace(0.01, 0.05, 64)
    unsure, codes = quantizer.is_ambiguous(z_e, tolerance), quantizer(z_e).codes
    moved = torch.zeros_like(unsure)
    for seed in range(30):
        direction = torch.nn.functional.normalize(randn(2 + seed, 64, 4, 6, 5), dim=1)
        there = quantizer(z_e + 0.999 * tolerance[:, None, None, None] * direction).codes
        moved |= (there != codes).any(3)
    assert not (moved & ~unsure).any()
    # and it is no idle alarm: a good part of what it marks does move
    assert moved.any() and unsure.sum() < 6 * moved.sum()


@torch.no_grad()
def test_a_smaller_tolerance_marks_less_and_nan_is_unsure(quantizer, randn):
    z_e = randn(1, 64, 4, 6, 5)
    z_e[0, :, 0, 0] = torch.nan
    marks = [quantizer.is_ambiguous(z_e, torch.full((64,), t)) for t in (1e-5, 1e-2, 1e-1)]
    assert marks[0].sum() < marks[1].sum() < marks[2].sum()
    assert not (marks[0] & ~marks[1]).any() and not (marks[1] & ~marks[2]).any()
    assert all(mark[0, 0, 0] for mark in marks)
