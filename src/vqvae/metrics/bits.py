"""Metrics in bits: -log2 p of codes and images under a uniform prior, unigram baselines and a learned prior."""

from collections.abc import Mapping
from math import log, log2, prod
from statistics import fmean

import torch
from torch import Tensor

from vqvae.metrics.accumulator import Accumulator
from vqvae.metrics.baselines import pooled, unigram_nats
from vqvae.metrics.batch import Batch, Models
from vqvae.models import uniform_prior_bits


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / log(2)


class CodeBits(Accumulator):
    """The mean of -log2 p(code) in bits, under the uniform prior, the unigram baselines and the learned prior.

    The unigram baselines need counts of training codes. Counts from a different grid are ignored.
    """

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        counts = models.code_counts
        self.counts = {} if counts is None else {"unigram": pooled(counts), "position_unigram": counts}
        self.nats: dict[str, float] = {}
        self.codes = 0

    def add(self, batch: Batch) -> None:
        """Add the nats of a batch's codes."""
        self.codes += batch.codes.numel()
        if batch.prior_nats is not None:
            self._add("prior", float(batch.prior_nats.sum()))
        grid = None if self.models.code_counts is None else self.models.code_counts.shape[:3]
        if grid == batch.codes.shape[1:]:
            for name, counts in self.counts.items():
                self._add(name, float(unigram_nats(batch.codes.cpu(), counts).sum()))

    def _add(self, name: str, nats: float) -> None:
        self.nats[name] = self.nats.get(name, 0.0) + nats

    def result(self) -> Mapping[str, float | None]:
        """Return ``bits_per_code_*``; None for a prior that is absent."""
        found: dict[str, float | None] = {
            "bits_per_code_uniform": fmean(map(log2, self.models.tokenizer.code_sizes))
        }
        for name in ("unigram", "position_unigram", "prior"):
            nats = self.nats.get(name)
            found[f"bits_per_code_{name}"] = None if nats is None else bits(nats) / self.codes
        return found


class ImageBits(Accumulator):
    """Bits per dimension: upper bounds on -log2 p(x) of an image, divided by its C*H*W elements.

    Codes are a function of the image, so p(x) >= p(x | z) p(z) and -log2 p(x) <= -log2 p(x | z) - log2 p(z).
    The first term is the bits of the pixels, the second the bits of the codes.

    To see whether the decoder uses the codes, the pixels of every image but the first are also measured given the
    codes of the image before it.
    """

    reads_likelihood = True

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        self.images = 0
        self.image_shape = (1, 1, 1)
        self.pixel_nats = 0.0
        self.prior_nats: float | None = None
        self.first_nats = 0.0  # of the first image, given its own codes
        self.other_nats = 0.0  # of all images but the first, given other codes
        self.last_codes: Tensor | None = None

    def add(self, batch: Batch) -> None:
        """Add the nats of a batch's pixels and codes."""
        self.images += len(batch)
        self.image_shape = tuple(batch.pixels.shape[1:])
        self.pixel_nats += float(batch.pixel_nats.sum())
        if batch.prior_nats is not None:
            self.prior_nats = (self.prior_nats or 0.0) + float(batch.prior_nats.sum())
        self._add_others(batch)

    def _add_others(self, batch: Batch) -> None:
        """Add the nats of pixels given the codes of the image before."""
        if self.last_codes is None:
            self.first_nats = float(batch.pixel_nats[0])
            codes, pixels = batch.codes[:-1], batch.pixels[1:]
        else:
            codes, pixels = torch.cat([self.last_codes, batch.codes[:-1]]), batch.pixels
        self.last_codes = batch.codes[-1:]
        tokenizer = self.models.tokenizer
        if len(codes):
            parameters = tokenizer.decode_parameters(codes)
            self.other_nats += float(tokenizer.likelihood.nats(parameters, pixels).sum())

    def result(self) -> Mapping[str, float | None]:
        """Return ``kl_bits_per_dim_uniform``, ``bits_per_dim_*``, ``code_share_*`` and ``code_gain``."""
        tokenizer = self.models.tokenizer
        spec = tokenizer.code_spec(*self.image_shape[1:])
        uniform = uniform_prior_bits(spec, self.image_shape, tokenizer.code_sizes)
        dimensions = max(1, self.images) * prod(self.image_shape)
        pixels = bits(self.pixel_nats) / dimensions
        prior = None if self.prior_nats is None else bits(self.prior_nats) / dimensions
        gained = bits(self.other_nats - self.pixel_nats + self.first_nats)
        others = (self.images - 1) * prod(self.image_shape)
        return {
            "bits_per_dim_pixels": pixels,
            "kl_bits_per_dim_uniform": uniform,
            "bits_per_dim_uniform": pixels + uniform,
            "bits_per_dim_prior": None if prior is None else pixels + prior,
            "code_share_uniform": uniform / (pixels + uniform),
            "code_share_prior": None if prior is None else prior / (pixels + prior),
            "code_gain": gained / others if others > 0 else None,
        }
