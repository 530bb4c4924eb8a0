"""Rate and distortion: the bits of the codes, and what the first codes of each position give."""

from collections.abc import Mapping
from math import log2, prod

import torch
from torch import Tensor

from vqvae.metrics.accumulator import Accumulator
from vqvae.metrics.batch import Batch, Models
from vqvae.metrics.bits import bits
from vqvae.metrics.images import psnr


class RateByDepth(Accumulator):
    """The bits of an image's codes in a file; of a residual quantizer, also the rate and the PSNR of each depth.

    At depth D, the first D codes of each position are decoded. Their rate is what these codes take in a file:
    -log2 p(code | all codes before it) under the learned prior, or log2 K without one.
    """

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        depths = models.tokenizer.depths
        self.depths = depths if len(depths) > 1 else []
        self.images, self.dimensions = 0, 0
        self.bits = torch.zeros(models.tokenizer.codes_per_position, dtype=torch.float64)  # of each place
        self.psnr = dict.fromkeys(self.depths, 0.0)

    def add(self, batch: Batch) -> None:
        """Add a batch's bits and PSNR."""
        self.images += len(batch)
        self.dimensions += batch.pixels.numel()
        self.bits += self._bits(batch)
        for depth in self.depths:
            shown = self.models.tokenizer.decode(batch.codes[..., :depth]).cpu()
            self.psnr[depth] += float(psnr(batch.pixels, shown).sum())

    def _bits(self, batch: Batch) -> Tensor:
        """Return the bits of the codes of each place of a position, float64 [n]."""
        nats = batch.code_nats
        if nats is None:
            each = prod(batch.codes.shape[:3]) * log2(self.models.tokenizer.num_codes)
            return torch.full_like(self.bits, each)
        return nats.cpu().double().sum((0, 1, 2)) * bits(1.0)

    def result(self) -> Mapping[str, float | None]:
        """Return ``code_bits_per_dim``, and ``code_bits_per_dim_D`` and ``psnr_D`` of depths D."""
        rates = (self.bits.cumsum(0) / max(1, self.dimensions)).tolist()
        found: dict[str, float | None] = {"code_bits_per_dim": rates[-1]}
        for depth in self.depths:
            found[f"code_bits_per_dim_{depth}"] = rates[depth - 1]
            found[f"psnr_{depth}"] = self.psnr[depth] / self.images if self.images else None
        return found
