"""Parameters that one loss trains: their weights on this rank, their optimizers and their moving average."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from vqvae.config import TrainingConfig
from vqvae.training.engine import Engine
from vqvae.training.muon import Muon, names_of_matrices
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
        optimizers: AdamW for all of them, or Muon for the matrices and AdamW for the others.
    """

    def __init__(self, name: str, trainable: Trainable, weights: Weights, config: TrainingConfig) -> None:
        self.name, self.module, self.weights = name, trainable.module, weights
        self.learning_rate, self.clip = trainable.learning_rate, config.clip
        self.frozen = trainable.frozen
        self.learning = {name: p for name, p in weights.parameters.items() if p.requires_grad}
        by_muon = names_of_matrices(self.module) if config.optimizer == "muon" and name == MODEL else ()
        self.optimizers = make_optimizers(self.learning, by_muon, trainable, config)
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
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * self.learning_rate
            optimizer.step()
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

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


def make_optimizers(
    learning: Mapping[str, nn.Parameter], by_muon: Iterable[str], trainable: Trainable, config: TrainingConfig
) -> list[Optimizer]:
    """Return Muon for the parameters with these names, and AdamW for the others; one of them may have none."""
    own = set(by_muon)
    matrices = [parameter for name, parameter in learning.items() if name in own]
    others = [parameter for name, parameter in learning.items() if name not in own]
    lr, decay = config.learning_rate, config.weight_decay
    found: list[Optimizer] = [Muon(matrices, lr, weight_decay=decay)] if matrices else []
    if others:
        fused = others[0].device.type in ("cpu", "cuda")
        found.append(AdamW(others, lr, trainable.betas, weight_decay=decay, fused=fused, eps=1e-8))
    return found


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
