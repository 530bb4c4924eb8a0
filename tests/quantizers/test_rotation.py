"""The rotation trick: the code in value, the rotated and stretched gradient in slope (arXiv 2410.06424)."""

import pytest
import torch

from vqvae.quantizers import rotation_trick


def rotation(e, q):
    """The matrix that turns e to q in their plane and leaves the rest, from the plane's basis, in float64."""
    u = e / e.norm()
    v = q / q.norm()
    w = v - (v @ u) * u
    w = w / w.norm()
    angle = torch.arccos((u @ v).clamp(-1, 1))
    plane = torch.outer(u, u) + torch.outer(w, w)
    turn = torch.outer(w, u) - torch.outer(u, w)
    return torch.eye(len(e), dtype=e.dtype) - plane + torch.cos(angle) * plane + torch.sin(angle) * turn


def gradient(z_e, z_q, g):
    z_e = z_e.clone().requires_grad_()
    (rotation_trick(z_e, z_q) * g).sum().backward()
    return z_e.grad


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_the_gradient_is_that_of_the_explicit_matrix(dim, randn):
    z_e, z_q, g = (randn(i, 50, dim).double() for i in range(3))
    expected = []
    for e, q, row in zip(z_e, z_q, g, strict=True):
        matrix = q.norm() / e.norm() * rotation(e, q)
        torch.testing.assert_close(matrix @ e, q)
        expected.append(matrix.T @ row)
    torch.testing.assert_close(gradient(z_e, z_q, g), torch.stack(expected))


def test_the_value_is_the_code_bit_for_bit(randn):
    z_e, z_q = 1e3 * randn(1, 200, 8), randn(2, 200, 8)
    assert torch.equal(rotation_trick(z_e.requires_grad_(), z_q), z_q)


def test_the_angle_between_gradient_and_vector_is_kept(randn):
    z_e, z_q, g = (randn(i, 50, 8).double() for i in range(3))
    cosine = torch.nn.functional.cosine_similarity
    torch.testing.assert_close(cosine(gradient(z_e, z_q, g), z_e), cosine(g, z_q))


def test_a_latent_at_its_code_gets_the_gradient_straight(randn):
    z_q, g = randn(1, 20, 5).double(), randn(2, 20, 5).double()
    torch.testing.assert_close(gradient(z_q, z_q, g), g)


@pytest.mark.parametrize("scale", [0.0, -1.0, -2.5], ids=["zero", "opposite", "opposite-longer"])
def test_where_no_rotation_is_defined_the_gradient_goes_straight_through(scale, randn):
    z_e, g = randn(1, 20, 5), randn(2, 20, 5)
    assert torch.equal(gradient(z_e, scale * z_e, g), g)
    assert torch.equal(gradient(0 * z_e, z_e, g), g)


def test_no_gradient_reaches_the_code(randn):
    z_e, z_q = (randn(i, 20, 5).requires_grad_() for i in range(2))
    rotation_trick(z_e, z_q).sum().backward()
    assert z_q.grad is None
