"""The codebook as running means of what chose each code (arXiv 1711.00937, appendix A.1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.quantizers.layout import embed_codes, straight_through, vectors_of
from vqvae.quantizers.nearest import nearest_code
from vqvae.quantizers.upkeep import Upkeep
from vqvae.tensors import Quantized


class EMAQuantizer(nn.Module):
    """Nearest code, straight-through gradient, and a codebook of exponential moving averages.

    With n_i vectors z_ij of the batch at code i (appendix A.1, equations 6 to 8)::

        N_i <- gamma N_i + (1 - gamma) n_i
        m_i <- gamma m_i + (1 - gamma) sum_j z_ij
        e_i <- m_i / N_i

    It replaces the codebook loss, which is 0 here. When to choose it: nearly always; it is online k-means, needs
    no learning rate, and keeps more codes in use than the gradient. The codebook changes in ``update`` alone,
    as ``VectorQuantizer`` explains.

    Args:
        num_codes: K.
        dim: D, of a code.
        codes_per_position: n, the codes at each position, all from the one codebook; z_e has n*D channels.
        decay: gamma, in [0, 1).
        forwards_per_update: training forwards that one update spans (gradient accumulation).
        revive_every: updates between revivals of dead codes; 0 never revives.
        revive_below: a code is dead below this share of the mean use.
        seed: of the start and the revivals.
    """

    codebook: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codes_per_position: int = 1,
        decay: float = 0.99,
        forwards_per_update: int = 1,
        revive_every: int = 20,
        revive_below: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.codes_per_position = codes_per_position
        self.channels = codes_per_position * dim
        self.decay = decay
        self.forwards_per_update = forwards_per_update
        self.register_buffer("codebook", torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", self.codebook.clone())
        self.upkeep = Upkeep(num_codes, seed=seed, revive_every=revive_every, revive_below=revive_below)
        self._noted: list[tuple[Tensor, Tensor]] = []

    def forward(self, z_e: Tensor) -> Quantized:
        """Quantize z_e, float [B, n*D, h, w]."""
        latents = vectors_of(z_e, self.codes_per_position)
        if self.training:
            self._before(latents)
        codes = nearest_code(latents, self.codebook)  # equation 1
        e = F.embedding(codes, self.codebook)
        if self.training:
            self._noted.append((latents.detach(), codes))
        codes = codes.view(len(z_e), *z_e.shape[2:], self.codes_per_position)
        return Quantized(
            z_q=straight_through(z_e, self.embed(codes)),  # equation 2
            codes=codes,
            codebook_loss=latents.new_zeros(()),
            commitment_loss=F.mse_loss(latents, e),  # equation 3, third term without beta
        )

    def _before(self, latents: Tensor) -> None:
        if len(self._noted) >= self.forwards_per_update:
            self.update()
        if self.upkeep.start(self.codebook, latents):
            self._restart(slice(None))

    def _restart(self, codes: Tensor | slice) -> None:
        # codebook, counts and sums change together, or stale sums would pull a revived code back to its grave
        self.counts[codes] = 1.0
        self.sums[codes] = self.codebook[codes]

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float [B, n*D, h, w], of codes, int64 [B, h, w, n]."""
        return embed_codes(codes, self.codebook)

    @torch.no_grad()
    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Average the noted latents in and revive dead codes. Returns ``revived``; nothing noted, nothing done."""
        if not self._noted:
            return {}
        latents, codes = (torch.cat(parts) for parts in zip(*self._noted, strict=True))
        self._noted.clear()
        n = torch.bincount(codes, minlength=self.num_codes)
        self.upkeep.count(n)
        z = torch.zeros_like(self.sums).index_add_(0, codes, latents)
        self.counts.lerp_(n.float(), 1 - self.decay)  # equation 6
        self.sums.lerp_(z, 1 - self.decay)  # equation 7
        # equation 8; an unused code's N and m shrink alike and leave e where it is, so it is not divided anew:
        # after thousands of such steps both underflow
        self.codebook.copy_(torch.where(n[:, None] > 0, self.sums / self.counts[:, None], self.codebook))
        if not revive:
            return {}
        dead, restart = self.upkeep.revivals(latents)
        self.codebook[dead] = restart
        self._restart(dead)
        return {"revived": torch.tensor(len(dead))}
