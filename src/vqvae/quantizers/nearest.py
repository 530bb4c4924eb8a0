"""The nearest code, exactly: a tiled float32 search whose near-ties are settled in float64."""

import torch
from torch import Tensor

_ROWS, _CODES = 1024, 2048  # a tile of scores stays in the cache of one core
_SETTLE = 1 << 24  # float64 numbers held at once while near-ties are settled


def nearest_code(x: Tensor, codebook: Tensor) -> Tensor:
    """Find the nearest code of each vector, k = argmin_j ||x - e_j||^2 (arXiv 1711.00937, equation 1).

    The answer is that of a float64 brute force, the lowest index on ties, whatever the dtype, offset and scale
    of the input; memory does not grow as N x K. A vector with a NaN gets code 0.

    Args:
        x: float [N, D].
        codebook: float [K, D].

    Returns:
        int64 [N], in 0..K-1.
    """
    if x.device.type == "mps":  # no float64 there
        return nearest_code(x.cpu(), codebook.cpu()).to(x.device)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        points, centres, _ = _centred(x, codebook)
        half_squares = centres.square().sum(1).div_(2)
        best, second, codes = _search(points, centres, half_squares)
        tolerance = _rounding_bound(points, centres)
        unsettled = (second - best <= tolerance).nonzero().squeeze(1)
        for rows in unsettled.split(max(1, _SETTLE // codebook.numel())):
            scores = torch.addmm(half_squares, points[rows], centres.T, alpha=-1)
            close = scores <= (best + tolerance)[rows, None]
            codes[rows] = _settle(x[rows].double(), codebook.double(), close)
    return codes


def unsure_codes(x: Tensor, codebook: Tensor, tolerance: Tensor) -> Tensor:
    """Say which vectors could have another nearest code if they moved a little.

    The code of x is sure while x is farther than that from every bisector of its code and another.

    Args:
        x: float [N, D].
        codebook: float [K, D].
        tolerance: float [N], the longest way that each may move.

    Returns:
        bool [N]; vectors within the rounding of the search are unsure too.
    """
    if x.device.type == "mps":  # no float64 there
        return unsure_codes(x.cpu(), codebook.cpu(), tolerance.cpu()).to(x.device)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        points, centres, scale = _centred(x, codebook)
        half_squares = centres.square().sum(1).div_(2)
        best, second, codes = _search(points, centres, half_squares)
        rounding, reach = _rounding_bound(points, centres), (tolerance / scale).float()
        diameter = 2 * centres.norm(dim=1).amax()
        unsure = ~(second - best > rounding + reach * diameter)  # a NaN is unsure
        exact = codebook.double() - codebook.double().mean(0)
        for rows in unsure.nonzero().squeeze(1).split(max(1, _SETTLE // codebook.numel())):
            # without the rounding and with the true distances of codes, most of these are sure after all
            scores = exact.square().sum(1) / 2 - (x[rows].double() - codebook.double().mean(0)) @ exact.T
            apart = torch.cdist(exact[codes[rows]], exact, compute_mode="donot_use_mm_for_euclid_dist")
            sure = scores - scores.gather(1, codes[rows, None]) > tolerance[rows, None] * apart
            unsure[rows] = ~(sure | (apart == 0)).all(1)  # equal codes tie wherever x is
    return unsure


def _centred(x: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # |x|^2 - 2 x.e + |e|^2 cancels when the data lie far from the origin, and overflows when they are huge:
    # move the origin to the codebook's mean and the scale to one, in float64, which changes no argmin
    centre = codebook.double().mean(0)
    points, centres = x.double() - centre, codebook.double() - centre
    scale = centres.abs().amax().clamp(min=torch.finfo(torch.float64).tiny)
    return (points / scale).float().clamp_(-1e15, 1e15), (centres / scale).float(), scale


def _search(points: Tensor, centres: Tensor, half_squares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each point the best score |e|^2/2 - x.e, the second best, and the best's index."""
    best = points.new_full((len(points),), torch.inf)
    second = best.clone()
    codes = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for first_row in range(0, len(points), _ROWS):
        rows = slice(first_row, first_row + _ROWS)
        for first in range(0, len(centres), _CODES):
            tile = slice(first, first + _CODES)
            scores = torch.addmm(half_squares[tile], points[rows], centres[tile].T, alpha=-1)
            value, index = scores.min(1)
            runner_up = scores.scatter_(1, index[:, None], torch.inf).amin(1)
            better = value < best[rows]  # strict: the lower index keeps a tie
            second[rows] = torch.minimum(second[rows].minimum(runner_up), torch.maximum(best[rows], value))
            codes[rows] = torch.where(better, index + first, codes[rows])
            best[rows] = best[rows].minimum(value)
    return best, second, codes


def _rounding_bound(points: Tensor, centres: Tensor) -> Tensor:
    """Bound twice the float32 rounding error of a score, float [N]: a gap above it is a real gap."""
    longest = centres.norm(dim=1).amax()
    reach = points.norm(dim=1) + longest
    unit = torch.finfo(torch.float32).eps * (centres.shape[1] + 4)
    # the square is of latents that dwarf the codebook: in float64 too, their distances round
    return unit * reach * longest + unit * 2.0**-29 * reach.square()


def _settle(x: Tensor, codebook: Tensor, close: Tensor) -> Tensor:
    """Choose among the codes marked close, bool [R, K], by float64 distance and then by lowest index."""
    row, code = close.nonzero(as_tuple=True)
    distance = (x[row] - codebook[code]).square_().sum(1)
    nearest = distance.new_full((len(x),), torch.inf).scatter_reduce_(0, row, distance, "amin")
    ties = distance == nearest[row]
    lowest = torch.full((len(x),), len(codebook) - 1, device=x.device)
    return lowest.scatter_reduce_(0, row[ties], code[ties], "amin")
