"""What a page shows about codes: colours, use, patches of real images."""

import torch
from torch import Tensor

from vqvae.models import VQVAE

MOST_CODES = 4096  # most codes whose colours and patches a page holds
_PATCHES = 6  # of a code


@torch.no_grad()
def code_colours(tokenizer: VQVAE) -> list[list[int]] | None:
    """Return a colour for each code, alike for codes with vectors alike; None for too many codes.

    The colours are the first three principal components of the vectors, by rank. The vector of a code is the z_q
    of a position with the code at its first place and code 0 at the others.
    """
    k = tokenizer.num_codes
    if k > MOST_CODES:
        return None
    codes = torch.zeros(k, 1, 1, tokenizer.codes_per_position, dtype=torch.int64)
    codes[:, 0, 0, 0] = torch.arange(k)
    vectors = tokenizer.quantizer.embed(codes).flatten(1).double()
    centred = vectors - vectors.mean(0)
    components = torch.linalg.svd(centred, full_matrices=False)[2][:3]
    values = torch.zeros(k, 3, dtype=torch.float64)
    values[:, : len(components)] = centred @ components.T
    ranks = values.argsort(0).argsort(0).double() / max(1, k - 1)
    return (45 + 190 * ranks).round().long().tolist()


@torch.no_grad()
def code_places(tokenizer: VQVAE, codes: Tensor) -> dict[int, list[list[int]]]:
    """Return where each code occurs, by code: [image, row, column]; of many codes, the first ``MOST_CODES``.

    Args:
        tokenizer: the tokenizer.
        codes: int64 [N, h, w, n].
    """
    k = tokenizer.num_codes
    places: dict[int, list[list[int]]] = {}
    order = codes[..., 0].flatten().argsort(stable=True)
    sorted_codes = codes[..., 0].flatten()[order]
    h, w = codes.shape[1:3]
    starts = torch.searchsorted(sorted_codes, torch.arange(min(k, MOST_CODES) + 1))
    for code in range(min(k, MOST_CODES)):
        own = order[starts[code] : starts[code + 1]]
        chosen = own[torch.linspace(0, len(own) - 1, min(_PATCHES, len(own))).long()].tolist() if len(own) else []
        places[code] = [[at // (h * w), at // w % h, at % w] for at in chosen]
    return places
