"""Quantizers made of quantizers: residual stacks, groups, and linear maps around one."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tests.quantizers.kinds import kinds, variants

from vqvae.quantizers import (
    EMAQuantizer,
    GroupedQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
    rotation_trick,
)

GRID = (3, 5)
STACKS = {
    name: config for name, config in variants().items()
    if isinstance(config, ResidualQuantizer.Config) and (config.kind == name or "-of-" in name)
}  # fmt: skip


def layer(seed=0, dim=4, kind=EMAQuantizer):
    quantizer = kind(12, dim, revive_every=0, seed=seed)
    quantizer.codebook.data.copy_(torch.randn(12, dim, generator=torch.Generator().manual_seed(seed)))
    quantizer.tracker.started.fill_(True)
    return quantizer


def stack(depth=3, **changes):
    return ResidualQuantizer([layer(seed) for seed in range(depth)], **changes)


def test_each_layer_quantizes_what_the_layers_before_left(randn, brute_force):
    quantizer = stack().eval()
    z_e = randn(9, 2, 4, *GRID)
    out = quantizer(z_e)
    residual = z_e.permute(0, 2, 3, 1).reshape(-1, 4)
    total, loss = torch.zeros_like(residual), 0.0
    for d, inner in enumerate(quantizer.layers):
        codes = brute_force(residual, inner.codebook)
        assert torch.equal(out.codes[..., d].flatten(), codes)
        loss += (residual - inner.codebook[codes]).square().mean()
        total = total + inner.codebook[codes]
        residual = residual - inner.codebook[codes]
    assert torch.equal(out.z_q.permute(0, 2, 3, 1).reshape(-1, 4), total)
    torch.testing.assert_close(out.commitment_loss, loss)


def test_embed_of_the_first_codes_is_the_coarse_sum(randn):
    quantizer = stack().eval()
    codes = quantizer(randn(9, 2, 4, *GRID)).codes
    for depth in (1, 2, 3):
        parts = [quantizer.layers[d].embed(codes[..., d : d + 1]) for d in range(depth)]
        coarse = quantizer.embed(codes[..., :depth])
        torch.testing.assert_close(coarse, torch.stack(parts).sum(0))
        padded = codes.clone()
        padded[..., depth:] = -1
        assert torch.equal(quantizer.embed(padded), coarse)


def test_the_residual_gradient_reaches_z_e_once_whatever_the_depth(randn):
    # the sum of depth straight-through layers would reach it depth times
    for depth in (1, 4):
        z_e = randn(9, 2, 4, *GRID).requires_grad_()
        g = randn(10, 2, 4, *GRID)
        (stack(depth)(z_e).z_q * g).sum().backward()
        assert torch.equal(z_e.grad, g)


def test_the_residual_rotation_is_of_the_whole_sum(randn):
    quantizer = stack(estimator=rotation_trick)
    z_e = randn(9, 2, 4, *GRID).requires_grad_()
    g = randn(10, 2, 4, *GRID)
    out = quantizer(z_e)
    (out.z_q * g).sum().backward()
    rows = z_e.detach().clone().requires_grad_()
    last = rotation_trick(rows.permute(0, 2, 3, 1), out.z_q.detach().permute(0, 2, 3, 1))
    (last * g.permute(0, 2, 3, 1)).sum().backward()
    assert torch.equal(z_e.grad, rows.grad)


def test_every_layers_codebook_learns_by_gradient_and_from_its_own_loss_alone(randn):
    quantizer = ResidualQuantizer([layer(seed, kind=VectorQuantizer) for seed in range(3)])
    out = quantizer(randn(9, 2, 4, *GRID).requires_grad_())
    out.z_q.sum().backward()
    assert all(inner.codebook.grad is None for inner in quantizer.layers)
    out.codebook_loss.backward()
    assert all(inner.codebook.grad.abs().sum() > 0 for inner in quantizer.layers)


def test_dropout_is_a_function_of_seed_and_updates_and_draws_every_depth():
    def depths(**changes):
        quantizer = stack(4, **changes)
        found = []
        for updates in range(400):
            quantizer.update_counter.updates.fill_(updates)
            found.append(quantizer.depth())
        return found

    always = depths(dropout=1.0)
    assert depths(dropout=1.0) == always != depths(dropout=1.0, seed=1)
    counts = torch.tensor(always).bincount(minlength=5)
    assert counts[0] == 0 and counts[1:].min() > 70  # a hundred each, give or take three deviations
    half = torch.tensor(depths(dropout=0.5)).bincount(minlength=5)
    assert 200 < half[4] < 300
    assert set(depths()) == {4}


def test_dropped_layers_have_code_minus_one_and_learn_nothing(randn):
    quantizer = stack(3, dropout=1.0)
    while quantizer.depth() != 1:
        quantizer.update_counter.updates += 1
    before = [inner.codebook.clone() for inner in quantizer.layers]
    out = quantizer(randn(9, 2, 4, *GRID))
    quantizer.update()
    assert (out.codes[..., 1:] == -1).all() and (out.codes[..., 0] >= 0).all()
    assert torch.equal(out.z_q, before[0][out.codes[..., 0]].permute(0, 3, 1, 2))
    moved = [not torch.equal(old, inner.codebook) for old, inner in zip(before, quantizer.layers, strict=True)]
    assert moved == [True, False, False]
    assert (quantizer.eval()(randn(9, 2, 4, *GRID)).codes >= 0).all()


def test_accumulated_forwards_have_one_depth(randn):
    quantizer = stack(4, dropout=1.0, forwards_per_update=3)
    depths = []
    for step in range(30):
        depths.append(int((quantizer(randn(step, 1, 4, *GRID)).codes >= 0)[0, 0, 0].sum()))
    assert all(len(set(depths[i : i + 3])) == 1 for i in range(0, 30, 3))
    assert len(set(depths)) > 1


@pytest.mark.parametrize("name", STACKS)
def test_every_depth_brings_the_sum_of_any_kind_nearer_to_the_latents(name, randn):
    torch.manual_seed(0)
    quantizer = replace(STACKS[name], depth=4, dropout=1.0).build()  # dropout: the first layers serve alone too
    learned = [*quantizer.parameters()]
    optimizer = torch.optim.Adam(learned, lr=0.03) if learned else None
    for step in range(60):
        z_e = randn(step, 256, quantizer.channels)
        out = quantizer(z_e)
        if optimizer is not None:
            optimizer.zero_grad()
            (out.codebook_loss + (out.z_q - z_e).square().mean()).backward()
            optimizer.step()
        quantizer.update()
    quantizer.eval()
    z_e = randn(100, 1000, quantizer.channels)
    latents, codes = quantizer.latents_of(z_e), quantizer(z_e).codes
    sums = [torch.zeros_like(z_e), *(quantizer.embed(codes[:, :depth]) for depth in (1, 2, 3, 4))]
    errors = [float((latents - z_q).detach().square().mean()) for z_q in sums]
    assert all(after < 0.8 * before for before, after in pairwise(errors)), errors


@pytest.mark.parametrize("kind", kinds())
def test_a_kind_goes_into_a_stack_where_it_states_its_scale_and_is_refused_with_its_reason_elsewhere(kind):
    layers = [kinds()[kind].build(seed=seed) for seed in (0, 1)]
    if layers[0].residual_scale is not None:
        assert ResidualQuantizer(layers).codes_per_position == 2 * layers[0].codes_per_position
        return
    with pytest.raises(ValueError, match=f"{type(layers[0]).__name__} cannot be stacked: ") as refused:
        ResidualQuantizer(layers)
    assert layers[0].no_residual_because in str(refused.value)


def test_groups_quantize_their_channels_alone(randn):
    groups = [layer(0, dim=2), layer(1, dim=3, kind=VectorQuantizer)]
    quantizer = GroupedQuantizer(groups).eval()
    z_e = randn(9, 2, 5, *GRID)
    out = quantizer(z_e)
    for group, part, d in zip(groups, z_e.split([2, 3], dim=1), (0, 1), strict=True):
        alone = group(part)
        assert torch.equal(out.codes[..., d : d + 1], alone.codes)
        assert torch.equal(out.z_q.split([2, 3], dim=1)[d], alone.z_q)
    torch.testing.assert_close(out.commitment_loss, (z_e - out.z_q).square().mean())


def test_projection_is_two_linear_maps_around_the_codes(randn):
    inner = layer()
    quantizer = ProjectedQuantizer(inner, 7).eval()
    z_e = randn(9, 2, 7, *GRID)
    out = quantizer(z_e)
    low = torch.einsum("bdhw,ld->blhw", z_e, quantizer.down.weight) + quantizer.down.bias[:, None, None]
    alone = inner(low)
    assert torch.equal(out.codes, alone.codes)
    torch.testing.assert_close(out.commitment_loss, alone.commitment_loss)
    up = torch.einsum("blhw,dl->bdhw", alone.z_q, quantizer.up.weight) + quantizer.up.bias[:, None, None]
    torch.testing.assert_close(out.z_q, up)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ResidualQuantizer([]), "no quantizers"),
        (lambda: GroupedQuantizer([]), "no quantizers"),
        (lambda: ResidualQuantizer([layer(dim=3), layer(dim=4)]), r"different channels, \[3, 4\]"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
