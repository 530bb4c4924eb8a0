"""The terms that a run adds to equation 3, and the losses of their own networks."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqvae.distributed import sum_over_ranks
from vqvae.errors import UserError
from vqvae.features import network_named, networks_in
from vqvae.losses import Loss, LossConfig, build_losses, mean
from vqvae.losses.adversarial import adaptive_factor
from vqvae.training.engine import Engine
from vqvae.training.last_layer import LastLayer
from vqvae.training.stage import Metrics, Trainable

_SMALLEST = 1e-30


class Extra(NamedTuple):
    """What a run's losses give for a batch.

    Attributes:
        total: the sum of the weighted terms, a scalar to add to equation 3.
        own: what each loss's own parameters minimise, by name.
        metrics: the terms without their weights, by name, and what is logged beside them.
    """

    total: Tensor
    own: dict[str, Tensor]
    metrics: Metrics


class ExtraLosses:
    """A run's ``losses``.

    Args:
        configs: of the losses.
        image_shape: (C, H, W) of the training images.
        seed: of the run.
        engine: where they run.
        decoder: on the engine's device, before it is compiled or sharded.
        z_q: an input of the decoder.

    Attributes:
        groups: the losses that have parameters to train, by name.
        feature_networks: the digests of the feature networks in the losses.
    """

    def __init__(
        self,
        configs: Sequence[LossConfig],
        *,
        image_shape: tuple[int, int, int],
        seed: int,
        engine: Engine,
        decoder: nn.Module,
        z_q: Tensor,
    ) -> None:
        self.engine = engine
        self.feature_networks = _feature_networks(configs)
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
            self.losses[name].eval()  # a network that does not learn gives the same answer in any batch
        self.adaptive = {n: loss.adaptive_limit for n, loss in self.losses.items() if loss.adaptive_limit}
        self.last_layer = LastLayer(decoder, z_q) if self.adaptive else None

    def train_on(self, modules: Mapping[str, nn.Module]) -> None:
        """Run these copies of losses instead."""
        self.losses |= {name: loss for name, loss in modules.items() if isinstance(loss, Loss)}

    def on_batch(
        self, step: int, images: Tensor, parameters: Tensor, reconstruction: Tensor, reconstruction_loss: Tensor
    ) -> Extra:
        """Return the terms and own losses of the losses that take part at a step.

        Args:
            step: from 0.
            images: float32 [B, C, H, W] in [-1, 1].
            parameters: the decoder's output, a tensor that the decoder's hooks do not see.
            reconstruction: float32 [B, C, H, W], the likelihood's mean for the parameters.
            reconstruction_loss: the reconstruction term of equation 3.
        """
        active = {name: loss for name, loss in self.losses.items() if step >= self.configs[name].start}
        if not active:
            return Extra(images.new_zeros(()), {}, {})
        with self.engine.autocast():
            terms = {name: loss.term(images, reconstruction) for name, loss in active.items()}
            seen = reconstruction.detach()
            own = {name: active[name].own_loss(images, seen) for name in active if name in self.groups}
        gradients = {
            name: torch.autograd.grad(term, parameters, retain_graph=True)[0].float()
            for name, term in {"reconstruction": reconstruction_loss, **terms}.items()
        }
        weights, factors = self._weights(gradients)
        notes = {f"{name}_{n}": v for name, loss in active.items() for n, v in loss.take_notes().items()}
        metrics = {**terms, **notes, **factors, **shares(weights, gradients)}
        total = sum((weights[name] * term for name, term in terms.items()), start=images.new_zeros(()))
        return Extra(total, own, metrics)

    def _weights(self, gradients: Mapping[str, Tensor]) -> tuple[dict[str, Tensor | float], Metrics]:
        """Return the weight of each term, and the factors of the adaptive weights as metrics."""
        weights: dict[str, Tensor | float] = {
            name: self.configs[name].weight if name in self.configs else 1.0 for name in gradients
        }
        adaptive = [name for name in gradients if name in self.adaptive]
        if not adaptive or self.last_layer is None:
            return weights, {}
        others = torch.stack([weights[name] * g for name, g in gradients.items() if name not in adaptive]).sum(0)
        rows = len(others)
        # losses are means over each rank's rows: sums over all rows are the same for any split of the batch
        found = [rows * self.last_layer.weight_gradient(g) for g in (others, *(gradients[n] for n in adaptive))]
        *found, number = sum_over_ranks(
            torch.cat([*(g.flatten() for g in found), others.new_tensor([rows])])
        ).split([*(g.numel() for g in found), 1])
        wanted, factors = found[0] / number, dict[str, Tensor]()
        for name, own in zip(adaptive, found[1:], strict=True):
            factors[f"{name}_factor"] = factor = adaptive_factor(wanted, own / number, limit=self.adaptive[name])
            weights[name] = weights[name] * factor
        return weights, factors

    def after_step(self, step: int) -> None:
        """Let the losses that took part at a step update their buffers."""
        for name, loss in self.losses.items():
            if step >= self.configs[name].start:
                loss.after_step()

    def drop_step(self) -> None:
        """Let the losses forget the step."""
        for loss in self.losses.values():
            loss.drop_step()


def shares(weights: Mapping[str, Tensor | float], gradients: Mapping[str, Tensor]) -> Metrics:
    """Return each term's share of the gradient at the decoder's output, as ``NAME_share``; the shares sum to 1.

    The share of an image is the norm of the weighted term's gradient over the sum of these norms over all terms.
    The result is the mean over images, so it is the same for any split of a batch.

    Args:
        weights: of the terms, by name.
        gradients: of the terms without their weights, float [B, C, H, W].
    """
    norms = {name: (weights[name] * g).flatten(1).norm(dim=1) for name, g in gradients.items()}
    total = torch.stack(list(norms.values())).sum(0).clamp_min(_SMALLEST)
    # a NaN is named by its term: a share of it says nothing more
    return {f"{name}_share": mean((norm / total).nan_to_num(0.0)) for name, norm in norms.items()}


def _feature_networks(configs: Sequence[LossConfig]) -> tuple[str, ...]:
    found = networks_in(configs)
    if found and network_named("judge").digest in found:
        raise UserError(
            "losses: the shipped judge measures and takes part in no training: train a classifier of your own "
            "with vqvae judge --out FILE, and give --losses.perceptual.network.weights FILE"
        )
    return found
