"""The rotation trick: a gradient turned and stretched as the quantizer turned z_e (arXiv 2410.06424)."""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vqvae.quantizers.layout import Estimator, straight_through


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_e: Tensor, z_q: Tensor) -> Tensor:
        ctx.save_for_backward(z_e, z_q)
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        g, (z_e, z_q) = gradients[0], ctx.saved_tensors
        length_e, length_q = (z.norm(dim=-1, keepdim=True) for z in (z_e, z_q))
        e, q = F.normalize(z_e, dim=-1), F.normalize(z_q, dim=-1)
        halfway = (e + q).norm(dim=-1, keepdim=True)
        r = (e + q) / halfway
        # R = I - 2 r r^T + 2 q e^T, so R^T g = g - 2 r (r.g) + 2 e (q.g)
        turned = g - 2 * r * (r * g).sum(-1, keepdim=True) + 2 * e * (q * g).sum(-1, keepdim=True)
        defined = (length_e > 0) & (length_q > 0) & (halfway > 1e-4)
        return torch.where(defined, length_q / length_e * turned, g), None


def rotation_trick(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return z_q with the gradient of a rotation and a stretch of z_e (arXiv 2410.06424, section 4).

    With e, q the directions of z_e and z_q, ``z_q = lambda R z_e``, where both are held constant::

        lambda = |z_q| / |z_e|
        r = (e + q) / |e + q|
        R = I - 2 r r^T + 2 q e^T
        dL/dz_e = lambda R^T dL/dz_q

    so the angle between gradient and vector is the same before and after the quantizer, and latents of one cell
    get different gradients. When to choose it: where perceptual quality matters more than squared error, on
    latents with a direction (dimension 4 and up), with a slow codebook (decay 0.99). Where R is not defined,
    a vector of length 0 or z_e opposite to z_q, the gradient goes straight through.

    Args:
        z_e: float [..., D], a vector of the last dimension at a time.
        z_q: float, the same shape.
    """
    return _Rotation.apply(z_e, z_q.detach())  # pyright: ignore[reportReturnType]


EstimatorName = Literal["straight_through", "rotation"]


def estimator_named(name: EstimatorName) -> Estimator:
    """Return the estimator of the gradient that a config names."""
    return {"straight_through": straight_through, "rotation": rotation_trick}[name]
