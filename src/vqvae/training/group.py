"""Parameters that one loss trains: their weights on this rank, their optimizer and their moving average."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor
from torch.optim import AdamW

from vqvae.config import TrainingConfig
from vqvae.training.engine import Engine
from vqvae.training.stage import MODEL, Stage, Trainable
from vqvae.training.weight_ema import WeightEMA
from vqvae.training.weights import Weights, WholeWeights


class Group:
    """One group of a stage.

    Args:
        name: name of the group in checkpoints. Except for the model's group, it is also the prefix of the group's
            metrics and the group's name in messages.
        trainable: the module, and how its parameters learn.
        weights: this rank's weights of the module.
        config: the settings of the loop.

    Attributes:
        learning: what this rank holds of each parameter that is not frozen, by name. Only these have moments and
            averages.
    """

    def __init__(self, name: str, trainable: Trainable, weights: Weights, config: TrainingConfig) -> None:
        self.name, self.module, self.weights = name, trainable.module, weights
        self.learning_rate, self.clip = trainable.learning_rate, config.clip
        self.frozen = trainable.frozen
        self.learning = {name: p for name, p in weights.parameters.items() if p.requires_grad}
        parameters = list(self.learning.values())
        self.optimizer = AdamW(
            parameters,
            lr=config.learning_rate,
            betas=trainable.betas,
            weight_decay=config.weight_decay,
            fused=parameters[0].device.type in ("cpu", "cuda"),
            eps=1e-8,
        )
        self.weight_ema = WeightEMA(self.learning, config.weight_ema)

    def metric(self, name: str) -> str:
        """Return the name of a metric of this group."""
        return name if self.name == MODEL else f"{self.name}_{name}"

    def reduce(self, scalars: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum gradients and scalars over ranks and clip the gradient; return the sums and the gradient's norm."""
        return self.weights.reduce(scalars, self.clip, norm=self.metric("gradient_norm"))

    def judged(self, metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the metrics of a step that must be finite, by their names in messages."""
        words = "" if self.name == MODEL else f"{self.name} "
        named = {f"{words}loss": "loss", f"{words}gradient": "gradient_norm"}
        return {said: metrics[self.metric(name)] for said, name in named.items()}

    def step(self, rate: float) -> None:
        """Take an optimizer step and drop the gradients.

        Args:
            rate: the run's learning rate at this step; the group's own factor multiplies it.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.learning_rate
        self.optimizer.step()
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights into rank 0's module, in eval mode, for the block; every rank must call."""
        with self.weight_ema.in_place(), self.weights.in_module():
            self.module.eval()
            try:
                yield
            finally:
                self.module.train()
                for part in self.frozen:
                    part.eval()


def make_groups(stage: Stage, config: TrainingConfig, engine: Engine) -> dict[str, Group]:
    """Return the groups of a stage, by name; if weights are sharded, the stage trains on the sharded copies."""
    weights: dict[str, Weights] = {}
    if engine.sharded:
        from vqvae.training.sharding import ShardedWeights  # a second of imports that other trainings do without

        sharded = {name: ShardedWeights(group.module) for name, group in stage.groups.items()}
        stage.train_on({name: own.trained for name, own in sharded.items()})
        weights |= sharded
    else:
        weights |= {name: WholeWeights(group.module) for name, group in stage.groups.items()}
    return {name: Group(name, group, weights[name], config) for name, group in stage.groups.items()}
