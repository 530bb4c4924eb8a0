"""Between maps [B, D, *spatial] or [B, *spatial, D] and lists of vectors [N, D], one of each position."""

import torch
from torch import Tensor


def shape_of_positions(z: Tensor, channel_last: bool) -> torch.Size:
    """Return the shape [B, *spatial] of a map."""
    return z.shape[:-1] if channel_last else z.shape[:1] + z.shape[2:]


def vectors_of_map(z: Tensor, channel_last: bool) -> Tensor:
    """Return the vectors of a map, [N, D], in the order of the positions; contiguous, of the map's dtype."""
    last = z if channel_last else z.movedim(1, -1)
    return last.contiguous().view(-1, last.shape[-1])


def map_of_vectors(vectors: Tensor, positions: torch.Size, channel_last: bool) -> Tensor:
    """Return vectors [N, D] as a map of these positions [B, *spatial]: ``vectors_of_map`` undone."""
    last = vectors.reshape(*positions, vectors.shape[-1])
    return last if channel_last else last.movedim(-1, 1)


def repeat_mask(mask: Tensor | None, codes_per_position: int) -> Tensor | None:
    """Return the mask of positions, bool [N], for the n vectors of each position: bool [N*n]."""
    return mask if mask is None or codes_per_position == 1 else mask.repeat_interleave(codes_per_position)
