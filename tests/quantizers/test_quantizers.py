"""What every quantizer with a codebook keeps, whether gradients or running means move it."""

import pytest
import torch
from torch import Tensor

from vqvae.quantizers import EMAQuantizer, VectorQuantizer

K, D, GRID = 12, 4, (3, 5)
KINDS = [VectorQuantizer, EMAQuantizer]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture(params=[1, 3], ids=lambda n: f"n={n}")
def n(request):
    return request.param


@pytest.fixture
def started(kind, n, randn):
    """A quantizer whose codebook has started and moved."""
    return start(kind(K, D, codes_per_position=n), randn)


def start(quantizer, randn):
    quantizer(randn(100, 4, quantizer.channels, *GRID))
    quantizer.update()
    return quantizer


def vectors(z: Tensor, n: int) -> Tensor:
    """[B, n*D, h, w] -> [B, h, w, n, D], position by position."""
    batch, channels, height, width = z.shape
    out = z.new_empty(batch, height, width, n, channels // n)
    for i in range(height):
        for j in range(width):
            out[:, i, j] = z[:, :, i, j].reshape(batch, n, -1)
    return out


def state(quantizer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def assert_same_state(left, right):
    left, right = state(left), state(right)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_z_q_is_the_codebook_at_the_codes_bit_for_bit(started, n, training, randn):
    started.train(training)
    for step in range(3):
        out = started(randn(step, 2, n * D, *GRID))
        assert out.codes.shape == (2, *GRID, n)
        assert out.codes.dtype == torch.int64
        assert torch.equal(vectors(out.z_q, n), started.codebook[out.codes])
        assert torch.equal(started.embed(out.codes), out.z_q)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_codes_equal_a_brute_force(started, n, training, randn, brute_force):
    started.train(training)
    z_e = randn(1, 2, n * D, *GRID)
    codes = started(z_e).codes
    assert torch.equal(codes.flatten(), brute_force(vectors(z_e, n).flatten(0, 3), started.codebook))


def test_the_straight_through_gradient_is_the_identity(started, n, randn):
    z_e = randn(1, 2, n * D, *GRID).requires_grad_()
    gradient = randn(2, 2, n * D, *GRID)
    (started(z_e).z_q * gradient).sum().backward()
    assert torch.equal(z_e.grad, gradient)
    assert started.codebook.grad is None


def test_losses_equal_their_closed_forms(started, n, randn):
    z_e = randn(1, 2, n * D, *GRID)
    out = started(z_e)
    expected = (z_e - out.z_q).double().square().mean().float()
    torch.testing.assert_close(out.commitment_loss, expected)
    codebook_loss = expected if isinstance(started, VectorQuantizer) else torch.tensor(0.0)
    torch.testing.assert_close(out.codebook_loss, codebook_loss)


def test_gradients_of_the_loss_equal_their_closed_forms(started, n, randn):
    z_e = randn(1, 2, n * D, *GRID).requires_grad_()
    out = started(z_e)
    (out.codebook_loss + 0.25 * out.commitment_loss).backward()
    difference = (z_e - out.z_q).detach()
    torch.testing.assert_close(z_e.grad, 0.25 * 2 * difference / z_e.numel(), rtol=1e-5, atol=1e-9)
    if isinstance(started, EMAQuantizer):
        assert started.codebook.grad is None
        return
    expected = torch.zeros_like(started.codebook)
    for code, vector in zip(out.codes.flatten(), vectors(difference, n).flatten(0, 3), strict=True):
        expected[code] -= 2 * vector / z_e.numel()
    torch.testing.assert_close(started.codebook.grad, expected, rtol=1e-5, atol=1e-9)


def test_the_running_means_equal_equations_6_to_8_vector_by_vector(n, randn, brute_force):
    gamma = 0.7
    quantizer = start(EMAQuantizer(K, D, codes_per_position=n, decay=gamma, revive_every=0), randn)
    counts, sums, codebook = (t.double() for t in (quantizer.counts, quantizer.sums, quantizer.codebook))
    for step in range(5):
        z_e = randn(step, 2, n * D, *GRID)
        codes = brute_force(vectors(z_e, n).flatten(0, 3), quantizer.codebook)
        quantizer(z_e)
        quantizer.update()
        for i in range(K):
            chosen = [
                z.double() for z, code in zip(vectors(z_e, n).flatten(0, 3), codes, strict=True) if code == i
            ]
            counts[i] = gamma * counts[i] + (1 - gamma) * len(chosen)
            sums[i] = gamma * sums[i] + (1 - gamma) * sum(chosen, torch.zeros(D, dtype=torch.float64))
            codebook[i] = sums[i] / counts[i]
        torch.testing.assert_close(quantizer.counts.double(), counts, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(quantizer.sums.double(), sums, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(quantizer.codebook.double(), codebook, rtol=1e-5, atol=1e-6)


def test_unused_codes_stay_where_they_are_however_long(randn):
    quantizer = start(EMAQuantizer(K, D, decay=0.5, revive_every=0), randn)
    before = quantizer.codebook.clone()
    target = before[3].view(1, D, 1, 1)
    for _ in range(300):  # 2^-300 is no float32
        quantizer(target)
        quantizer.update()
    unused = torch.arange(K) != 3
    assert torch.equal(quantizer.codebook[unused], before[unused])
    torch.testing.assert_close(quantizer.codebook[3], before[3])
    back = before[5].view(1, D, 1, 1) + 1e-3  # and one that is chosen again follows again
    assert quantizer(back).codes.item() == 5
    quantizer.update()
    torch.testing.assert_close(quantizer.codebook[5], back.flatten())


def test_two_forwards_an_update_equal_one_forward_with_both_batches(kind, n, randn):
    settings = {"codes_per_position": n, "revive_every": 2, "revive_below": 0.5}
    parts = kind(K, D, forwards_per_update=2, **settings)
    whole = kind(K, D, **settings)
    for quantizer in (parts, whole):
        start(quantizer, randn)
    for step in range(4):
        first, second = randn(2 * step, 2, n * D, *GRID), randn(2 * step + 1, 1, n * D, *GRID)
        parts(first)
        parts(second)
        whole(torch.cat([first, second]))
        assert parts.update().keys() == whole.update().keys()
        assert_same_state(parts, whole)


def test_a_loop_that_never_updates_gets_it_at_the_next_training_forward(kind, n, randn):
    settings = {"codes_per_position": n, "forwards_per_update": 2, "revive_every": 1, "revive_below": 0.5}
    diligent, lazy = kind(K, D, **settings), kind(K, D, **settings)
    for step in range(6):
        z_e = randn(step, 2, n * D, *GRID)
        if step and step % 2 == 0:
            diligent.update()
        assert torch.equal(diligent(z_e).codes, lazy(z_e).codes)
        assert_same_state(diligent, lazy)
    assert lazy.tracker.updates == 2
    lazy.update()
    assert lazy.tracker.updates == 3


def test_an_update_without_a_forward_does_nothing(started):
    before = state(started)
    assert started.update() == {}
    assert all(torch.equal(before[name], value) for name, value in started.state_dict().items())


def test_dead_codes_start_again_from_the_batch_and_the_others_are_untouched(kind, n, randn):
    reviving, control = (
        start(kind(K, D, codes_per_position=n, revive_every=every, revive_below=0.6), randn) for every in (2, 0)
    )
    z_e = randn(7, 1, n * D, *GRID)
    counts = reviving.tracker.recent.clone()
    for quantizer in (reviving, control):
        codes = quantizer(z_e).codes
    metrics = reviving.update()
    control.update()
    counts += codes.flatten().bincount(minlength=K)
    dead = counts < 0.6 * counts.sum() / K
    assert 0 < dead.sum() < K
    assert metrics["revived"] == dead.sum()
    latents = vectors(z_e, n).flatten(0, 3)
    revived = reviving.codebook[dead]
    assert all((latents == code).all(1).any() for code in revived)
    assert len(revived.unique(dim=0)) == dead.sum()
    assert torch.equal(reviving.codebook[~dead], control.codebook[~dead])
    assert not reviving.tracker.recent.any()
    if kind is EMAQuantizer:
        assert torch.equal(reviving.counts, torch.where(dead, 1.0, control.counts))
        assert torch.equal(reviving.sums, torch.where(dead[:, None], reviving.codebook, control.sums))


def test_a_revived_code_is_not_pulled_back_to_its_grave(randn):
    quantizer = start(EMAQuantizer(K, D, decay=0.9, revive_every=2, revive_below=0.6), randn)
    before = quantizer.codebook.clone()
    quantizer(randn(7, 1, D, *GRID))
    assert quantizer.update()["revived"] > 0
    code = int((quantizer.codebook - before).norm(dim=1).argmax())
    home = quantizer.codebook[code].clone()
    quantizer(home.view(1, D, 1, 1))
    quantizer.update()
    torch.testing.assert_close(quantizer.codebook[code], home)


def test_revive_false_never_revives(kind, n, randn):
    asked, control = (
        start(kind(K, D, codes_per_position=n, revive_every=every, revive_below=0.9), randn) for every in (2, 0)
    )
    for step in range(6):
        for quantizer in (asked, control):
            quantizer(randn(step, 1, n * D, *GRID))
            assert quantizer.update(revive=False).get("revived", 0) == 0
        assert torch.equal(asked.codebook, control.codebook)


def test_it_starts_from_the_first_training_batch_with_distinct_rows(kind, n, randn):
    quantizer = kind(K, D, codes_per_position=n)
    z_e = randn(1, 2, n * D, *GRID)
    quantizer(z_e)
    latents = vectors(z_e, n).flatten(0, 3)
    assert all((latents == code).all(1).any() for code in quantizer.codebook)
    assert len(quantizer.codebook.unique(dim=0)) == K
    if kind is EMAQuantizer:
        assert torch.equal(quantizer.sums, quantizer.codebook)
        assert torch.equal(quantizer.counts, torch.ones(K))


def test_fewer_latents_than_codes_start_without_equal_codes(kind, n, randn):
    quantizer = kind(40, D, codes_per_position=n)
    quantizer(randn(1, 1, n * D, 2, 3))
    assert len(quantizer.codebook.unique(dim=0)) == 40


def test_bfloat16_latents_under_autocast_keep_their_codes_and_the_codebook_its_precision(
    kind, n, randn, brute_force
):
    quantizer = start(kind(K, D, codes_per_position=n), randn)
    z_e = randn(1, 2, n * D, *GRID).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = quantizer(z_e)
        quantizer.update()
    assert quantizer.codebook.dtype == torch.float32
    fresh = start(kind(K, D, codes_per_position=n), randn)
    assert torch.equal(out.codes.flatten(), brute_force(vectors(z_e, n).flatten(0, 3), fresh.codebook))


@pytest.mark.parametrize("some", [True, False], ids=["some-codes", "whole-codebook"])
def test_frozen_codes_change_in_nothing_and_the_others_learn_on(kind, n, some, randn):
    quantizer = start(kind(K, D, codes_per_position=n, revive_every=2, revive_below=0.9), randn)
    frozen = torch.arange(K) < 5 if some else torch.ones(K, dtype=torch.bool)
    quantizer.freeze(frozen if some else None)
    assert torch.equal(quantizer.tracker.frozen, frozen)
    before = state(quantizer)
    optimizer = torch.optim.Adam([p for p in quantizer.parameters()] or [torch.zeros(1, requires_grad=True)])
    for step in range(6):
        out = quantizer(randn(step, 2, n * D, *GRID).requires_grad_())
        (out.codebook_loss + 0.25 * out.commitment_loss).backward()
        optimizer.step()
        optimizer.zero_grad()
        quantizer.update()
    after = state(quantizer)
    for name in ("codebook", "counts", "sums"):
        if name in before:
            assert torch.equal(before[name][frozen], after[name][frozen]), name
            assert (before[name][~frozen] != after[name][~frozen]).any() or not some
    if not some:
        assert_same_state_dicts(before, after)


def assert_same_state_dicts(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_a_codebook_frozen_before_its_first_batch_does_not_start(kind, randn):
    quantizer = kind(K, D)
    quantizer.freeze()
    before = state(quantizer)
    quantizer(randn(1, 2, D, *GRID))
    quantizer.update()
    assert_same_state_dicts(before, state(quantizer))


def test_codes_frozen_before_the_first_batch_keep_what_they_were_given(kind, randn):
    quantizer = kind(K, D)
    quantizer.codebook.data[3] = 7.0
    quantizer.freeze(torch.tensor([3]))
    quantizer(randn(1, 2, D, *GRID))
    quantizer.update()
    assert (quantizer.codebook[3] == 7.0).all()
    assert quantizer.tracker.started


def test_a_nan_shows_in_the_commitment_loss(started, n, randn):
    z_e = randn(1, 2, n * D, *GRID)
    z_e[0, 0, 0, 0] = torch.nan
    out = started(z_e)
    assert out.commitment_loss.isnan()
    assert out.codebook_loss.isfinite()
