"""SimVQ: codes are frozen vectors through one map, and only the map learns (arXiv 2411.02038)."""

import torch

from vqvae.quantizers import SimVQ

K, D, GRID = 12, 4, (3, 5)


def test_only_the_map_moves_and_it_moves_all_codes(randn):
    quantizer = SimVQ(K, D)
    frozen, before = quantizer.frozen_codebook.clone(), quantizer.codebook.detach().clone()
    assert [name for name, _ in quantizer.named_parameters()] == ["map.weight"]
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        out = quantizer(randn(1, 4, D, *GRID))
        out.codebook_loss.backward()
        losses.append(out.codebook_loss.item())
        optimizer.step()
        optimizer.zero_grad()
        quantizer.update()
    assert torch.equal(quantizer.frozen_codebook, frozen)
    assert (quantizer.codebook != before).any(1).all()
    assert losses[-1] < losses[0]


def test_codes_are_the_nearest_mapped_vectors(randn, brute_force):
    quantizer = SimVQ(K, D)
    z_e = randn(1, 2, D, *GRID)
    out = quantizer(z_e)
    mapped = quantizer.frozen_codebook @ quantizer.map.weight.T
    torch.testing.assert_close(quantizer.codebook, mapped)
    rows = z_e.permute(0, 2, 3, 1).reshape(-1, D)
    assert torch.equal(out.codes.flatten(), brute_force(rows, quantizer.codebook))


def test_losses_and_gradients_equal_their_closed_forms(randn):
    quantizer = SimVQ(K, D)
    z_e = randn(1, 2, D, *GRID).requires_grad_()
    out = quantizer(z_e)
    difference = (z_e - out.z_q).detach()
    expected = difference.square().mean()
    torch.testing.assert_close(out.codebook_loss, expected)
    torch.testing.assert_close(out.commitment_loss, expected)
    (out.codebook_loss + 0.25 * out.commitment_loss).backward()
    torch.testing.assert_close(z_e.grad, 0.25 * 2 * difference / z_e.numel())
    rows = difference.permute(0, 2, 3, 1).reshape(-1, D)
    gradient = -2 * rows.T @ quantizer.frozen_codebook[out.codes.flatten()] / z_e.numel()
    torch.testing.assert_close(quantizer.map.weight.grad, gradient)


def test_the_reconstruction_does_not_move_the_map(randn):
    quantizer = SimVQ(K, D)
    quantizer(randn(1, 2, D, *GRID).requires_grad_()).z_q.sum().backward()
    assert quantizer.map.weight.grad is None
