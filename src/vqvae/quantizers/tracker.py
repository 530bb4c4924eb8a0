"""Keep a codebook in use: start it from data, and revive codes that are hardly ever chosen."""

import torch
from torch import Tensor, nn

from vqvae import noise
from vqvae.distributed import gather_rows
from vqvae.quantizers.update_counter import UpdateCounter, forget_before_loading


def starting_codes(latents: Tensor, count: int, *keys: int) -> Tensor:
    """Draw ``count`` starting codes, float [count, D], from latents [N, D].

    Every latent is drawn once before any is drawn again. A latent that is drawn again is moved by 1 % of the
    spread of the latents, since equal codes would stay equal.
    """
    device, latents = latents.device, latents.cpu()  # called rarely; the noise is float64, which MPS lacks
    latents = latents.unique(dim=0)  # plain backgrounds repeat a latent many times
    order = noise.permutation(len(latents), *keys)
    repeats = -(-count // len(latents))
    picked = latents[order.repeat(repeats)[:count]]
    if repeats > 1:
        row, column = torch.arange(count), torch.arange(latents.shape[1])
        jitter = noise.uniform(*keys, row[:, None], column[None, :]).to(latents.dtype) - 0.5
        # if all latents are equal: a spread that is not lost by rounding
        spread = latents.std(0, correction=0).clamp(min=1e-4).maximum(1e-4 * latents.abs().amax(0))
        picked = picked + 0.01 * spread * jitter * (row >= len(latents))[:, None]
    return picked.to(device)


class CodebookTracker(nn.Module):
    """Records which codes a batch chose, starts the codebook from data, and decides which codes to revive.

    Random choices are a function of (seed, number of updates) and of the set of all ranks' latents. So a resumed
    run makes the same choices, and several ranks make the choices of one process.

    Args:
        num_codes: number of codes K.
        seed: seed of all random choices.
        revive_every: number of updates between revivals; 0 never revives.
        revive_below: a code is dead if it was chosen less often than ``revive_below`` times the mean use of a code
            since the last revival.
        forwards_per_update: the number of training forwards between two updates (gradient accumulation).

    Attributes:
        started: bool scalar, whether the codebook was started, from data or by ``set_codebook``.
        updates: int64 scalar, number of updates.
        recent: int64 [K], how often each code was chosen since the last revival.
        frozen: bool [K], the codes that do not change: they are not started, trained or revived.
    """

    started: Tensor
    updates: Tensor
    recent: Tensor
    frozen: Tensor

    def __init__(
        self,
        num_codes: int,
        *,
        seed: int,
        revive_every: int,
        revive_below: float,
        forwards_per_update: int = 1,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.revive_every = revive_every
        self.revive_below = revive_below
        self.forwards_per_update = forwards_per_update
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("updates", torch.tensor(0))
        self.register_buffer("recent", torch.zeros(num_codes, dtype=torch.int64))
        self.register_buffer("frozen", torch.zeros(num_codes, dtype=torch.bool))
        self.register_load_state_dict_pre_hook(forget_before_loading)
        self._noted: list[tuple[Tensor, Tensor]] = []

    @property
    def due(self) -> bool:
        """Whether an update should come before the next training forward."""
        return len(self._noted) >= self.forwards_per_update

    def note(self, latents: Tensor, codes: Tensor, counted: Tensor) -> None:
        """Keep latents [N, D] and their codes [N] for the next update, where ``counted``, bool [N], is True."""
        latents = latents.detach()
        self._noted.append((latents, codes) if counted.all() else (latents[counted], codes[counted]))

    def take(self) -> tuple[Tensor, Tensor] | None:
        """Return the noted latents and codes, and forget them; None where nothing was noted."""
        if not self._noted:
            return None
        if len(self._noted) == 1:
            return self._noted.pop()
        latents, codes = (torch.cat(parts) for parts in zip(*self._noted, strict=True))
        self._noted.clear()
        return latents, codes

    def forget(self) -> None:
        """Discard the records."""
        self._noted.clear()

    def noted(self) -> list[Tensor]:
        """Return the latents noted since the last update."""
        return [latents for latents, _ in self._noted]

    def start(self, codebook: Tensor, latents: Tensor) -> bool:
        """Copy starting codes from the first batch of all ranks into the codebook; say whether that happened."""
        if self.started or self.frozen.all():
            return False
        latents = gather_rows(latents.detach())
        if not len(latents):
            return False
        starts = starting_codes(latents, len(codebook), self.seed, 0)
        codebook.data.copy_(torch.where(self.frozen[:, None], codebook.data, starts))
        self.started.fill_(True)
        return True

    def count(self, counts: Tensor) -> None:
        """Add how often each code was chosen on all ranks since the last update, int64 [K]."""
        self.recent += counts
        self.updates += 1

    def revivals(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the dead codes, int64 [R], and where they start again, float [R, D], drawn from all latents."""
        updates = int(self.updates)
        if not self.revive_every or updates % self.revive_every:
            return self.updates.new_empty(0), latents[:0]
        dead = self.recent < self.revive_below * self.recent.sum() / len(self.recent)
        self.recent.zero_()
        codes = (dead & ~self.frozen).nonzero().squeeze(1)
        if not len(codes):  # the same on every rank, since all of them have the same counts
            return codes, latents[:0]
        return codes, starting_codes(gather_rows(latents), len(codes), self.seed, updates)


def forget(model: nn.Module) -> None:
    """Discard what a model's quantizers recorded since their last update."""
    for part in model.modules():
        if isinstance(part, CodebookTracker | UpdateCounter):
            part.forget()


def statistic_of(model: nn.Module) -> Tensor:
    """Return a scalar that is finite if a model's buffers, and all that was noted for their update, are finite.

    It is the sum of all magnitudes, so the sums that the next update makes of them cannot overflow either.
    """
    held = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    for part in model.modules():
        held += part.noted() if isinstance(part, CodebookTracker) else []
    return torch.stack(torch._foreach_norm(held, 1)).sum()  # pyright: ignore[reportPrivateImportUsage]
