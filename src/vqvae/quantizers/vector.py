"""The paper's quantizer: a codebook learned by gradient (arXiv 1711.00937, equation 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.quantizers.layout import embed_codes, straight_through, vectors_of
from vqvae.quantizers.nearest import nearest_code
from vqvae.quantizers.upkeep import Upkeep
from vqvae.tensors import Quantized


class VectorQuantizer(nn.Module):
    """Nearest code, straight-through gradient, and a codebook pulled to the latents by its own loss term.

    ``forward`` in training mode notes which codes were chosen; ``update``, once an optimizer step, applies
    what was noted. The codebook never changes between a ``forward`` and its ``update``, so ``embed(codes)``
    equals ``z_q`` in training too. A loop that never calls ``update`` gets it at the next training ``forward``.

    Choose it to follow the paper to the letter; ``EMAQuantizer`` learns faster.

    Args:
        num_codes: K.
        dim: D, of a code.
        codes_per_position: n, the codes at each position, all from the one codebook; z_e has n*D channels.
        forwards_per_update: training forwards that one update spans (gradient accumulation).
        revive_every: updates between revivals of dead codes; 0 never revives.
        revive_below: a code is dead below this share of the mean use.
        seed: of the start and the revivals.
    """

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codes_per_position: int = 1,
        forwards_per_update: int = 1,
        revive_every: int = 20,
        revive_below: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.codes_per_position = codes_per_position
        self.channels = codes_per_position * dim
        self.forwards_per_update = forwards_per_update
        self.codebook = nn.Parameter(torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))
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
            codebook_loss=F.mse_loss(e, latents.detach()),  # equation 3, second term
            commitment_loss=F.mse_loss(latents, e.detach()),  # equation 3, third term without beta
        )

    def _before(self, latents: Tensor) -> None:
        if len(self._noted) >= self.forwards_per_update:
            self.update()
        self.upkeep.start(self.codebook, latents)

    def embed(self, codes: Tensor) -> Tensor:
        """Return z_q, float [B, n*D, h, w], of codes, int64 [B, h, w, n]."""
        return embed_codes(codes, self.codebook)

    @torch.no_grad()
    def update(self, *, revive: bool = True) -> dict[str, Tensor]:
        """Count the noted choices and revive dead codes; nothing noted, nothing done. Returns ``revived``."""
        if not self._noted:
            return {}
        latents, codes = (torch.cat(parts) for parts in zip(*self._noted, strict=True))
        self._noted.clear()
        self.upkeep.count(torch.bincount(codes, minlength=self.num_codes))
        if not revive:
            return {}
        dead, restart = self.upkeep.revivals(latents)
        self.codebook[dead] = restart
        return {"revived": torch.tensor(len(dead))}
