"""Cosine codes: directions alone decide, and a code is the mean direction of what chose it (arXiv 2110.04627)."""

import torch

from vqvae.quantizers import CosineQuantizer
from vqvae.quantizers.cosine import directions

K, D, GRID = 12, 4, (3, 5)


def started(randn, **changes):
    quantizer = CosineQuantizer(K, D, **{"revive_every": 0, **changes})
    quantizer(randn(100, 4, D, *GRID))
    quantizer.update()
    return quantizer


def rows_of(z):
    return z.permute(0, 2, 3, 1).reshape(-1, D)


def test_codes_have_length_one_and_the_largest_cosine(randn):
    quantizer = started(randn)
    for step in range(4):
        z_e = randn(step, 2, D, *GRID)
        torch.testing.assert_close(quantizer.codebook.norm(dim=1), torch.ones(K))
        cosine = rows_of(z_e).double() @ quantizer.codebook.double().T
        assert torch.equal(quantizer(z_e).codes.flatten(), cosine.argmax(1))
        quantizer.update()


def test_the_length_of_a_latent_does_not_matter(randn):
    quantizer = started(randn).eval()
    z_e = randn(1, 2, D, *GRID)
    near, far = quantizer(z_e), quantizer(64 * z_e)
    assert torch.equal(near.codes, far.codes)
    torch.testing.assert_close(near.commitment_loss, far.commitment_loss)


def test_codes_are_the_directions_of_running_sums(randn):
    quantizer = started(randn, decay=0.7)
    sums, codebook = quantizer.sums.double(), quantizer.codebook.double()
    for step in range(5):
        z_e = randn(step, 2, D, *GRID)
        codes = quantizer(z_e).codes.flatten()
        quantizer.update()
        z = rows_of(z_e).double()
        z = z / z.norm(dim=1, keepdim=True)
        for i in range(K):
            sums[i] = 0.7 * sums[i] + 0.3 * z[codes == i].sum(0)
            if (codes == i).any():
                codebook[i] = sums[i] / sums[i].norm()
        torch.testing.assert_close(quantizer.codebook.double(), codebook, rtol=1e-5, atol=1e-6)


def test_unused_codes_stay_where_they_are_however_long(randn):
    quantizer = started(randn, decay=0.5)
    before = quantizer.codebook.clone()
    for _ in range(300):
        quantizer(3 * before[3].view(1, D, 1, 1))
        quantizer.update()
    unused = torch.arange(K) != 3
    assert torch.equal(quantizer.codebook[unused], before[unused])
    torch.testing.assert_close(quantizer.codebook[3], before[3])


def test_the_commitment_is_between_directions_and_its_gradient_is_tangent(randn):
    quantizer = started(randn)
    z_e = (5 * randn(1, 2, D, *GRID)).requires_grad_()
    out = quantizer(z_e)
    u = z_e / z_e.norm(dim=1, keepdim=True)
    torch.testing.assert_close(out.commitment_loss, (u - out.z_q).square().mean())
    out.commitment_loss.backward()
    torch.testing.assert_close((z_e.grad * z_e).sum(1), torch.zeros(2, *GRID), rtol=0, atol=1e-7)


def test_a_latent_of_length_zero_is_defined(randn):
    quantizer = started(randn)
    z_e = torch.zeros(1, D, 1, 1, requires_grad=True)
    out = quantizer(z_e)
    (out.z_q.sum() + out.commitment_loss).backward()
    quantizer.update()
    assert z_e.grad.isfinite().all()
    assert all(value.isfinite().all() for value in quantizer.state_dict().values())


def test_a_frozen_code_keeps_its_direction(randn):
    quantizer = started(randn)
    quantizer.freeze(torch.tensor([2, 5]))
    before = quantizer.codebook.clone()
    for step in range(5):
        quantizer(randn(step, 2, D, *GRID))
        quantizer.update()
    assert torch.equal(quantizer.codebook[[2, 5]], before[[2, 5]])
    assert not torch.equal(quantizer.codebook, before)


@torch.no_grad()
def test_the_order_of_the_sums_changes_no_direction(randn):
    vectors, order = randn(1, 4000, 32), torch.randperm(32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(directions(vectors)[:, order], directions(vectors[:, order]))
