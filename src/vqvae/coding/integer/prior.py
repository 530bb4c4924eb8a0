"""Priors with whole numbers: one pass over all codes for writing, and a pass code by code for reading."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.coding.integer.forms import Forms
from vqvae.coding.integer.layers import IntegerAffine, rounded
from vqvae.coding.integer.tables import MASS, exp_of_difference
from vqvae.priors import Prior
from vqvae.priors.cache import Positions
from vqvae.tensors import CodeSpec

Frequencies = Callable[[Tensor | None], NDArray[np.float64]]

_MOST_LOGITS = 1 << 27  # held at once in float64: 1 GiB


class IntegerPrior(nn.Module):
    """A prior without a class, with whole numbers: the embedding of codes, a network and the head.

    A subclass defines the network twice: ``features`` of all positions, and ``positions``, one after the other.
    Both give the same whole numbers.

    Args:
        prior: the prior in floating point, on the CPU.
    """

    embedding: Tensor
    before: Tensor
    places: Tensor

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.spec: CodeSpec = prior.spec
        n, num_codes = prior.spec.codes_per_position, prior.spec.num_codes
        width = prior.embedding.weight.shape[1]
        self.register_buffer("embedding", rounded(prior.embedding.weight).view(n, num_codes, width))
        self.register_buffer("before", rounded(prior.head.before.weight).view(n - 1, num_codes, width))
        self.register_buffer("places", rounded(prior.head.place))
        self.hidden, self.logits = IntegerAffine(prior.head.hidden), IntegerAffine(prior.head.logits)

    def features(self, embedded: Tensor) -> Tensor:
        """Return the features of each position, [B, h, w, width]; they depend on earlier positions alone.

        Args:
            embedded: [B, h, w, width], the embedding of the codes of each position.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define features")

    def positions(self, count: int, grid: tuple[int, int]) -> Positions:
        """Return the network for ``count`` grids of (h, w) positions, before their first position."""
        raise NotImplementedError(f"{type(self).__qualname__} does not define positions")

    def at_once(self, grid: tuple[int, int]) -> int:
        """Return how many grids ``features`` should take at once; 0 if one takes too much memory."""
        return 64

    def frequencies(self, count: int, grid: tuple[int, int], codes: Tensor | None) -> Frequencies:
        """Return a function of the code before, int64 [B], that returns the frequencies of the next code.

        Frequencies are float64 [B, K], whole numbers of at least 1, with the sum 2^24. The function is called once
        for each code, in order.

        Args:
            count: number of grids B.
            grid: height and width of a grid, in positions.
            codes: int64 [B, h, w, n], all codes, if they are known: they are then computed in one pass, if the
                memory suffices. The frequencies are the same.
        """
        many = self.at_once(grid)
        if codes is None or not many or codes.numel() * self.spec.num_codes > _MOST_LOGITS:
            return _Steps(self, self.positions(count, grid)).next
        logits = torch.cat([self._whole(part) for part in codes.split(many)])
        places = iter(logits.flatten(1, 3).unbind(1))
        return lambda previous: integer_frequencies(next(places))

    @torch.no_grad()
    def _whole(self, codes: Tensor) -> Tensor:
        """Return the logits of all codes, float64 [B, h, w, n, K], in units of 1 / ONE."""
        n = self.spec.codes_per_position
        embedded = sum((self.embedding[place][codes[..., place]] for place in range(n)), self.places.new_zeros(()))
        features, found = self.features(embedded), list[Tensor]()
        for place in range(n):
            found.append(self.answer(features + self.places[place]))
            if place < n - 1:
                features = features + self.before[place][codes[..., place]]
        return torch.stack(found, 3)

    def answer(self, features: Tensor) -> Tensor:
        """Return logits [..., K] of features [..., width]."""
        return self.logits(F.relu(self.hidden(F.relu(features))))


PRIORS = Forms[IntegerPrior]("prior")


def integer_frequencies(logits: Tensor) -> NDArray[np.float64]:
    """Return frequencies [B, K] of logits in units of 1 / ONE: whole numbers of at least 1 with the sum 2^24."""
    masses = exp_of_difference(logits, 1)
    free = MASS - masses.shape[1]
    found = masses * free // masses.sum(1, keepdim=True) + 1
    likeliest = masses.argmax(1, keepdim=True)
    return found.scatter_add(1, likeliest, MASS - found.sum(1, keepdim=True)).double().numpy()


class _Steps:
    """A prior, one code after another: the network at each position, the head at each code of the position."""

    def __init__(self, prior: IntegerPrior, positions: Positions) -> None:
        self.prior, self.network = prior, positions
        self.place = 0
        self.embedded: Tensor | None = None  # the codes of the present position so far
        self.features = prior.places[0]

    @torch.no_grad()
    def next(self, previous: Tensor | None) -> NDArray[np.float64]:
        """Return the frequencies of the next code, [B, K], given the code before it."""
        if previous is not None:
            self._take(previous)
        if self.place == 0:
            self.features = self.network.next_features(self.embedded)
        return integer_frequencies(self.prior.answer(self.features + self.prior.places[self.place]))

    def _take(self, code: Tensor) -> None:
        own = self.prior.embedding[self.place][code]
        self.embedded = own if self.place == 0 or self.embedded is None else self.embedded + own
        if self.place < len(self.prior.before):
            self.features = self.features + self.prior.before[self.place][code]
        self.place = (self.place + 1) % len(self.prior.places)
