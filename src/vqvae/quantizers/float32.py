"""Codebooks and statistics stay in float32, whatever the networks around them are cast to."""

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn


class KeepFloat32(nn.Module):
    """A module that ``.to(torch.bfloat16)``, ``.half()`` and ``.double()`` move but do not cast.

    A running mean with decay 0.99 does not move in bf16, whose numbers are 0.8 % apart, and distances tie.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)
