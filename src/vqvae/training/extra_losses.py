"""The terms that a run's ``losses`` add to equation 3, and the losses of the terms' own networks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vqvae.losses import Loss, LossConfig, build_losses
from vqvae.training.engine import Engine
from vqvae.training.stage import Trainable


class ExtraLosses:
    """A run's ``losses``.

    Args:
        configs: the settings of the losses.
        image_shape: (C, H, W) of the training images.
        seed: the seed of the run.
        engine: device, precision and compilation.

    Attributes:
        groups: the losses that have parameters to train, by name.
    """

    def __init__(
        self, configs: Sequence[LossConfig], *, image_shape: tuple[int, int, int], seed: int, engine: Engine
    ) -> None:
        self.engine = engine
        self.losses: dict[str, Loss] = {
            name: loss.to(device=engine.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            for name, loss in build_losses(configs, image_shape=image_shape, seed=seed).items()
        }
        self.configs = dict(zip(self.losses, configs, strict=True))
        self.groups = {
            name: Trainable(loss, loss.learning_rate, loss.betas)
            for name, loss in self.losses.items()
            if any(parameter.requires_grad for parameter in loss.parameters())
        }
        for name in self.losses.keys() - self.groups.keys():
            self.losses[name].eval()  # a network that does not learn must not depend on the batch

    def train_on(self, modules: Mapping[str, nn.Module]) -> None:
        """Run these copies of the losses instead."""
        self.losses |= {name: loss for name, loss in modules.items() if isinstance(loss, Loss)}

    def terms(self, step: int, images: Tensor, reconstruction: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Return (weight, term) of each loss that takes part at a step, by name."""
        found: dict[str, tuple[float, Tensor]] = {}
        with self.engine.autocast():
            for name, loss in self._active(step).items():
                found[name] = self.configs[name].weight, loss.term(images, reconstruction.float())
        return found

    def own(self, step: int, images: Tensor, reconstruction: Tensor) -> dict[str, Tensor]:
        """Return what each loss's own parameters minimise at a step, by name."""
        seen = reconstruction.detach().float()
        with self.engine.autocast():
            return {
                name: loss.own_loss(images, seen)
                for name, loss in self._active(step).items()
                if name in self.groups
            }

    def _active(self, step: int) -> dict[str, Loss]:
        return {name: loss for name, loss in self.losses.items() if step >= self.configs[name].start}
