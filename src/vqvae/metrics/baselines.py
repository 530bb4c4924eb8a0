"""The floors that a prior must clear: codes drawn one by one, each from how often it was counted in training."""

from pathlib import Path

import torch
from torch import Tensor

from vqvae.tensorfile import load_tensors, save_tensors

KIND, VERSION = "vqvae-code-counts", 2


def count_codes(codes: Tensor, num_codes: int) -> Tensor:
    """Count the codes of each position, int64 [h, w, n, K], of codes [..., h, w, n] in any integer type."""
    shape, columns = codes.shape[-3:], codes.flatten(0, -4).flatten(1).T
    counts = [torch.bincount(column.int(), minlength=num_codes) for column in columns]
    return torch.stack(counts).view(*shape, num_codes)


def pooled(counts: Tensor) -> Tensor:
    """Sum counts [h, w, n, K] over positions, [1, 1, n, K]: the n places of a position may differ in meaning."""
    return counts.sum((0, 1), keepdim=True)


def unigram_nats(codes: Tensor, counts: Tensor) -> Tensor:
    """Return -log p of each code where codes are independent, in nats, float64 [B, h, w, n].

    p(k) = (c_k + 1) / (sum c + K), add-one smoothing: no code is impossible because training never met it.

    Args:
        codes: int64 [B, h, w, n].
        counts: of training codes, [h, w, n, K] for a distribution a position, or ``pooled`` for one everywhere.
    """
    smooth = counts.double() + 1
    nats = (smooth.sum(-1, keepdim=True) / smooth).log()
    nats = nats.expand(*codes.shape[1:], -1).unsqueeze(0).expand(len(codes), *(-1,) * 4)
    return nats.gather(-1, codes[..., None].to(counts.device)).squeeze(-1)


def save_counts(path: Path, counts: Tensor) -> None:
    """Write the counts of a run's training codes, [h, w, n, K], to a file."""
    save_tensors(path, KIND, VERSION, {}, {"counts": counts})


def load_counts(path: Path) -> Tensor | None:
    """Read the counts of a run's training codes, int64 [h, w, n, K]; None where there is no such file.

    Raises:
        UserError: when the file is damaged.
    """
    return load_tensors(path, KIND, VERSION)[1]["counts"] if path.is_file() else None
