"""The steps of a transformer without memory: keys and values of earlier tokens are arguments and results."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.priors.steps import PriorSteps, StepFunction
from vqvae.priors.transformer import Block, CodeTransformer, frequencies_of


def transformer_steps(prior: CodeTransformer) -> PriorSteps:
    """Return the steps of a transformer; they use the prior's own weights."""
    labels = ("labels",) if prior.num_classes else ()
    inputs = ("previous", "at", "before", "keys", "values", *labels)
    outputs = ("features", "next_keys", "next_values")
    position = StepFunction(_Position(prior), inputs, outputs, {"keys": 3, "values": 3})

    def start(count: int, grid: tuple[int, int]) -> dict[str, Tensor]:
        blocks = _blocks(prior)
        shape = count, len(blocks), blocks[0].heads, 0, prior.head_dim
        return {name: prior.begin.detach().new_zeros(shape) for name in ("keys", "values")}

    return PriorSteps(position, start)


def _blocks(prior: CodeTransformer) -> list[Block]:
    return list(prior.blocks)  # pyright: ignore[reportReturnType]


class _Position(nn.Module):
    """All blocks at one token."""

    frequencies: Tensor

    def __init__(self, prior: CodeTransformer) -> None:
        super().__init__()
        self.prior = prior
        self.register_buffer("frequencies", frequencies_of(prior.head_dim))

    def forward(
        self,
        previous: Tensor,
        at: Tensor,
        before: Tensor,
        keys: Tensor,
        values: Tensor,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Return the features, [B, width], and the keys and values, [B, L, heads, T, d], with the new token's."""
        x = torch.where(at.sum() == 0, self.prior.begin, self.prior.embedding(previous))
        if labels is not None:
            x = x + self.prior.class_features(labels)
        angles = (torch.stack([at, before])[:, :, None] * self.frequencies).flatten(1)[:, None, None, None]
        rotation = angles.cos().to(x), angles.sin().to(x)
        x, all_keys, all_values = x[:, None], list[Tensor](), list[Tensor]()
        for number, block in enumerate(_blocks(self.prior)):
            query, key, value = block.project(x, rotation)
            all_keys.append(torch.cat([keys[:, number], key], 2))
            all_values.append(torch.cat([values[:, number], value], 2))
            mixed = F.scaled_dot_product_attention(query, all_keys[-1], all_values[-1])
            x = block.finish(x, mixed)
        return self.prior.norm(x)[:, 0], torch.stack(all_keys, 1), torch.stack(all_values, 1)
