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
from vqvae.quantizers.base import NumCodes, Quantizer, QuantizerConfig
from vqvae.quantizers.estimators import straight_through
from vqvae.quantizers.losses import RankShare, countable
from vqvae.quantizers.update_counter import UpdateCounter, not_compiled
from vqvae.tensors import Quantized

_CACHED = 1 << 15  # float64 numbers


class GumbelQuantizer(Quantizer):
    """Sample the code of a categorical posterior with Gumbel noise; in eval mode, take the most likely code.

    With l = W z_e + b and Gumbel noise g, a function of (seed, updates, row)::

        k   = argmax_j (l_j + g_j)              a sample of softmax(l); g = 0 in eval
        z_q = e_k                               with the gradient of sum_j softmax((l + g) / T)_j e_j
        codebook_loss = kl_weight KL(softmax(l) || uniform) = kl_weight (log K - H)
        T(t) = start (final / start)^min(1, t / anneal_updates)    t the number of updates

    z_q is a code in training too (the straight-through form), so the decoder sees the same vectors as in eval
    mode. The KL, in nats per code, is the ``codebook_loss``, with a weight of its own. It is not a commitment
    loss: beta 0.25 times the KL would outweigh the reconstruction, which is a mean over elements. commitment_loss
    is 0. All micro-batches of an update have the same noise. When to choose it: to compare with a dVAE, or for a
    posterior that is not one-hot. Its N x K relaxation is slower and needs more memory than any other quantizer
    here.

    Args:
        num_codes: number of codes K in the codebook.
        dim: number of dimensions D of a code and of z_e.
        kl_weight: weight of the KL divergence in the objective.
        start_temperature: temperature T of the softmax at the first update.
        final_temperature: temperature T of the softmax after ``anneal_updates`` updates.
        anneal_updates: number of updates in which the temperature falls from the first to the last.
        forwards_per_update: number of training forwards between two updates (gradient accumulation).
        seed: seed of the noise.
        channel_last: whether z_e is [B, *spatial, D] instead of [B, D, *spatial].

    Raises:
        ValueError: for an argument that the ``Config`` would refuse.
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

    no_residual_because = "its codes are chosen by logits, and no loss brings them near z_e"

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
        channel_last: bool = False,
    ) -> None:
        self.Config.check(
            num_codes=num_codes,
            dim=dim,
            kl_weight=kl_weight,
            start_temperature=start_temperature,
            final_temperature=final_temperature,
            anneal_updates=anneal_updates,
        )
        super().__init__(num_codes=num_codes, channels=dim, channel_last=channel_last)
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

    def quantize_vectors(self, vectors: Tensor, mask: Tensor | None) -> Quantized:
        """Quantize vectors, float32 [N, D]; the masked ones are not in the KL."""
        if self.training:
            self.update_counter.count_forward(self)
        counted = countable(vectors, mask)
        with torch.autocast(vectors.device.type, enabled=False):
            # 0 for what does not count: a NaN there would reach the map's gradient, 0 * NaN being NaN
            logits = self.to_logits(torch.where(vectors.isfinite(), vectors, 0.0))
            noisy = logits + self._gumbel(logits) if self.training else logits
            codes = noisy.argmax(1) if self.training else self.codes_of_vectors(vectors)[:, 0]
            soft = F.softmax(noisy / self._temperature(), dim=1) @ self.codebook
        return Quantized(
            z_q=straight_through(soft, F.embedding(codes, self.codebook)),
            codes=codes[:, None],
            codebook_loss=self.kl_weight * self._kl(logits, counted),
            commitment_loss=logits.new_zeros(()),
        )

    def codes_of_vectors(self, vectors: Tensor) -> Tensor:
        """Return the code of the largest logit, int64 [N, 1], for vectors, float32 [N, D].

        The logits are computed in float64. The sums of float32 logits are added in an order that differs between
        processors, so nearly equal logits could change places. Of logits that differ by no more than the rounding
        of float64, the first is taken. An exported graph (``torch.export``, ONNX) computes float32 logits.
        """
        finite = torch.where(vectors.isfinite(), vectors, 0.0)
        if torch.compiler.is_exporting():
            return self.to_logits(finite).argmax(1, keepdim=True)
        device = torch.device("cpu") if vectors.device.type == "mps" else vectors.device  # MPS has no float64
        tensors = (finite, self.to_logits.weight, self.to_logits.bias)
        x, weight, bias = (tensor.detach().to(device, torch.float64) for tensor in tensors)
        logits = torch.addmm(bias, x, weight.T)
        largest = logits.amax(1, keepdim=True)
        size = x.norm(dim=1, keepdim=True) * weight.norm(dim=1).amax() + bias.abs().amax()
        rounding = torch.finfo(torch.float64).eps * (self.channels + 4) * size
        return (logits >= largest - rounding).int().argmax(1, keepdim=True).to(vectors.device)

    def _temperature(self) -> float | Tensor:
        if not torch.compiler.is_compiling():
            return self.temperature
        progress = (self.update_counter.updates / self.anneal_updates).clamp(max=1.0)  # a graph has no int(tensor)
        return self.start_temperature * (self.final_temperature / self.start_temperature) ** progress

    @not_compiled
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

    def embed_vectors(self, codes: Tensor) -> Tensor:
        """Return the vectors, float32 [N, D], of codes, int64 [N, 1]; no gradient reaches the codebook."""
        return F.embedding(codes, self.codebook.detach()).flatten(1)

    def ambiguous_vectors(self, vectors: Tensor, tolerance: Tensor) -> Tensor:
        """Say which vectors [N, D] could get another code if they moved by the tolerance [N]: bool [N]."""
        weight = self.to_logits.weight
        best = self.to_logits(vectors).topk(2, dim=1).values
        longest = weight.norm(dim=1).amax()
        rounding = torch.finfo(torch.float32).eps * (weight.shape[1] + 4) * longest * vectors.norm(dim=1)
        return ~(best[:, 0] - best[:, 1] > 2 * (longest * tolerance + rounding))

    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Count the update: noise and temperature are functions of the count. Returns the ``temperature``."""
        return {"temperature": torch.tensor(self.temperature)} if self.update_counter.tick() else {}
