"""The codes of images, written or read under a prior."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqvae.coding.integer import IntegerPrior
from vqvae.coding.range_coder import MOST_CODES, TOTAL, Coder
from vqvae.errors import UserError
from vqvae.priors import Prior
from vqvae.tensors import CodeSpec


@torch.no_grad()
def code_codes(
    coder: Coder,
    spec: CodeSpec,
    *,
    count: int,
    prior: Prior | IntegerPrior | None,
    codes: Tensor | None = None,
) -> Tensor:
    """Write the codes of some images and return them; or read and return them.

    A prior in floating point runs place by place, through its cache, in both directions alike. So the numbers are
    equal in both, on one machine; a whole pass of the network would round differently. A prior in integer form
    computes the same numbers either way.

    Args:
        coder: the writer or the reader.
        spec: shape and range of the codes of an image.
        count: number of images B, which are coded side by side.
        prior: the prior, without a class, in floating point or in integer form; None for the uniform prior.
        codes: int64 [B, h, w, n]; None to read them.

    Raises:
        UserError: for more codes than the range coder can tell apart.
        FormatError: when a reader's bytes do not decode.
    """
    check_count(spec.num_codes)
    if isinstance(prior, IntegerPrior):
        weights = prior.frequencies(count, spec.grid, codes)
    else:
        weights = _uniform(count, spec.num_codes) if prior is None else _learned(prior, count, spec.grid)
    given = None if codes is None else codes.reshape(count, -1).to(torch.int32).numpy()
    found = np.empty((count, spec.codes_per_image), np.int32)
    previous: Tensor | None = None
    for place in range(spec.codes_per_image):
        column = None if given is None else np.ascontiguousarray(given[:, place])
        found[:, place] = coder.symbols(weights(previous), column)
        previous = torch.from_numpy(found[:, place].astype(np.int64))
    return torch.from_numpy(found.astype(np.int64)).view(count, *spec.shape)


def check_count(num_codes: int) -> None:
    """Raise UserError for more codes K than the range coder can tell apart."""
    if num_codes > MOST_CODES:
        raise UserError(f"K = {num_codes:,} codes: files can hold codes of up to K = {MOST_CODES:,}")


@torch.no_grad()
def code_bits(prior: IntegerPrior, codes: Tensor) -> tuple[float, str]:
    """Return the bits that codes take under a prior's integer form, and the SHA-256 of all frequencies.

    Args:
        prior: the prior.
        codes: int64 [B, h, w, n].

    Returns:
        The bits, without the overhead of a file, and the digest of the frequencies as int32 [P, B, K], the lowest
        byte first: one [B, K] for each of the P codes of an image.
    """
    count, height, width, _ = codes.shape
    weights = prior.frequencies(count, (height, width), codes)
    flat, bits, digest = codes.flatten(1).T, 0.0, hashlib.sha256()
    for place, own in enumerate(flat.numpy()):
        found = weights(flat[place - 1] if place else None)
        digest.update(found.astype("<i4").tobytes())
        bits -= float(np.log2(found[np.arange(count), own] / TOTAL).sum())
    return bits, digest.hexdigest()


def _uniform(count: int, num_codes: int) -> Callable[[Tensor | None], NDArray[np.float64]]:
    weights = np.ones((count, num_codes))
    return lambda previous: weights


def _learned(prior: Prior, count: int, grid: tuple[int, int]) -> Callable[[Tensor | None], NDArray[np.float64]]:
    cache = prior.start(count, grid)
    return lambda previous: prior.step(cache, previous).double().softmax(1).numpy()
