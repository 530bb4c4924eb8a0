"""Muon: orthogonalized momentum for the weights of linear layers and convolutions (arXiv 2502.16982)."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]
from torch.optim import Optimizer

from vqvae.distributed import rank, sum_over_ranks_, world_size

# a X + b (X X^T) X + c (X X^T)^2 X moves the singular values of X towards 1; five times move them to 0.7 to 1.2
_A, _B, _C = 3.4445, -4.7750, 2.0315
_TIMES = 5
_RMS = 0.2  # root mean square of a step of AdamW over the learning rate


class Muon(Optimizer):
    """Replace the momentum by the nearest matrix with orthonormal rows or columns (arXiv 2502.16982, eq. 1 and 4).

    All singular values of a step are about the same. With the gradient G, the momentum M, and O the nearest
    matrix to G + mu M with orthonormal rows or columns (``nearest_orthogonal``)::

        M = mu M + G
        W = W - lr (0.2 sqrt(max(rows, columns)) O + weight_decay W)

    A step is about as long as a step of AdamW with the same learning rate. A convolution's weight is a matrix with
    one row for each of its first dimension.

    Args:
        parameters: weights with two dimensions or more.
        lr: learning rate.
        momentum: mu, in [0, 1).
        weight_decay: weight decay, as AdamW's.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a step; every rank must call. A closure is not called."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            momenta = [_matrix(self._nesterov(weight, group["momentum"])) for weight in weights]
            for weight, direction in zip(weights, _orthogonalized(momenta), strict=True):
                length = _RMS * max(direction.shape) ** 0.5
                if group["weight_decay"]:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(_weight(direction, weight.shape), alpha=-group["lr"] * length)

    def _nesterov(self, weight: nn.Parameter, mu: float) -> Tensor:
        """Add the gradient to a weight's momentum; return G + mu M (Nesterov's momentum)."""
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(mu).add_(gradient)
        return gradient.add(momentum, alpha=mu)


def _matrix(weight: Tensor) -> Tensor:
    """Return a weight as a matrix with one row for each of its first dimension, without a copy if channels-last.

    Any order of the columns will do: the nearest orthogonal matrix has the same order.
    """
    return weight.movedim(1, -1).flatten(1)


def _weight(matrix: Tensor, shape: torch.Size) -> Tensor:
    """Undo ``_matrix``."""
    return matrix.view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def _orthogonalized(momenta: list[Tensor]) -> list[Tensor]:
    """Return the nearest orthogonal matrix of each matrix.

    Each rank computes a share of them. The sum over ranks gives all of them, with equal bits on every rank.
    """
    own = [
        nearest_orthogonal(matrix) if number % world_size() == rank() else torch.zeros_like(matrix)
        for number, matrix in enumerate(momenta)
    ]
    if world_size() == 1 or not own:
        return own
    summed = sum_over_ranks_(torch.cat([each.flatten() for each in own]))
    parts = summed.split([each.numel() for each in own])
    return [part.view_as(each) for part, each in zip(parts, own, strict=True)]


def nearest_orthogonal(matrix: Tensor) -> Tensor:
    """Return approximately U V^T of a matrix X = U S V^T, float [M, N]: singular values of about 0.7 to 1.2.

    These are five steps of a Newton-Schulz iteration. The steps run on the smaller of X X^T and X^T X, and one
    product with X follows: for a matrix that is much longer than wide, a third of the operations. A singular value
    s far below the Frobenius norm |X| becomes 485 s / |X|, which may be below 0.7.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return nearest_orthogonal(matrix.T).T
    gram = matrix @ matrix.T
    square = gram.trace().clamp(min=1e-37)
    gram /= square
    whole = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / square.sqrt()
    for _ in range(_TIMES):
        factor = torch.addmm(gram, gram, gram, beta=_B, alpha=_C)
        factor.diagonal().add_(_A)
        whole, gram = factor @ whole, factor @ gram @ factor
    return whole @ matrix


def names_of_matrices(module: nn.Module) -> Iterator[str]:
    """Yield the names of the parameters that Muon trains: the weights of linear layers and of convolutions."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | _ConvNd):
            yield f"{name}.weight" if name else "weight"
