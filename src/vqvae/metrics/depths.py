"""Rate and distortion: the bits of the codes, and what the first codes of each position give."""

from collections.abc import Mapping
from itertools import accumulate
from math import log2

import torch

from vqvae.metrics.accumulator import Accumulator
from vqvae.metrics.batch import Batch, Models
from vqvae.metrics.bits import bits
from vqvae.metrics.images import psnr


class RateByDepth(Accumulator):
    """The bits of an image's codes in a file; of a residual quantizer, also the rate and the PSNR of each depth.

    At depth D, the first D codes of each position are decoded. Their rate is what these codes take in a file:
    -log2 p(code | all codes before it) under the learned prior, and log2 K under the uniform prior, with the
    K of the code's layer.
    """

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        depths = models.tokenizer.depths
        self.depths = depths if len(depths) > 1 else []
        self.images, self.dimensions, self.positions = 0, 0, 0
        self.nats = torch.zeros(models.tokenizer.codes_per_position, dtype=torch.float64)  # of each place
        self.psnr = dict.fromkeys(self.depths, 0.0)

    def add(self, batch: Batch) -> None:
        """Add a batch's bits and PSNR."""
        self.images += len(batch)
        self.dimensions += batch.pixels.numel()
        self.positions += batch.codes[..., 0].numel()
        if batch.code_nats is not None:
            self.nats += batch.code_nats.cpu().double().sum((0, 1, 2))
        for depth in self.depths:
            shown = self.models.tokenizer.decode(batch.codes[..., :depth]).cpu()
            self.psnr[depth] += float(psnr(batch.pixels, shown).sum())

    def result(self) -> Mapping[str, float | None]:
        """Return ``bits_per_dim_codes_prior``; of each depth D, both rates and ``psnr_D``."""
        rates = [bits(nats) / max(1, self.dimensions) for nats in self.nats.cumsum(0).tolist()]
        uniform = [self.positions * each for each in accumulate(map(log2, self.models.tokenizer.code_sizes))]
        known = self.models.prior is not None
        found: dict[str, float | None] = {"bits_per_dim_codes_prior": rates[-1] if known else None}
        for depth in self.depths:
            found[f"kl_bits_per_dim_uniform_{depth}"] = uniform[depth - 1] / max(1, self.dimensions)
            found[f"bits_per_dim_codes_prior_{depth}"] = rates[depth - 1] if known else None
            found[f"psnr_{depth}"] = self.psnr[depth] / self.images if self.images else None
        return found
