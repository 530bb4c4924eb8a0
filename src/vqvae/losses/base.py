"""The base class of losses: further terms of the objective, with or without a network of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from vqvae import noise
from vqvae.component import Config, CountOrZero, NotNegative


class Loss(nn.Module):
    """A term of the objective on images and their reconstruction.

    Every loss defines ``forward``. There are three cases:

    - The loss has no network. Nothing else is needed.
    - The loss has a network that does not learn, such as a feature network. The network's parameters have
      ``requires_grad_(False)``. Training runs the loss in eval mode and does not save its weights, so the weights
      must be a function of the config and the seed.
    - The loss has parameters that learn, such as a discriminator. The loss also defines ``own_loss``. These
      parameters are trained by ``own_loss`` alone, with an optimizer of their own. Training saves, averages and
      shards them like the parameters of the model.

    Both methods return a mean over the images of a batch. The mean of an empty batch must be finite; use ``mean``.
    Each rank calls them with its own slice of the batch.

    Attributes:
        learning_rate: learning rate of the loss's own parameters, as a multiple of ``training.learning_rate``.
        betas: betas of AdamW for the loss's own parameters.
        adaptive_limit: if not None, training multiplies the term's weight by the factor of arXiv 2012.09841,
            equation 7, at most this limit: the ratio of the gradients of all other terms and of this term at the
            weights of the decoder's last layer.
    """

    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    adaptive_limit: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self._notes: dict[str, Tensor] = {}

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the term of the objective, a scalar, without its weight.

        Args:
            images: float32 [B, C, H, W] in [-1, 1].
            reconstruction: float32, the same shape; not clamped.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define forward")

    def own_loss(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the scalar that the loss's own parameters minimise; only a loss with parameters needs it.

        Args:
            images: float32 [B, C, H, W] in [-1, 1].
            reconstruction: float32, the same shape; detached, so no gradient reaches the decoder.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has parameters, but does not define own_loss")

    def note(self, **scalars: Tensor) -> None:
        """Give training scalars to log, each as ``NAME_SCALAR``: means over the images of a batch."""
        self._notes |= {name: value.detach() for name, value in scalars.items()}

    def take_notes(self) -> dict[str, Tensor]:
        """Return what was noted since the last call."""
        notes, self._notes = self._notes, {}
        return notes

    def after_step(self) -> None:
        """Update buffers from what the step's calls of ``own_loss`` kept; every rank calls it after the optimizer.

        Buffers must change here and in place, so that a dropped step changes nothing.
        """

    def drop_step(self) -> None:
        """Forget what ``after_step`` was about to learn from: the step was dropped."""

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose weights are gathered one module at a time when weights are sharded over ranks.

        If one unit contains another, the inner one comes first. Weights are whole only inside the ``forward`` of a
        unit. By default, the units are the direct children that have parameters.
        """
        return [child for child in self.children() if next(child.parameters(), None) is not None]

    def term(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return ``forward``; its gradient reaches the reconstruction, but not the loss's parameters."""
        seen = reconstruction.detach().requires_grad_()
        value = self(images, seen)
        (gradient,) = torch.autograd.grad(value, seen)
        return value.detach() + (gradient * (reconstruction - reconstruction.detach())).sum()


@dataclass(frozen=True, kw_only=True)
class LossConfig(Config):
    """Settings of a loss; each kind adds its own settings and defines ``build``.

    Attributes:
        weight: factor of the term in the objective.
        start: first optimizer step, counted from 0, at which the loss takes part and its own parameters learn.
    """

    weight: NotNegative = 1.0
    start: CountOrZero = 0

    def resolved(self) -> Self:
        """Return the config that a run records: paths absolute, and files named by their SHA-256."""
        return self

    def build(self, *, image_shape: tuple[int, int, int], seed: int = 0) -> Loss:
        """Make the loss.

        Args:
            image_shape: (C, H, W) of the training images.
            seed: seed of random numbers, except for the initial weights: torch's generator, which is seeded before
                the call, draws these.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not define build, which makes the loss")


def build_losses(
    configs: Sequence[LossConfig], *, image_shape: tuple[int, int, int], seed: int = 0
) -> dict[str, Loss]:
    """Make the losses of a run, by name; their weights are a function of the seed and of their place in the list.

    A loss is named after its kind; the second loss of a kind is named ``KIND-2``. The name ``model`` is taken: it
    is the tokenizer's.
    """
    losses: dict[str, Loss] = {}
    taken = {"model": 1}
    for place, config in enumerate(configs):
        number = taken[config.kind] = taken.get(config.kind, 0) + 1
        own_seed = int(noise.random_bits(seed, place))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(own_seed)
            loss = config.build(image_shape=image_shape, seed=seed)
        losses[config.kind if number == 1 else f"{config.kind}-{number}"] = loss
    return losses


def mean(values: Tensor) -> Tensor:
    """Return the mean of all elements, a float32 scalar; 0 where there are none."""
    return values.float().sum() / max(1, values.numel())
