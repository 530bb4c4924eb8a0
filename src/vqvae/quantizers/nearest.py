"""The exact nearest-code search: a tiled or fused search in float32 that resolves near-ties in float64."""

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Search = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""From (points [N, D], centres [K, D], half of the centres' squares [K]) to the least score in each tile of _CODES
centres, or in one tile of all centres, [N, T]; the second least score of all, [N]; the index of the least, [N]."""

_ROWS, _CODES = 4096, 2048
_SCORES = 1 << 21  # in a tile: few enough for the cache, and enough for all threads
_LANES = 64
_RESOLVED_AT_ONCE = 1 << 21  # scores held at once while near-ties are resolved


def nearest_code(x: Tensor, codebook: Tensor) -> Tensor:
    """Find the nearest code of each vector, k = argmin_j ||x - e_j||^2 (arXiv 1711.00937, equation 1).

    The result equals a brute-force search in float64, with the lowest index on ties, for any dtype, offset and
    scale of the input. Memory is a 2,048th of N x K. A vector with a NaN gets code 0. No gradient passes.

    In a graph of ``torch.compile``, the search is one operator. An exported program (``torch.export``, ONNX) has a
    plain float32 search instead, which runs anywhere and may decide near-ties differently.

    Args:
        x: float [N, D].
        codebook: float [K, D].

    Returns:
        int64 [N], in 0..K-1.
    """
    if torch.compiler.is_exporting():
        return _plain_search(x.detach().float(), codebook.detach().float())
    return _nearest_code(x.detach(), codebook.detach())


@torch.library.custom_op("vqvae::nearest_code", mutates_args=())
def _nearest_code(x: Tensor, codebook: Tensor) -> Tensor:
    if x.device.type == "mps":  # no float64 there
        return _nearest_code(x.cpu(), codebook.cpu()).to(x.device)
    return _nearest(x, codebook, *_search_on(x.device))


@_nearest_code.register_fake
def _(x: Tensor, codebook: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], dtype=torch.int64)


@_nearest_code.register_vmap
def _(info: Any, in_dims: tuple[int | None, int | None], x: Tensor, codebook: Tensor) -> tuple[Tensor, int]:
    """Search for a batch of [N, D], and of codebooks [K, D] if these are a batch too."""
    x = x.expand(info.batch_size, *x.shape) if in_dims[0] is None else x.movedim(in_dims[0], 0)
    if in_dims[1] is None:
        return _nearest_code(x.flatten(0, 1), codebook).view(x.shape[:2]), 0
    return torch.stack([_nearest_code(*pair) for pair in zip(x, codebook.movedim(in_dims[1], 0), strict=True)]), 0


def _plain_search(x: Tensor, codebook: Tensor) -> Tensor:
    # |x|^2 - 2 x.e + |e|^2 cancels when the data lie far from the origin: move the origin to the codebook's mean
    centre = codebook.mean(0)
    points, centres = x - centre, codebook - centre
    return (centres.square().sum(1) / 2 - points @ centres.T).argmin(1)


def _search_on(device: torch.device) -> tuple[Search, float]:
    """Return the search for a device, and the relative rounding of its products."""
    fused = _fused_search(device) if device.type == "cuda" else None
    if fused is not None:
        return fused, torch.finfo(torch.float32).eps
    return _tiled_search, _gemm_rounding(device.type)


@cache
def _fused_search(device: torch.device) -> Search | None:
    """Return the fused search, or None if Triton is not installed or does not run; it is tried once."""
    if find_spec("triton") is None:
        return None
    try:
        from vqvae.quantizers.nearest_triton import fused_search

        probe = torch.zeros(1, 32, device=device)
        fused_search(probe, probe, probe[:, 0])[2].item()  # item waits for the GPU's result
    except Exception as error:  # no C compiler, a GPU too old: slower is better than not at all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        warnings.warn(
            f"the fused search does not run on this device, so the tiled search is used: {reason}", stacklevel=3
        )
        return None
    return fused_search


def _nearest(x: Tensor, codebook: Tensor, search: Search, rounding: float) -> Tensor:
    """Search in float32, with products of this relative rounding; then resolve near-ties in float64."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        points, centres, _ = _centred(x, codebook)
        half_squares = centres.square().sum(1).div_(2)
        least, second, codes = search(points, centres, half_squares)
        best = least.amin(1)
        limit = best + _rounding_bound(points, centres, rounding)  # a code with a higher score is farther
        open_rows = (second <= limit).nonzero().squeeze(1)
        if not len(open_rows):
            return codes
        if rounding > torch.finfo(torch.float32).eps:  # a product that rounds its operands scores no finer again
            points, centres, half_squares = points.double(), centres.double(), half_squares.double()
        nearest = torch.full_like(limit, torch.inf, dtype=torch.float64)  # distances so far
        tiles = centres.split(_CODES if least.shape[1] > 1 else len(centres))
        for tile, (here, first) in enumerate(zip(tiles, accumulate(map(len, tiles), initial=0), strict=False)):
            close = open_rows[least[open_rows, tile] <= limit[open_rows]]
            own = slice(first, first + len(here))
            for rows in close.split(max(1, _RESOLVED_AT_ONCE // len(here))):
                scores = torch.addmm(half_squares[own], points[rows], here.T, alpha=-1)
                row, code = (scores <= limit[rows, None]).nonzero(as_tuple=True)
                _resolve(x, codebook, rows[row], code + first, nearest, codes)
    return codes


def ambiguous_codes(x: Tensor, codebook: Tensor, tolerance: Tensor) -> Tensor:
    """Return which vectors could have another nearest code if they moved a little.

    The code of x does not change if x is farther than its tolerance from every bisector of its code and another
    code.

    Args:
        x: float [N, D].
        codebook: float [K, D].
        tolerance: float [N], how far each vector may move.

    Returns:
        bool [N]. Vectors within the rounding of the search, or with a NaN, are ambiguous too.
    """
    if x.device.type == "mps":  # no float64 there
        return ambiguous_codes(x.cpu(), codebook.cpu(), tolerance.cpu()).to(x.device)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        points, centres, scale = _centred(x, codebook)
        half_squares = centres.square().sum(1).div_(2)
        search, operands = _search_on(x.device)
        least, second, codes = search(points, centres, half_squares)
        rounding, reach = _rounding_bound(points, centres, operands), (tolerance / scale).float()
        diameter = 2 * centres.norm(dim=1).amax()
        ambiguous = ~(second - least.amin(1) > rounding + reach * diameter)  # also of a NaN
        exact = codebook.double() - codebook.double().mean(0)
        for rows in ambiguous.nonzero().squeeze(1).split(max(1, _RESOLVED_AT_ONCE // len(codebook))):
            # without the rounding, and with the true distances of codes, most of these are not ambiguous
            scores = exact.square().sum(1) / 2 - (x[rows].double() - codebook.double().mean(0)) @ exact.T
            apart = torch.cdist(exact[codes[rows]], exact, compute_mode="donot_use_mm_for_euclid_dist")
            apart_enough = scores - scores.gather(1, codes[rows, None]) > tolerance[rows, None] * apart
            ambiguous[rows] = ~(apart_enough | (apart == 0)).all(1)  # equal codes tie wherever x is
    return ambiguous


def _gemm_rounding(device: str) -> float:
    """Return how much a float32 GEMM may round its operands; torch can be set to TF32 or bf16 products."""
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # set for each backend by itself
        precision = "medium"
    exact = precision == "highest" or (precision == "high" and device == "cpu")
    return torch.finfo(torch.float32).eps if exact else torch.finfo(torch.bfloat16).eps


def _centred(x: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # |x|^2 - 2 x.e + |e|^2 cancels when the data lie far from the origin, and overflows when they are huge:
    # move the origin to the codebook's mean and the scale to one, which changes no argmin
    centre = codebook.double().mean(0).float()
    centres = codebook.double() - centre
    # a power of two rounds nothing
    scale = 2 ** centres.abs().amax().clamp(min=torch.finfo(torch.float64).tiny).log2().floor()
    if len(x) and x.dtype == torch.float32 and 1e-30 < scale < 1e30 and x.abs().amax() < 1e30:
        points = (x - centre).mul_(1 / float(scale))  # one rounding, as in float64 below
    else:
        points = ((x.double() - centre) / scale).float()
    return points.clamp_(-1e15, 1e15), (centres / scale).float(), scale


def _tiled_search(points: Tensor, centres: Tensor, half_squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the least score |e|^2/2 - x.e of each tile, the second least score, and the index of the least."""
    best = points.new_full((len(points),), torch.inf)
    second = best.clone()
    least = points.new_empty(len(points), -(-len(centres) // _CODES))
    codes = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    missing = -len(centres) % _LANES if len(centres) > _LANES else 0
    centres, half_squares = F.pad(centres, (0, 0, 0, missing)), F.pad(half_squares, (0, missing), value=torch.inf)
    width = min(_CODES, len(centres))
    height = min(_ROWS, _SCORES // width, len(points))
    buffer = points.new_empty(height * width)
    for first_row in range(0, len(points), max(1, height)):
        rows = slice(first_row, first_row + height)
        for first in range(0, len(centres), _CODES):
            tile = slice(first, first + _CODES)
            scores = buffer[: len(points[rows]) * len(centres[tile])].view(-1, len(centres[tile]))
            torch.addmm(half_squares[tile], points[rows], centres[tile].T, alpha=-1, out=scores)
            value, runner_up, index = _two_least(scores)
            least[rows, first // _CODES] = value
            better = value < best[rows]
            second[rows] = torch.minimum(second[rows].minimum(runner_up), torch.maximum(best[rows], value))
            codes[rows] = torch.where(better, index + first, codes[rows])
            best[rows] = best[rows].minimum(value)
    return least, second, codes


def _two_least(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the least score of each row, the second least, and the index of the least.

    The scores are split into _LANES interleaved parts, which are reduced without an index. This takes a tenth of
    the time of ``min`` over all scores. Among equal scores, any may be returned as the least: near-ties are
    resolved later.
    """
    lanes = scores.view(len(scores), -1, min(_LANES, scores.shape[1]))
    least = lanes.amin(1)
    value, lane = least.min(1)
    own = lanes.gather(2, lane[:, None, None].expand(-1, lanes.shape[1], 1)).squeeze(2)
    _, place = own.min(1)
    in_lane = own.scatter_(1, place[:, None], torch.inf).amin(1)
    elsewhere = least.scatter_(1, lane[:, None], torch.inf).amin(1)
    return value, in_lane.minimum(elsewhere), place * lanes.shape[2] + lane


def _rounding_bound(points: Tensor, centres: Tensor, rounding: float) -> Tensor:
    """Return a bound of twice the rounding error of a score, float [N]: a larger difference is real."""
    longest = centres.norm(dim=1).amax()
    reach = points.norm(dim=1) + longest
    float32 = torch.finfo(torch.float32).eps
    unit = float32 * (centres.shape[1] + 4) + 2 * (rounding - float32)
    # the square matters for latents that dwarf the codebook: their distances round in float64 too
    return unit * reach * longest + float32 * (centres.shape[1] + 4) * 2.0**-29 * reach.square()


def _resolve(
    x: Tensor, codebook: Tensor, rows: Tensor, candidates: Tensor, nearest: Tensor, codes: Tensor
) -> None:
    """Choose among candidates [C] for the vectors at rows [C]: the least float64 distance, then the lowest index.

    ``nearest`` has the least distance of each vector so far and ``codes`` its index; both are updated in place.
    The candidates are in ascending order.
    """
    distance = (x[rows].double() - codebook[candidates].double()).square_().sum(1)
    before = nearest.clone()
    nearest.scatter_reduce_(0, rows, distance, "amin")
    ties = (distance == nearest[rows]) & (distance < before[rows])
    lowest = torch.full_like(codes, len(codebook))
    lowest.scatter_reduce_(0, rows[ties], candidates[ties], "amin")
    torch.where(lowest < len(codebook), lowest, codes, out=codes)
