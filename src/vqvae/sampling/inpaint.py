"""Inpainting, outpainting and variations: keep some codes and draw the others."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vqvae import noise
from vqvae.sampling.guidance import Step, has_classes, stepper
from vqvae.sampling.protocol import PriorProtocol
from vqvae.sampling.sampler import PLAIN, Controls, candidate_numbers, invert
from vqvae.tensors import Labels, checked_codes, checked_labels


@torch.no_grad()
def inpaint(
    prior: PriorProtocol,
    codes: Tensor,
    keep: Tensor,
    *,
    seed: int = 0,
    candidates: int = 1,
    controls: Controls = PLAIN,
    labels: Labels | None = None,
    batch_size: int = 64,
    progress: Callable[[int], object] = lambda positions: None,
) -> Tensor:
    """Draw the codes that are not kept, given the codes that are.

    A prior in raster order draws each code given the codes before it. It does not see the kept codes after it.
    So M candidates are drawn per image, and one is chosen by how likely it makes the kept codes (importance
    resampling). Candidate m is chosen with a probability proportional to

        w_m = exp(sum of log p(k | the codes before k in candidate m) over the kept codes k).

    At temperature 1, without top_k and top_p, the drawn codes have the prior's exact distribution given all kept
    codes for M to infinity. For M = 1, each code is conditioned on the kept codes before it alone. The time is
    proportional to M; M matters more, the more codes are kept after the first drawn one.

    Candidate 0 of image i uses the random numbers of image i of ``sample``. With nothing kept and M = 1, the
    result equals the result of ``sample``.

    Args:
        prior: in eval mode.
        codes: of any integer type, [B, h, w, n], or [B, h, w] if n = 1; codes that are not kept are ignored.
        keep: bool [h, w], [B, h, w] or [B, h, w, n], True where a code is kept.
        seed: of everything random.
        candidates: M.
        controls: temperature, top_k, top_p, guidance. Guidance acts on the weights w_m too.
        labels: the class of each image, integers [B], one integer for all images, or None.
        batch_size: grids that are drawn together; all candidates of an image are drawn together in any case.
        progress: called after each step with the number of codes in it, for a progress bar.

    Returns:
        int64 [B, h, w, n].

    Raises:
        ValueError: for a control out of range, fewer candidates than one, codes, a mask or labels that do not fit,
            and kept codes out of range.
    """
    codes = _checked(prior, codes)
    labels = (
        None if labels is None else checked_labels(labels, count=len(codes), num_classes=prior.num_classes).cpu()
    )
    controls.check(classes=has_classes(prior, labels))
    if candidates < 1:
        raise ValueError(f"candidates {candidates}: must be 1 or more")
    grid, length, kept = (codes.shape[1], codes.shape[2]), codes.shape[1:].numel(), _mask_like(codes, keep)
    codes = _checked(prior, codes.where(kept.view(codes.shape).to(codes.device), 0), check_range=True)

    out = [codes[:0]]
    for images in torch.arange(len(codes)).split(max(1, batch_size // candidates)):
        rows = images.repeat_interleave(candidates)
        own_labels = None if labels is None else labels[rows]
        step = stepper(prior, len(rows), grid, labels=own_labels, guidance=controls.guidance)
        uniform = candidate_numbers(length, seed, images, candidates)
        drawn, log_weights = _fill(step, controls, codes.flatten(1)[rows], kept[rows], uniform, progress)
        best = invert(log_weights.view(-1, candidates).softmax(1), noise.uniform(seed, images, length))
        out.append(drawn.view(-1, candidates, *codes.shape[1:])[torch.arange(len(images)), best])
    return torch.cat(out)


def outpaint(
    prior: PriorProtocol, codes: Tensor, grid: tuple[int, int], *, at: tuple[int, int] = (0, 0), **how: Any
) -> Tensor:
    """Place codes in a larger grid and draw the codes around them.

    Args:
        prior: in eval mode.
        codes: as ``inpaint`` takes them.
        grid: (H, W), at least (h, w).
        at: (row, column) of the upper left corner of the codes in the larger grid.
        **how: arguments of ``inpaint``. Codes above and left of the given codes are drawn before them, so use
            ``candidates`` where ``at`` is not (0, 0).

    Returns:
        int64 [B, H, W, n].

    Raises:
        ValueError: when the codes do not lie inside the grid, and as ``inpaint``.
    """
    codes = _checked(prior, codes)
    (top, left), (h, w) = at, codes.shape[1:3]
    if top < 0 or left < 0 or top + h > grid[0] or left + w > grid[1]:
        raise ValueError(f"codes {h}x{w} at {top},{left} do not lie inside the grid {grid[0]}x{grid[1]}")
    canvas, keep = codes.new_zeros(len(codes), *grid, codes.shape[3]), torch.zeros(grid, dtype=torch.bool)
    canvas[:, top : top + h, left : left + w] = codes
    keep[top : top + h, left : left + w] = True
    return inpaint(prior, canvas, keep, **how)


def vary(
    prior: PriorProtocol, codes: Tensor, *, depth: int = 0, region: Tensor | None = None, **how: Any
) -> Tensor:
    """Draw variations: keep the first ``depth`` codes of each position, and all codes outside a region.

    The n codes of a position of a residual quantizer are ordered from coarse to fine. So ``depth=0`` replaces all
    codes, and ``depth=n - 1`` replaces only the finest codes.

    Args:
        prior: in eval mode.
        codes: as ``inpaint`` takes them.
        depth: number of codes of each position that are kept, 0 to n - 1.
        region: bool [h, w], True where codes are drawn; everywhere by default.
        **how: arguments of ``inpaint``.

    Returns:
        int64 [B, h, w, n].

    Raises:
        ValueError: for a depth that leaves nothing to draw, and as ``inpaint``.
    """
    codes = _checked(prior, codes)
    n = codes.shape[3]
    if not 0 <= depth < n:
        raise ValueError(f"depth {depth}: must be 0 to {n - 1}, as there are {n} codes per position")
    keep = (torch.arange(n) < depth).expand(codes.shape)
    return inpaint(prior, codes, keep if region is None else keep | ~region[..., None].cpu(), **how)


def _fill(
    step: Step,
    controls: Controls,
    codes: Tensor,
    kept: Tensor,
    uniform: Iterator[Tensor],
    progress: Callable[[int], object],
) -> tuple[Tensor, Tensor]:
    """Draw the codes that are not kept; return all codes, int64 [R, T], and log p of the kept ones, float64 [R].

    Kept codes before the first drawn one are in log p: they add the same to every candidate of an image.
    """
    all_kept, any_kept = kept.all(0).tolist(), kept.any(0).tolist()
    drawn, previous = codes.clone(), None
    log_weights = torch.zeros(len(codes), dtype=torch.float64)
    for position, u in enumerate(uniform):
        logits = step(previous)
        known, keep = codes[:, position].to(logits.device), kept[:, position].to(logits.device)
        if any_kept[position]:
            log_p = logits.log_softmax(1).gather(1, known[:, None])[:, 0]
            log_weights += log_p.where(keep, 0.0).cpu()
        previous = known if all_kept[position] else torch.where(keep, known, controls.pick(logits, u))
        drawn[:, position] = previous
        progress(len(codes))
    return drawn, log_weights


def _checked(prior: PriorProtocol, codes: Tensor, *, check_range: bool = False) -> Tensor:
    n, num_codes = prior.spec.codes_per_position, prior.spec.num_codes
    return checked_codes(codes, codes_per_position=n, num_codes=num_codes, check_range=check_range)


def _mask_like(codes: Tensor, keep: Tensor) -> Tensor:
    """Expand ``keep`` to every code, bool [B, h * w * n]."""
    shapes = {2: codes.shape[1:3], 3: codes.shape[:3], 4: codes.shape}
    if keep.dtype != torch.bool or keep.shape != shapes.get(keep.ndim):
        h, w = codes.shape[1:3]
        raise ValueError(f"keep {keep.dtype} {list(keep.shape)}: expected bool [{h}, {w}] or [B, {h}, {w}]")
    return (keep if keep.ndim == 4 else keep[..., None]).expand(codes.shape).flatten(1)
