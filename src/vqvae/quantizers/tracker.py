"""What keeps a codebook from collapsing: it starts from data, and codes that nothing chooses start again."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from vqvae import noise
from vqvae.distributed import gather_rows
from vqvae.quantizers.update_counter import UpdateCounter


def starting_codes(latents: Tensor, count: int, *keys: int) -> Tensor:
    """Draw ``count`` starting codes, float [count, D], from latents [N, D]: distinct values while they last.

    A value that serves twice is moved by 1 % of the latents' spread, for equal codes would never part.
    """
    device, latents = latents.device, latents.cpu()  # rare, and the noise is float64, which MPS has not
    latents = latents.unique(dim=0)  # plain backgrounds repeat a latent many times
    order = noise.permutation(len(latents), *keys)
    repeats = -(-count // len(latents))
    picked = latents[order.repeat(repeats)[:count]]
    if repeats > 1:
        row, column = torch.arange(count), torch.arange(latents.shape[1])
        jitter = noise.uniform(*keys, row[:, None], column[None, :]).to(latents.dtype) - 0.5
        # where all latents are equal, enough of a spread to survive their rounding
        spread = latents.std(0, correction=0).clamp(min=1e-4).maximum(1e-4 * latents.abs().amax(0))
        picked = picked + 0.01 * spread * jitter * (row >= len(latents))[:, None]
    return picked.to(device)


class CodebookTracker(nn.Module):
    """Notes what a batch chose, and says when a codebook starts and which of its codes to revive.

    Random choices are a function of (seed, number of updates) and of the latents as a set, whichever rank has
    which, so a resumed run makes the same ones, and several ranks those of one process.

    Args:
        num_codes: K.
        seed: of every random choice.
        revive_every: updates between revivals; 0 never revives.
        revive_below: a code dies when, since the last revival, it was chosen less often than this share of
            the mean over codes.
        forwards_per_update: training forwards that one update spans (gradient accumulation).

    Attributes:
        frozen: bool [K], codes that nothing may move: no start, no learning, no revival.
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
        self.register_load_state_dict_pre_hook(_with_nothing_frozen)
        self._noted: list[tuple[Tensor, Tensor]] = []

    @property
    def due(self) -> bool:
        """Whether an update should come before the next training forward."""
        return len(self._noted) >= self.forwards_per_update

    def note(self, latents: Tensor, codes: Tensor, counted: Tensor) -> None:
        """Keep latents [N, D] and their codes [N] for the next update, those marked in bool [N]."""
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
        """Forget what was noted."""
        self._noted.clear()

    def noted(self) -> list[Tensor]:
        """Return the latents noted since the last update."""
        return [latents for latents, _ in self._noted]

    def start(self, codebook: Tensor, latents: Tensor) -> bool:
        """On the first batch of all ranks, copy starting codes from it into the codebook; say whether it did."""
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
        """Add one update's choices on all ranks, int64 [K]."""
        self.recent += counts
        self.updates += 1

    def revivals(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes to revive, int64 [R], and where they restart, float [R, D], among all latents."""
        updates = int(self.updates)
        if not self.revive_every or updates % self.revive_every:
            return self.updates.new_empty(0), latents[:0]
        dead = self.recent < self.revive_below * self.recent.sum() / len(self.recent)
        self.recent.zero_()
        codes = (dead & ~self.frozen).nonzero().squeeze(1)
        if not len(codes):  # so on every rank: uses, updates and what is frozen are the same on all
            return codes, latents[:0]
        return codes, starting_codes(gather_rows(latents), len(codes), self.seed, updates)


def forget(model: nn.Module) -> None:
    """Undo what a model's quantizers noted in training forwards since their last update."""
    for part in model.modules():
        if isinstance(part, CodebookTracker | UpdateCounter):
            part.forget()


def statistic_of(model: nn.Module) -> Tensor:
    """Return a scalar that is finite if a model's buffers and all that was noted for their update are.

    It is the sum of all magnitudes, so sums that the next update makes of them cannot overflow either.
    """
    held = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    for part in model.modules():
        held += part.noted() if isinstance(part, CodebookTracker) else []
    return torch.stack(torch._foreach_norm(held, 1)).sum()  # pyright: ignore[reportPrivateImportUsage]


def _with_nothing_frozen(tracker: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    # a file from before codes could be frozen
    state.setdefault(prefix + "frozen", torch.zeros_like(cast(CodebookTracker, tracker).frozen))
