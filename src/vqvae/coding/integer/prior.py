"""The gated PixelCNN with whole numbers: a whole pass for writing, and a pass position by position for reading."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.coding.integer.network import IntegerAffine
from vqvae.coding.integer.tables import MASS, ONE, exp_of_difference, look_up, sigmoid, tanh
from vqvae.errors import UserError
from vqvae.priors import PixelCNN, Prior
from vqvae.priors.pixelcnn import GatedLayer

Frequencies = Callable[[Tensor | None], NDArray[np.float64]]


class IntegerPixelCNN:
    """A gated PixelCNN without a class, with whole numbers.

    Args:
        prior: the prior in floating point, on the CPU.

    Raises:
        UserError: for a prior of another class.
    """

    @torch.no_grad()
    def __init__(self, prior: Prior) -> None:
        if type(prior) is not PixelCNN:
            raise UserError(f"--exact: the prior {type(prior).__name__} has no integer form; the pixelcnn has one")
        self.spec = prior.spec
        n, num_codes = prior.spec.codes_per_position, prior.spec.num_codes
        width = prior.embedding.weight.shape[1]
        self.tables = _rounded(prior.embedding.weight).view(n, num_codes, width)
        self.before = _rounded(prior.head.before.weight).view(n - 1, num_codes, width)
        self.places = _rounded(prior.head.place)
        self.hidden, self.logits = IntegerAffine(prior.head.hidden), IntegerAffine(prior.head.logits)
        self.layers = [_Layer(layer, prior.num_classes) for layer in prior.layers if isinstance(layer, GatedLayer)]

    def frequencies(self, count: int, grid: tuple[int, int], codes: Tensor | None) -> Frequencies:
        """Return a function of the code before, int64 [B], that returns the frequencies of the next code.

        Frequencies are float64 [B, K], whole numbers of at least 1, with the sum 2^24. The function is called once
        for each code, in order.

        Args:
            count: number of grids B.
            grid: height and width of a grid, in positions.
            codes: int64 [B, h, w, n], all codes, if they are known: they are then computed in one pass. The
                frequencies are the same.
        """
        if codes is None:
            return _Steps(self, count, grid).next
        places = iter(self._whole(codes).flatten(1, 3).unbind(1))
        return lambda previous: integer_frequencies(next(places))

    @torch.no_grad()
    def _whole(self, codes: Tensor) -> Tensor:
        """Return the logits of all codes, float64 [B, h, w, n, K], in units of 1 / ONE."""
        n = self.spec.codes_per_position
        embedded = sum((self.tables[place][codes[..., place]] for place in range(n)), self.tables.new_zeros(()))
        v = h = embedded.permute(0, 3, 1, 2)
        for layer in self.layers:
            v, h = layer.whole(v, h)
        features, found = h.permute(0, 2, 3, 1), list[Tensor]()
        for place in range(n):
            found.append(self.answer(features + self.places[place]))
            if place < n - 1:
                features = features + self.before[place][codes[..., place]]
        return torch.stack(found, 3)

    def answer(self, features: Tensor) -> Tensor:
        """Return logits [..., K] of features [..., width]."""
        return self.logits(F.relu(self.hidden(F.relu(features))))


def integer_frequencies(logits: Tensor) -> NDArray[np.float64]:
    """Return frequencies [B, K] of logits in units of 1 / ONE: whole numbers of at least 1 with the sum 2^24."""
    masses = exp_of_difference(logits, 1)
    free = MASS - masses.shape[1]
    found = masses * free // masses.sum(1, keepdim=True) + 1
    likeliest = masses.argmax(1, keepdim=True)
    return found.scatter_add(1, likeliest, MASS - found.sum(1, keepdim=True)).double().numpy()


class _Layer:
    """A gated layer with whole numbers."""

    def __init__(self, layer: GatedLayer, num_classes: int) -> None:
        self.first, self.reach = layer.first, layer.reach
        self.vertical, self.horizontal = IntegerAffine(layer.vertical), IntegerAffine(layer.horizontal)
        self.link, self.out = IntegerAffine(layer.link), IntegerAffine(layer.out)
        above, left = layer.biases(torch.tensor([num_classes]))
        self.above, self.left = (
            _rounded(bias)[:, :, None, None] if isinstance(bias, Tensor) else 0.0 for bias in (above, left)
        )

    def whole(self, v: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Map both stacks' features, [B, width, H, W], as ``GatedLayer.forward``."""
        height, width, reach = *v.shape[2:], self.reach
        above = self.vertical(F.pad(v, (reach, reach, reach, 0)))[:, :, :height] + self.above
        left = self.horizontal(F.pad(h, (reach, 0, 0, 0)))[:, :, :, :width] + self.left
        out = self.out(_gate(left + self.link(above)))
        return _gate(above), out if self.first else h + out


class _Steps:
    """The PixelCNN, one code after another: a row of the vertical stack, then its positions."""

    def __init__(self, prior: IntegerPixelCNN, count: int, grid: tuple[int, int]) -> None:
        self.prior, self.grid = prior, grid
        width, reach = prior.tables.shape[2], prior.layers[0].reach
        shape = count, width, grid[0] + reach, grid[1] + 2 * reach
        # inputs of each layer, with zeros around; the first layer reads the embedded codes in both stacks
        self.v = [torch.zeros(shape, dtype=torch.float64) for _ in prior.layers]
        self.h = [torch.zeros(count, width, 1, grid[1] + reach, dtype=torch.float64) for _ in prior.layers]
        self.links: list[Tensor] = []
        self.position = self.place = 0
        self.embedded = torch.zeros(count, width, dtype=torch.float64)
        self.features = self.embedded

    @torch.no_grad()
    def next(self, previous: Tensor | None) -> NDArray[np.float64]:
        """Return the frequencies of the next code, [B, K], given the code before it."""
        if previous is not None:
            self._take(previous)
        if self.place == 0:
            self.features = self._next_features()
        return integer_frequencies(self.prior.answer(self.features + self.prior.places[self.place]))

    def _take(self, code: Tensor) -> None:
        self.embedded = self.embedded + self.prior.tables[self.place][code]
        if self.place < len(self.prior.before):
            self.features = self.features + self.prior.before[self.place][code]
            self.place += 1
            return
        row, column = divmod(self.position, self.grid[1])
        reach = self.prior.layers[0].reach
        self.v[0][:, :, reach + row, reach + column] = self.embedded
        self.h[0][:, :, 0, reach + column] = self.embedded
        self.embedded = torch.zeros_like(self.embedded)
        self.place, self.position = 0, self.position + 1

    def _next_features(self) -> Tensor:
        row, column = divmod(self.position, self.grid[1])
        if column == 0:
            self._begin_row(row)
        found = self.embedded
        for number, (layer, link) in enumerate(zip(self.prior.layers, self.links, strict=True)):
            reach, taps = layer.reach, layer.horizontal.weight.shape[3]
            inputs = self.h[number]
            left = layer.horizontal(inputs[..., column : column + taps]) + layer.left
            out = layer.out(_gate(left + link[..., column : column + 1]))
            found = out if layer.first else inputs[..., reach + column : reach + column + 1] + out
            if number + 1 < len(self.h):
                self.h[number + 1][..., reach + column : reach + column + 1] = found
        return found[:, :, 0, 0]

    def _begin_row(self, row: int) -> None:
        """Compute the vertical stack of a row, whose codes it does not read."""
        self.links = []
        for number, layer in enumerate(self.prior.layers):
            reach, taps = layer.reach, layer.vertical.weight.shape[2]
            above = layer.vertical(self.v[number][:, :, row : row + taps]) + layer.above
            self.links.append(layer.link(above))
            if number + 1 < len(self.v):
                self.v[number + 1][:, :, reach + row, reach : reach + self.grid[1]] = _gate(above)[:, :, 0]
            self.h[number].zero_()


def _gate(x: Tensor) -> Tensor:
    """Return tanh(a) * sigmoid(b) of the two halves of x, in units of 1 / ONE."""
    a, b = x.chunk(2, 1)
    return (look_up(tanh(), a) * look_up(sigmoid(), b) / ONE + 0.5).floor()


def _rounded(values: Tensor | nn.Parameter) -> Tensor:
    return (values.detach().double() * ONE).round()
