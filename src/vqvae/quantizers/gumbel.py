"""The discrete VAE's quantizer: a relaxed sample of a categorical posterior (arXiv 1611.01144, 2102.12092)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae import noise
from vqvae.component import Advice, Count, NotNegative, Positive
from vqvae.distributed import rows_before
from vqvae.quantizers.base import NumCodes, QuantizerConfig
from vqvae.quantizers.float32 import KeepFloat32
from vqvae.quantizers.layout import (
    RankShare,
    each_vector,
    embed_codes,
    map_of,
    positions_of,
    rows_that_count,
    straight_through,
    vectors_of,
)
from vqvae.quantizers.update_counter import UpdateCounter, learns
from vqvae.tensors import Quantized

_CACHED = 1 << 15  # float64 numbers


class GumbelQuantizer(KeepFloat32):
    """Logits from a 1x1 map, a code drawn by Gumbel noise in training and the likeliest one in eval.

    With l = W z_e + b and Gumbel noise g, a function of (seed, updates, row)::

        k   = argmax_j (l_j + g_j)              a sample of softmax(l); g = 0 in eval
        z_q = e_k                               with the gradient of sum_j softmax((l + g) / T)_j e_j
        codebook_loss = kl_weight KL(softmax(l) || uniform) = kl_weight (log K - H)
        T(t) = start (final / start)^min(1, t / anneal_updates)    t the number of updates

    z_q is a code in training too (the straight-through form), so the decoder sees what it will see. The KL, in
    nats a code, stands in ``codebook_loss`` with its own weight, since it is no commitment: beta 0.25 of it would
    drown the reconstruction, which is a mean over elements. commitment_loss is 0. Micro-batches of one update see
    the same noise. When to choose it: to compare with a dVAE, or where a posterior with a width is wanted;
    its N x K relaxation is slower and larger than any other quantizer here.

    Args:
        num_codes: K.
        dim: D, of a code and of z_e.
        kl_weight: of the KL.
        start_temperature: T at the first update.
        final_temperature: T from ``anneal_updates`` on.
        anneal_updates: updates of the fall.
        forwards_per_update: training forwards that one update spans (gradient accumulation).
        seed: of the noise.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(QuantizerConfig):
        """Settings of the class."""

        kind: Literal["gumbel"] = "gumbel"
        num_codes: NumCodes = 512
        dim: Count = 64
        kl_weight: NotNegative = 5e-4
        start_temperature: Positive = 1.0
        final_temperature: Positive = 1 / 16
        anneal_updates: Count = 10_000

        def build(self, *, forwards_per_update: int = 1, seed: int = 0) -> "GumbelQuantizer":
            """Make the quantizer."""
            return GumbelQuantizer(**self.settings(), forwards_per_update=forwards_per_update, seed=seed)

        def advice(self, key: str) -> Advice:
            """Return how to bring more codes into use."""
            return Advice("ask for more even use", {f"{key}.kl_weight": f"{max(1e-3, 4 * self.kl_weight):.3g}"})

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        kl_weight: float = Config.kl_weight,
        start_temperature: float = Config.start_temperature,
        final_temperature: float = Config.final_temperature,
        anneal_updates: int = Config.anneal_updates,
        forwards_per_update: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.codes_per_position = 1
        self.channels = dim
        self.kl_weight = kl_weight
        self.start_temperature = start_temperature
        self.final_temperature = final_temperature
        self.anneal_updates = anneal_updates
        self.seed = seed
        self.to_logits = nn.Linear(dim, num_codes)
        self.codebook = nn.Parameter(torch.randn(num_codes, dim))
        self.update_counter = UpdateCounter(forwards_per_update)

    @property
    def temperature(self) -> float:
        """T after the updates so far."""
        progress = min(1.0, int(self.update_counter.updates) / self.anneal_updates)
        return self.start_temperature * (self.final_temperature / self.start_temperature) ** progress

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Quantized:
        """Quantize z_e, float [B, D, h, w]; positions where mask, bool [B, h, w], is False are not in the KL."""
        if learns(self):
            if self.update_counter.due:
                self.update()
            self.update_counter.forwards += 1
        latents = vectors_of(z_e, 1)
        counted = rows_that_count(latents, mask)
        with torch.autocast(z_e.device.type, enabled=False):
            # 0 for what does not count: a NaN there would reach the map's gradient, 0 * NaN being NaN
            logits = self.to_logits(torch.where(latents.isfinite(), latents, 0.0))
            noisy = logits + self._gumbel(logits) if self.training else logits
            codes = noisy.argmax(1)
            soft = F.softmax(noisy / self.temperature, dim=1) @ self.codebook
        return Quantized(
            z_q=map_of(straight_through(soft, F.embedding(codes, self.codebook)), z_e),
            codes=codes.view(len(z_e), *z_e.shape[2:], 1),
            codebook_loss=self.kl_weight * self._kl(logits, counted),
            commitment_loss=logits.new_zeros(()),
        )

    def _gumbel(self, like: Tensor) -> Tensor:
        # of (row of all ranks' rows, code); a few rows at a time stay in the cache, as cheap as a generator's
        device = torch.device("cpu") if like.device.type == "mps" else like.device  # float64
        key = int(noise.random_bits(self.seed, int(self.update_counter.updates)))
        first, codes = rows_before(len(like)), torch.arange(self.num_codes, device=device)
        few = max(1, (_CACHED if device.type == "cpu" else 64 * _CACHED) // self.num_codes)
        parts = [
            noise.uniform(key, rows[:, None], codes).log_().neg_().log_().neg_().to(like)
            for rows in torch.arange(first, first + len(like), device=device).split(few)
        ]
        return torch.cat(parts)

    def _kl(self, logits: Tensor, counted: Tensor) -> Tensor:
        log_p = F.log_softmax(logits, dim=1)
        kl = (log_p.exp() * log_p).sum(1) + math.log(self.num_codes)
        return torch.where(counted, kl, 0.0).sum() / RankShare.of(counted, training=self.training).divisor

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float32 [B, D, h, w], of codes, int64 [B, h, w, 1]; no gradient reaches the codebook."""
        return embed_codes(codes, self.codebook.detach())

    def is_ambiguous(self, z_e: Tensor, tolerance: Tensor) -> Tensor:
        """Say where a change of z_e of at most tolerance, float [B], could give another code: bool [B, h, w]."""
        latents, weight = vectors_of(z_e, 1), self.to_logits.weight
        best = self.to_logits(latents).topk(2, dim=1).values
        longest = weight.norm(dim=1).amax()
        rounding = torch.finfo(torch.float32).eps * (weight.shape[1] + 4) * longest * latents.norm(dim=1)
        reach = 2 * (longest * each_vector(tolerance, latents) + rounding)
        return positions_of(~(best[:, 0] - best[:, 1] > reach), z_e)

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Count the update: noise and temperature are functions of the count. Returns the ``temperature``."""
        return {"temperature": torch.tensor(self.temperature)} if self.update_counter.tick() else {}
