"""The unigram baselines, which a prior must beat: independent codes, with their frequencies in training."""

from pathlib import Path

import torch
from torch import Tensor

from vqvae.tensorfile import load_tensors, save_tensors

KIND, VERSION = "vqvae-code-counts", 2
_ROWS_AT_ONCE = 2**16


def count_codes(codes: Tensor, num_codes: int) -> Tensor:
    """Return how often each code occurs at each position, int64 [h, w, n, K], of integer codes [..., h, w, n]."""
    shape = codes.shape[-3:]
    counts = torch.zeros(shape.numel(), num_codes, dtype=torch.int64)
    for part in codes.flatten(0, -4).flatten(1).split(_ROWS_AT_ONCE):  # codes may be mapped from a file
        counts += torch.stack([torch.bincount(column.int(), minlength=num_codes) for column in part.T])
    return counts.view(*shape, num_codes)


def pooled(counts: Tensor) -> Tensor:
    """Sum counts [h, w, n, K] over positions: [1, 1, n, K], separately for the n codes of a position."""
    return counts.sum((0, 1), keepdim=True)


def unigram_nats(codes: Tensor, counts: Tensor) -> Tensor:
    """Return -log p of each code under the unigram baseline, in nats, float64 [B, h, w, n].

    p(k) = (c_k + 1) / (sum c + K). The added one gives a code that is absent from training a probability above 0.

    Args:
        codes: int64 [B, h, w, n].
        counts: counts of the training codes: [h, w, n, K] for a distribution at each position, or ``pooled`` for
            the same distribution at all positions.
    """
    smooth = counts.double() + 1
    nats = (smooth.sum(-1, keepdim=True) / smooth).log()
    nats = nats.expand(*codes.shape[1:], -1).unsqueeze(0).expand(len(codes), *(-1,) * 4)
    return nats.gather(-1, codes[..., None].to(counts.device)).squeeze(-1)


def save_counts(path: Path, counts: Tensor) -> None:
    """Write the counts of a run's training codes, [h, w, n, K], to a file."""
    save_tensors(path, KIND, VERSION, {}, {"counts": counts})


def load_counts(path: Path) -> Tensor | None:
    """Read the counts of a run's training codes, int64 [h, w, n, K]; None if there is no such file.

    Raises:
        UserError: when the file is damaged.
    """
    return load_tensors(path, KIND, VERSION)[1]["counts"] if path.is_file() else None
