"""Editing: some codes are kept and the others drawn anew."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vqvae import noise
from vqvae.sampling.guidance import Step, has_classes, stepper
from vqvae.sampling.protocol import Prior
from vqvae.sampling.sampler import PLAIN, Controls, candidate_numbers, invert


@torch.no_grad()
def inpaint(
    prior: Prior,
    codes: Tensor,
    keep: Tensor,
    *,
    seed: int = 0,
    candidates: int = 1,
    controls: Controls = PLAIN,
    labels: Tensor | None = None,
    batch_size: int = 64,
    progress: Callable[[int], object] = lambda positions: None,
) -> Tensor:
    """Draw the codes that are not kept, given those that are.

    A prior in raster order draws each code from what comes before it and knows nothing of the kept codes that
    follow. So ``candidates`` M are drawn a image, and one is chosen by how well the kept codes follow from it:
    candidate m with probability ``w_m / sum w`` of the weights

        w_m = exp(sum over the kept codes k after the first drawn one of log p(k | what precedes k, of m)),

    importance resampling. At temperature 1, without top_k and top_p, the codes drawn have for M to infinity the
    prior's exact distribution given all kept codes; with M = 1 they have that given the kept codes before each.

    Candidate 0 of image i is drawn with the numbers of image i of ``sample``, so nothing kept and one candidate
    is ``sample``. A larger M costs M times the time and shows the more, the more codes are kept after the hole.

    Args:
        prior: in eval mode.
        codes: int64 [B, h, w, n]; what stands where nothing is kept does not matter.
        keep: bool [h, w], [B, h, w] or [B, h, w, n], where codes stay as they are.
        seed: of everything random.
        candidates: M.
        controls: temperature, top_k, top_p, guidance; the weights are of the guided distribution too.
        labels: int64 [B] classes, or None.
        batch_size: grids drawn side by side, candidates counted, though all those of an image go together.
        progress: called with the number of codes passed in each step, for a progress bar.

    Returns:
        int64 [B, h, w, n].

    Raises:
        ValueError: for a control out of its range, fewer candidates than one, or a mask that does not fit.
    """
    controls.check(classes=has_classes(prior, labels))
    if candidates < 1:
        raise ValueError(f"candidates {candidates}: must be 1 or more")
    grid, length, kept = (codes.shape[1], codes.shape[2]), codes.shape[1:].numel(), _mask_like(codes, keep)

    out = [codes[:0]]
    for images in torch.arange(len(codes)).split(max(1, batch_size // candidates)):
        rows = images.repeat_interleave(candidates)
        own_labels = None if labels is None else labels.cpu()[rows]
        step = stepper(prior, len(rows), grid, labels=own_labels, guidance=controls.guidance)
        uniform = candidate_numbers(length, seed, images, candidates)
        drawn, log_weights = _fill(step, controls, codes.flatten(1)[rows], kept[rows], uniform, progress)
        best = invert(log_weights.view(-1, candidates).softmax(1), noise.uniform(seed, images, length))
        out.append(drawn.view(-1, candidates, *codes.shape[1:])[torch.arange(len(images)), best])
    return torch.cat(out)


def outpaint(
    prior: Prior, codes: Tensor, grid: tuple[int, int], *, at: tuple[int, int] = (0, 0), **how: Any
) -> Tensor:
    """Place codes in a larger grid and draw the rest around them.

    Args:
        prior: in eval mode.
        codes: int64 [B, h, w, n].
        grid: (H, W), at least (h, w).
        at: (row, column) of the codes' upper left corner in it.
        **how: of ``inpaint``; codes that lie before the given ones are drawn without sight of them, so
            ``candidates`` matters wherever ``at`` is not (0, 0).

    Returns:
        int64 [B, H, W, n].

    Raises:
        ValueError: when the codes do not lie inside the grid, and as ``inpaint``.
    """
    (top, left), (h, w) = at, codes.shape[1:3]
    if top < 0 or left < 0 or top + h > grid[0] or left + w > grid[1]:
        raise ValueError(f"codes {h}x{w} at {top},{left} do not lie inside the grid {grid[0]}x{grid[1]}")
    canvas, keep = codes.new_zeros(len(codes), *grid, codes.shape[3]), torch.zeros(grid, dtype=torch.bool)
    canvas[:, top : top + h, left : left + w] = codes
    keep[top : top + h, left : left + w] = True
    return inpaint(prior, canvas, keep, **how)


def vary(prior: Prior, codes: Tensor, *, depth: int = 0, region: Tensor | None = None, **how: Any) -> Tensor:
    """Draw variations: keep the first codes of each position, or all outside a region, and draw the rest.

    Where the n codes of a position go from coarse to fine, as those of a residual quantizer do, ``depth`` is how
    much of that stays: 0 draws all of them anew, n - 1 the last detail alone.

    Args:
        prior: in eval mode.
        codes: int64 [B, h, w, n].
        depth: the codes of each position that stay, 0 to n - 1.
        region: bool [h, w], where codes are drawn anew; everywhere by default.
        **how: of ``inpaint``.

    Returns:
        int64 [B, h, w, n].

    Raises:
        ValueError: for a depth that leaves nothing to draw, and as ``inpaint``.
    """
    n = codes.shape[3]
    if not 0 <= depth < n:
        raise ValueError(f"depth {depth}: must be 0 to {n - 1}, as there are {n} codes a position")
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
    """Return codes, int64 [R, T], with those not kept drawn, and the log p of all that are kept, float64 [R].

    The kept codes before the first drawn one count too: they add the same to every candidate.
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


def _mask_like(codes: Tensor, keep: Tensor) -> Tensor:
    """Return ``keep`` for every code, bool [B, h * w * n]."""
    shapes = {2: codes.shape[1:3], 3: codes.shape[:3], 4: codes.shape}
    if keep.dtype != torch.bool or keep.shape != shapes.get(keep.ndim):
        h, w = codes.shape[1:3]
        raise ValueError(f"keep {keep.dtype} {list(keep.shape)}: expected bool [{h}, {w}] or [B, {h}, {w}]")
    return (keep if keep.ndim == 4 else keep[..., None]).expand(codes.shape).flatten(1)
