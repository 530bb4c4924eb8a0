"""The integer form of a tokenizer and its prior: its whole numbers, and what it costs in bits."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from vqvae.coding import code_bits, pixel_bits
from vqvae.coding.integer import IntegerPixels, IntegerPrior
from vqvae.coding.integer.tables import tables
from vqvae.metrics.bits import bits
from vqvae.models import VQVAE
from vqvae.priors import Prior
from vqvae.progress import Progress, silent

_BATCH = 64


def whole_numbers(pixels: IntegerPixels | None, prior: IntegerPrior | None) -> dict[str, Tensor]:
    """Return the weights and tables of integer forms, int32 or int64, by name; and codebooks, float32.

    Args:
        pixels: decoder and likelihood of the tokenizer; None to leave them out.
        prior: the prior; None to leave it out.
    """
    found = {f"table.{name}": _smallest(table) for name, table in tables().items()}
    parts: dict[str, nn.Module] = {"prior": prior} if prior is not None else {}
    if pixels is not None:
        parts["decoder"] = pixels.decoder
        found |= {f"quantizer.{name}": tensor for name, tensor in pixels.quantizer.state_dict().items()}
    for part, module in parts.items():
        found |= {f"{part}.{name}": _smallest(tensor.long()) for name, tensor in module.state_dict().items()}
    return found


def _smallest(values: Tensor) -> Tensor:
    fits = not values.numel() or int(values.abs().max()) < 2**31
    return values.to(torch.int32) if fits else values


@torch.no_grad()
def certify_codes(
    prior: Prior, integer: IntegerPrior, codes: Tensor, progress: Progress = silent
) -> dict[str, Any]:
    """Measure what codes take under a prior without a class, in floating point and in integer form.

    Args:
        prior: the prior, in eval mode, on the CPU.
        integer: its integer form.
        codes: int64 [N, h, w, n].
        progress: called with the number of images done and of all images.

    Returns:
        The facts for the certificate.
    """
    floating, whole, digests, done = 0.0, 0.0, hashlib.sha256(), 0
    for part in codes.split(_BATCH):
        floating += bits(float(prior.code_nats(part).double().sum()))
        found, digest = code_bits(integer, part)
        whole, done = whole + found, done + len(part)
        digests.update(bytes.fromhex(digest))
        progress(done, len(codes))
    facts = {"images": len(codes), "codes": codes.numel(), **_cost(floating, whole)}
    return {**facts, "frequencies_sha256": digests.hexdigest()}


@torch.no_grad()
def certify_pixels(
    tokenizer: VQVAE, integer: IntegerPixels, codes: Tensor, pixels: Tensor, progress: Progress = silent
) -> dict[str, Any]:
    """Measure what pixels take given their codes, in floating point and in integer form.

    Args:
        tokenizer: in eval mode, on the CPU.
        integer: the integer form of its decoder and likelihood.
        codes: int64 [N, h, w, n].
        pixels: uint8 [N, C, H, W].
        progress: called with the number of images done and of all images.

    Returns:
        The facts for the certificate.
    """
    floating, whole, digest, done = 0.0, 0.0, hashlib.sha256(), 0
    for part, given in zip(codes.split(_BATCH), pixels.split(_BATCH), strict=True):
        floating += pixel_bits(tokenizer.likelihood, tokenizer.decode_parameters(part).double(), given)
        parameters = integer.parameters_of(part)
        whole, done = whole + pixel_bits(integer.likelihood, parameters, given), done + len(part)
        digest.update(parameters.to(torch.int32).numpy().astype("<i4").tobytes())
        progress(done, len(codes))
    facts = {"images": len(pixels), "values": pixels.numel(), **_cost(floating, whole)}
    return {**facts, "parameters_sha256": digest.hexdigest()}


def _cost(floating: float, whole: float) -> dict[str, float]:
    return {"bits": floating, "bits_integer": whole, "cost_percent": 100 * (whole / floating - 1)}
