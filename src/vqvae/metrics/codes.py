"""Metrics of codes: which codes are used, and how close the codebook's vectors are to the latents."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vqvae.metrics.accumulator import Accumulator
from vqvae.metrics.batch import Batch, Models
from vqvae.quantizers import ProjectedQuantizer

_MOST_LISTED = 2**20  # codes of a larger codebook are not listed one by one


class CodeCounts:
    """How often each code was chosen. Memory grows with the number of codes in use, not with K.

    Args:
        num_codes: K.
    """

    def __init__(self, num_codes: int) -> None:
        self.num_codes = num_codes
        self.codes = torch.zeros(0, dtype=torch.int64)  # the codes that were chosen so far
        self.times = torch.zeros(0, dtype=torch.int64)

    def add(self, codes: Tensor) -> None:
        """Count codes, int64 of any shape."""
        found, times = codes.flatten().cpu().unique(return_counts=True)
        self.codes, where = torch.cat([self.codes, found]).unique(return_inverse=True)
        both = torch.cat([self.times, times])
        self.times = torch.zeros(len(self.codes), dtype=torch.int64).index_add_(0, where, both)

    @property
    def counts(self) -> Tensor:
        """How often each code was chosen, int64 [K]; int64 [0] if K is above 2^20."""
        if self.num_codes > _MOST_LISTED:
            return torch.zeros(0, dtype=torch.int64)
        return torch.zeros(self.num_codes, dtype=torch.int64).index_add_(0, self.codes, self.times)

    @property
    def counted(self) -> int:
        """The number of codes added."""
        return int(self.times.sum())

    @property
    def dead(self) -> int:
        """The number of codes never chosen."""
        return self.num_codes - len(self.codes)

    @property
    def perplexity(self) -> float:
        """The effective number of codes in use, 2 to the entropy in bits: 1..K."""
        share = self.times.double() / self.times.sum()
        return float(torch.exp(-torch.xlogy(share, share).sum()))

    @property
    def usage(self) -> float:
        """The fraction of the K codes that was chosen at least once, in [0, 1]."""
        return len(self.codes) / self.num_codes


class CodeUse(Accumulator):
    """Perplexity and usage of the codes; with several codes per position, also of each level.

    The levels are the n codes of a position: the depths of a residual quantizer, the groups of a grouped one.
    """

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        tokenizer = models.tokenizer
        self.all = CodeCounts(tokenizer.num_codes)
        self.levels = [CodeCounts(size) for size in tokenizer.code_sizes]

    def add(self, batch: Batch) -> None:
        """Count a batch's codes."""
        self.all.add(batch.codes)
        for level, codes in zip(self.levels, batch.codes.unbind(3), strict=True):
            level.add(codes)

    def result(self) -> Mapping[str, float | None]:
        """Return ``perplexity``, ``usage``, ``dead_codes``, ``counted``; ``usage_1``, ... of levels."""
        found: dict[str, float | None] = {
            "perplexity": self.all.perplexity,
            "usage": self.all.usage,
            "dead_codes": float(self.all.dead),
            "counted": float(self.all.counted),
        }
        for number, level in enumerate(self.levels if len(self.levels) > 1 else [], start=1):
            found |= {f"usage_{number}": level.usage, f"perplexity_{number}": level.perplexity}
        return found


class QuantizationError(Accumulator):
    """The sum of |z_e - z_q|^2 divided by the sum of |z_e - mean z_e|^2.

    The value is 0 if all codes are exact, and 1 if they are no better than a single code. It is meaningful for
    quantizers whose z_q approximates z_e (``vq``, ``ema``, ``simvq``, and stacks of them). A quantizer that bounds
    or normalises z_e, or draws its codes, adds the change of z_e to the value. For a projected quantizer, the
    projected latents are compared.
    """

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        self.error, self.vectors = 0.0, 0
        self.sum = self.squares = torch.zeros(())

    def add(self, batch: Batch) -> None:
        """Add a batch's squared distances."""
        z_e, quantizer = batch.latents, self.models.tokenizer.quantizer
        while isinstance(quantizer, ProjectedQuantizer):  # its z_q does not approximate z_e
            z_e, quantizer = quantizer.low(z_e), quantizer.inner
        z_q = quantizer.embed(batch.codes)
        latents, z_q = (z.permute(0, 2, 3, 1).flatten(0, 2).cpu().double() for z in (z_e, z_q))
        self.error += float((latents - z_q).square().sum())
        self.vectors += len(latents)
        self.sum = self.sum + latents.sum(0)
        self.squares = self.squares + latents.square().sum(0)

    def result(self) -> Mapping[str, float | None]:
        """Return ``quantization_error``."""
        if not self.vectors:
            return {"quantization_error": None}
        variance = float((self.squares - self.sum.square() / self.vectors).sum())
        return {"quantization_error": self.error / max(variance, 1e-12)}
