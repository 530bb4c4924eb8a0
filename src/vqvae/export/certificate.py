"""What an export's certificate says: how the files' results differ from the model's own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vqvae.errors import UserError
from vqvae.export.formats import RunGraph
from vqvae.export.stepped import SteppedPrior
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.progress import Progress, silent
from vqvae.sampling import sample
from vqvae.tensors import images_from_pixels

_BATCH = 64
_DRAWN = 4  # images that are drawn with the exported prior


@torch.no_grad()
def certify_tokenizer(
    run: Mapping[str, RunGraph], tokenizer: VQVAE, pixels: Tensor, progress: Progress = silent
) -> tuple[dict[str, Any], Tensor]:
    """Compare the exported encoder and decoder with the tokenizer.

    Args:
        run: the opened files ``encoder`` and ``decoder``.
        tokenizer: in eval mode, on the CPU.
        pixels: uint8 [N, C, H, W].
        progress: called with the number of images done and of all images.

    Returns:
        The facts for the certificate, and the exact codes, int64 [N, h, w, n].

    Raises:
        UserError: when a code differs at a position that is no near-tie.
    """
    codes: list[Tensor] = []
    differing: list[dict[str, Any]] = []
    near_ties, largest = 0, 0.0
    for first in range(0, len(pixels), _BATCH):
        images = images_from_pixels(pixels[first : first + _BATCH])
        found = tokenizer.encode_exact(images)
        exported = run["encoder"]({"images": images})["codes"]
        differing += _differences(found.codes, exported, first, _margins(tokenizer, images))
        near_ties += found.near_ties
        decoded = run["decoder"]({"codes": found.codes})["images"]
        largest = max(largest, float((decoded - tokenizer.decode(found.codes)).abs().max()))
        codes.append(found.codes)
        progress(min(first + _BATCH, len(pixels)), len(pixels))
    if wrong := [one for one in differing if not one["near_tie"]]:
        raise UserError(
            f"the exported encoder's codes are wrong at {len(wrong)} positions that are no near-ties, first at "
            f"{wrong[0]['at']} of image {wrong[0]['image']}: nothing was written"
        )
    every = torch.cat(codes)
    facts = {
        "images": len(pixels),
        "codes": every.numel(),
        "near_ties": near_ties,
        "differing_codes": differing,
        "largest_decoder_difference": largest,
    }
    return facts, every


def _margins(tokenizer: VQVAE, images: Tensor) -> Tensor:
    """Return which positions a relative error of 1e-5 of z_e could give another code, bool [B, h, w]."""
    z_e = tokenizer.encoder(images)
    size = z_e.square().sum(1).flatten(1).mean(1).sqrt()
    return tokenizer.quantizer.is_ambiguous(z_e, 1e-5 * size)


def _differences(exact: Tensor, exported: Tensor, first: int, ambiguous: Tensor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for image, row, column, place in (exact != exported).nonzero().tolist():
        found.append({
            "image": first + image,
            "at": [row, column, place],
            "exact": int(exact[image, row, column, place]),
            "exported": int(exported[image, row, column, place]),
            "near_tie": bool(ambiguous[image, row, column]),
        })  # fmt: skip
    return found


@torch.no_grad()
def certify_prior(run: Mapping[str, RunGraph], prior: Prior, codes: Tensor) -> dict[str, Any]:
    """Compare the exported prior with the prior: logits of codes, and samples drawn with one seed.

    Args:
        run: the opened files of ``prior_graphs``.
        prior: in eval mode, on the CPU.
        codes: int64 [N, h, w, n].

    Returns:
        The facts for the certificate.
    """
    exported = SteppedPrior(run, prior)
    labels = torch.arange(len(codes)) % prior.num_classes if prior.num_classes else None
    largest = 0.0
    for rows in torch.arange(len(codes)).split(_BATCH):
        own = None if labels is None else labels[rows]
        largest = max(largest, float((exported(codes[rows], own) - prior(codes[rows], own)).abs().max()))
    drawn_labels = torch.arange(_DRAWN) % prior.num_classes if prior.num_classes else None
    drawn = sample(exported, _DRAWN, labels=drawn_labels)
    equal = (drawn == prior.sample(_DRAWN, labels=drawn_labels)).flatten(1).all(1)
    return {
        "images": len(codes),
        "largest_logit_difference": largest,
        "samples": _DRAWN,
        "equal_samples": int(equal.sum()),
    }
