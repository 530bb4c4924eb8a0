"""A search for codes that take fewer bits together with their pixels.

For any codes z of an image x, -log p(x | z) - log p(z) is an upper bound on -log p(x), and a file of these codes
decodes to x. The encoder's codes are near to z_e; others may give a lower bound.
"""

from itertools import product

import torch
from torch import Tensor

from vqvae.coding.codes import check_count
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.tensors import images_from_pixels

_MOST_PIXELS = 2**18  # of all candidates that are decoded at a time


@torch.no_grad()
def search_codes(
    tokenizer: VQVAE, prior: Prior | None, codes: Tensor, pixels: Tensor, *, candidates: int
) -> tuple[Tensor, float]:
    """Replace codes by near ones wherever this lowers -log p(x | z) - log p(z).

    One code after the other is replaced by the best of its candidates, with all other codes fixed. The candidates
    are the codes that give the vectors nearest to z_e. The time grows with the number of codes times the size of
    the image.

    Args:
        tokenizer: in eval mode, on the CPU.
        prior: the prior, without a class; None for the uniform prior.
        codes: int64 [B, h, w, n], the codes to begin with.
        pixels: uint8 [B, C, H, W].
        candidates: number of candidates of each code.

    Returns:
        The codes, and by how many nats the sum of the bounds is lower.

    Raises:
        UserError: for more codes than a file can hold.
    """
    check_count(tokenizer.num_codes)
    many = max(1, _MOST_PIXELS // (candidates * pixels[0, 0].numel()))
    found, gain = list[Tensor](), 0.0
    for own, given in zip(codes.split(many), pixels.split(many), strict=True):
        better = _searched(tokenizer, prior, own, given, min(candidates, tokenizer.num_codes))
        gain += float((_nats(tokenizer, prior, own, given) - _nats(tokenizer, prior, better, given)).sum())
        found.append(better)
    return torch.cat(found), gain


def _searched(tokenizer: VQVAE, prior: Prior | None, codes: Tensor, pixels: Tensor, number: int) -> Tensor:
    found, best = codes.clone(), _nats(tokenizer, prior, codes, pixels)
    near = torch.cat([_near(tokenizer, codes[i : i + 1], pixels[i : i + 1], number) for i in range(len(codes))])
    repeated = pixels.repeat_interleave(number, 0)
    for place in product(*map(range, codes.shape[1:])):
        given = near[(slice(None), *place)]
        tried = found[:, None].repeat(1, number, 1, 1, 1)
        tried[(slice(None), slice(None), *place)] = given
        least, which = _nats(tokenizer, prior, tried.flatten(0, 1), repeated).view(-1, number).min(1)
        chosen = given.gather(1, which[:, None])[:, 0]
        found[(slice(None), *place)] = torch.where(least < best, chosen, found[(slice(None), *place)])
        best = torch.minimum(best, least)
    return found


def _near(tokenizer: VQVAE, codes: Tensor, pixels: Tensor, number: int) -> Tensor:
    """Return the candidates of each code of one image, int64 [1, h, w, n, number], the nearest first."""
    z_e, every = tokenizer.encoder(images_from_pixels(pixels)), torch.arange(tokenizer.num_codes)
    rows = list[Tensor]()
    for row in range(codes.shape[1]):
        found = list[Tensor]()
        for place in range(codes.shape[3]):
            tried = codes[:, row, :, None].repeat(1, 1, len(every), 1)
            tried[..., place] = every
            vectors: Tensor = tokenizer.quantizer.embed(tried)
            distances = (vectors - z_e[:, :, row, :, None]).square().sum(1)
            found.append(distances.topk(number, 2, largest=False).indices)
        rows.append(torch.stack(found, 2))
    return torch.stack(rows, 1)


def _nats(tokenizer: VQVAE, prior: Prior | None, codes: Tensor, pixels: Tensor) -> Tensor:
    """Return -log p(x | z) - log p(z) of each image in nats, float64 [B]; without a prior, up to a constant."""
    nats = tokenizer.likelihood.nats(tokenizer.decode_parameters(codes), pixels)
    return nats if prior is None else nats - prior.log_prob(codes).double()
