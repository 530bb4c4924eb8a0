"""The rotation trick: a gradient turned and stretched as the quantizer turned z_e (arXiv 2410.06424)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class _Turn(NamedTuple):
    """The map lambda R from z_e to z_q, and where it is defined."""

    e: Tensor
    q: Tensor
    r: Tensor
    scale: Tensor
    defined: Tensor

    @classmethod
    def between(cls, z_e: Tensor, z_q: Tensor) -> "_Turn":
        length_e, length_q = (z.norm(dim=-1, keepdim=True) for z in (z_e, z_q))
        e, q = F.normalize(z_e, dim=-1), F.normalize(z_q, dim=-1)
        halfway = (e + q).norm(dim=-1, keepdim=True)
        defined = (length_e > 0) & (length_q > 0) & (halfway > 1e-4)
        return cls(e, q, (e + q) / halfway, length_q / length_e, defined)

    def along(self, vectors: Tensor, back: bool) -> Tensor:
        """Return lambda R v, or lambda R^T v on the way back, for vectors v [..., D]; v where R is not defined."""
        # R = I - 2 r r^T + 2 q e^T, so R^T v = v - 2 r (r.v) + 2 e (q.v)
        to, of = (self.e, self.q) if back else (self.q, self.e)
        along_r = 2 * self.r * (self.r * vectors).sum(-1, keepdim=True)
        turned = vectors - along_r + 2 * to * (of * vectors).sum(-1, keepdim=True)
        return torch.where(self.defined, self.scale * turned, vectors)


class _Rotation(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Turn.between(*ctx.saved_tensors).along(gradients[0], back=True), None


class _WithTangents(_Rotation):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return _Turn.between(*ctx.saved_tensors).along(tangents[0], back=False)


def rotation_trick(z_e: Tensor, z_q: Tensor) -> Tensor:
    """Return z_q with the gradient of a rotation and a stretch of z_e (arXiv 2410.06424, section 4).

    With e and q the directions of z_e and z_q, ``z_q = lambda R z_e``, and lambda and R are held constant::

        lambda = |z_q| / |z_e|
        r = (e + q) / |e + q|
        R = I - 2 r r^T + 2 q e^T
        dL/dz_e = lambda R^T dL/dz_q

    The angle between gradient and vector is the same before and after the quantizer, and latents of one code get
    different gradients. When to choose it: where perceptual quality matters more than squared error, on latents
    with a direction (dimension 4 and more), with a slow codebook (decay 0.99). Where z_e or z_q has length 0, or
    z_e is opposite to z_q, R is not defined and the gradient goes straight through.

    Args:
        z_e: float [..., D]; each vector of the last dimension is turned by itself.
        z_q: float, the same shape; it gets no gradient.
    """
    way = _Rotation if torch.compiler.is_compiling() else _WithTangents  # torch.compile does not know jvp
    return way.apply(z_e, z_q.detach())  # pyright: ignore[reportReturnType]
