"""The cache of a prior: its network runs once at each position, its head once for each code of a position."""

from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from vqvae.priors.codes import CodeEmbedding, CodeHead


class Cache(Protocol):
    """Several grids of codes that are filled code by code, all at the same place."""

    def step(self, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K].

        Args:
            previous: int64 [B], the code before the next code; None at the first code.
        """
        ...


class Positions(Protocol):
    """The network of a prior, run at one position after the other in raster order."""

    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width]; the next call may overwrite them.

        Args:
            embedded: [B, width], the embedding of the codes at the position before it; None at the first.
        """
        ...


class PriorCache:
    """Run the network one position at a time, and the head one code of the position at a time.

    Args:
        positions: the network of the prior, one position at a time.
        embedding: the embedding of the prior's codes.
        head: the head of the prior.
    """

    def __init__(self, positions: Positions, embedding: CodeEmbedding, head: CodeHead) -> None:
        self.positions, self.answer = positions, head.answer_of_steps()
        shape = len(head.place), head.num_codes, head.place.shape[1]
        self.tables = embedding.weight.detach().view(shape).unbind()
        self.before = head.before.weight.detach().view(shape[0] - 1, *shape[1:]).unbind()
        self.places = head.place.detach().unbind()
        self.place = 0
        self.embedded: Tensor | None = None  # the codes of the present position so far
        self.features = self.places[0]

    def step(self, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], given the code before it, int64 [B]."""
        if previous is not None:
            self._take(previous)
        if self.place == 0:
            self.features = self.positions.next_features(self.embedded)
        return self.answer(self.features + self.places[self.place])

    def _take(self, code: Tensor) -> None:
        own = F.embedding(code, self.tables[self.place])
        self.embedded = own if self.place == 0 or self.embedded is None else self.embedded + own
        if self.place < len(self.before):
            self.features = self.features + F.embedding(code, self.before[self.place])
        self.place = (self.place + 1) % len(self.places)
