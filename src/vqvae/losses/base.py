"""What a loss offers: a term of the objective, and perhaps a network of its own that a loss of its own trains."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqvae import noise
from vqvae.component import Config, CountOrZero, NotNegative


class Loss(nn.Module):
    """A term of the objective on images and their reconstruction.

    The simplest loss is a ``forward``. A loss with a network that does not learn, such as a feature network, holds
    it with ``requires_grad_(False)``; training runs that loss in eval mode and does not save its weights, which
    must be a function of the config and the seed. A loss with parameters that learn, such as a discriminator, also
    defines ``own_loss``, which alone trains these parameters, with an optimizer of their own. Training saves them
    in the run's checkpoints, averages and shards them as it does the model's.

    Both methods return means over the images of a batch, finite for a batch without images: see ``mean``. Each of
    several ranks sees its slice of the batch.

    Attributes:
        learning_rate: of the loss's own parameters, as a multiple of ``training.learning_rate``.
        betas: of the AdamW of the loss's own parameters.
    """

    learning_rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the term of the objective, a scalar, without its weight.

        Args:
            images: float32 [B, C, H, W] in [-1, 1].
            reconstruction: float32, the same shape; not clamped.
        """
        raise NotImplementedError(f"{type(self).__qualname__} defines no forward")

    def own_loss(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return the scalar that the loss's own parameters minimise; a loss without parameters has none.

        Args:
            images: as in ``forward``.
            reconstruction: as in ``forward``, but detached: no gradient reaches the decoder.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has parameters, but defines no own_loss")

    def sharding_units(self) -> list[nn.Module]:
        """Return the modules whose weights are gathered one module at a time when weights are sharded over ranks.

        A module that contains another comes after it. Weights are whole only inside the ``forward`` of a unit. The
        default is every direct child that has parameters.
        """
        return [child for child in self.children() if next(child.parameters(), None) is not None]

    def term(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        """Return ``forward``; its gradient reaches the reconstruction, and not the loss's own parameters."""
        seen = reconstruction.detach().requires_grad_()
        value = self(images, seen)
        (gradient,) = torch.autograd.grad(value, seen)
        return value.detach() + (gradient * (reconstruction - reconstruction.detach())).sum()


@dataclass(frozen=True, kw_only=True)
class LossConfig(Config):
    """Settings of a loss; a kind adds its own and says how to build it.

    Attributes:
        weight: factor of the term in the objective.
        start: number of optimizer steps before the loss takes part; a network of its own learns from then on too.
    """

    weight: NotNegative = 1.0
    start: CountOrZero = 0

    def build(self, *, image_shape: tuple[int, int, int], seed: int = 0) -> Loss:
        """Make the loss.

        Args:
            image_shape: (C, H, W) of the training images.
            seed: of everything random besides the starting weights, which come from torch's own generator.
        """
        raise NotImplementedError(f"{type(self).__qualname__} does not say how to build its loss")


def build_losses(
    configs: Sequence[LossConfig], *, image_shape: tuple[int, int, int], seed: int = 0
) -> dict[str, Loss]:
    """Make the losses of a run, by name; their weights are a function of the seed and of their place in the list.

    A loss's name is its kind, and ``KIND-2`` for the second loss of a kind. The name ``model`` is the tokenizer's.
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
