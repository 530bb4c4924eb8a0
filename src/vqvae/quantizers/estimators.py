"""Gradients through a quantizer: straight-through (arXiv 1711.00937) or rotated (arXiv 2410.06424)."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from vqvae.quantizers.rotation import rotation_trick

Estimator = Callable[[Tensor, Tensor], Tensor]
"""From (z_e, z_q), vectors float [..., D] each, to z_q bit for bit, with a gradient for z_e."""

EstimatorName = Literal["straight_through", "rotation"]


class _Copy(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _View(_Copy):
    @staticmethod
    def forward(z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.view_as(z_q)  # a copy would cost an eighth of a quantizer's training step

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return tangents[0].view_as(tangents[0])


def straight_through(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return z_q with the gradient of z_e: dL/dz_e = dL/dz_q (arXiv 1711.00937, section 3.2).

    The usual ``z_e + (z_q - z_e).detach()`` rounds: its value equals the code in some elements only. The value of
    this function is z_q bit for bit.

    Args:
        z_e: float [..., D].
        z_q: float, the same shape; it gets no gradient.
    """
    # torch.compile replaces a view of an input by the input itself, without our gradient, and does not support jvp
    way = _Copy if torch.compiler.is_compiling() else _View
    return way.apply(z_e, z_q.detach())  # pyright: ignore[reportReturnType]


def estimator_named(name: EstimatorName) -> Estimator:
    """Return the estimator that a config names."""
    return {"straight_through": straight_through, "rotation": rotation_trick}[name]
