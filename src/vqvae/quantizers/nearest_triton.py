"""The search for the nearest code on CUDA, fused: distances and a running argmin in registers, nothing N x K."""

# Triton's language is not Python's to a checker, and Triton is not installed everywhere
# pyright: reportMissingImports=false, reportUntypedFunctionDecorator=false, reportMissingParameterType=false
# pyright: reportArgumentType=false, reportCallIssue=false

from typing import Any, cast

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS, _CODES = 64, 128  # a program's tile of scores: 64 float32 registers a thread, four warps
_CHANNELS = 32  # at most, of a tile of either operand


@triton.jit
def _nearest(
    points, centres, half_squares, best_out, second_out, codes_out, n, k, d,
    ROWS: tl.constexpr, CODES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)  # n * d may pass 2^31
    best = tl.full([ROWS], float("inf"), tl.float32)
    second = tl.full([ROWS], float("inf"), tl.float32)
    codes = tl.zeros([ROWS], tl.int64)
    for first in range(0, k, CODES):
        columns = (first + tl.arange(0, CODES)).to(tl.int64)
        dots = tl.zeros([ROWS, CODES], tl.float32)
        for start in range(0, d, CHANNELS):
            channels = start + tl.arange(0, CHANNELS)
            x_inside = (rows[:, None] < n) & (channels[None, :] < d)
            x = tl.load(points + rows[:, None] * d + channels[None, :], mask=x_inside, other=0.0)
            e_inside = (columns[None, :] < k) & (channels[:, None] < d)
            e = tl.load(centres + columns[None, :] * d + channels[:, None], mask=e_inside, other=0.0)
            dots += tl.dot(x, e, input_precision="ieee")  # the usual TF32 would void the rounding bound
        # past the last code: never chosen
        half = tl.load(half_squares + columns, mask=columns < k, other=float("inf"))
        scores = half[None, :] - dots
        value = tl.min(scores, axis=1)
        index = tl.min(tl.where(scores == value[:, None], columns[None, :], k), axis=1)  # the lowest of equals
        runner_up = tl.min(tl.where(columns[None, :] == index[:, None], float("inf"), scores), axis=1)
        second = tl.minimum(tl.minimum(second, runner_up), tl.maximum(best, value))
        codes = tl.where(value < best, index, codes)  # strict: the lower index keeps a tie; a NaN keeps code 0
        best = tl.minimum(best, value)
    inside = rows < n
    tl.store(best_out + rows, best, mask=inside)
    tl.store(second_out + rows, second, mask=inside)
    tl.store(codes_out + rows, codes, mask=inside)


def fused_search(points: Tensor, centres: Tensor, half_squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each point the least score |e|^2/2 - x.e [N, 1], the second least, and the least's index.

    Args:
        points: float32 [N, D], on a CUDA device (or anywhere under Triton's interpreter).
        centres: float32 [K, D], the e.
        half_squares: float32 [K], the |e|^2/2.
    """
    (n, d), k = points.shape, len(centres)
    best, second = points.new_empty(n), points.new_empty(n)
    codes = torch.empty(n, dtype=torch.int64, device=points.device)
    if n:
        channels = min(_CHANNELS, max(16, triton.next_power_of_2(d)))  # tl.dot takes 16 and more
        cast(Any, _nearest)[(triton.cdiv(n, _ROWS),)](
            points.contiguous(), centres.contiguous(), half_squares, best, second, codes, n, k, d,
            ROWS=_ROWS, CODES=_CODES, CHANNELS=channels,
        )  # fmt: skip
    return best[:, None], second, codes
