"""What every prior is made with: embedded codes, the codes within a position, classes, likelihoods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.component import Advice, Config
from vqvae.sampling import Controls, Prior, sample
from vqvae.tensors import CodeSpec


@dataclass(frozen=True, kw_only=True)
class PriorModelConfig(Config):
    """Settings of a prior's network; a kind adds its own and says how to build it."""

    default_kind: ClassVar[str | None] = "pixelcnn"

    def build(self, spec: CodeSpec, *, num_classes: int = 0) -> Any:
        """Make the prior for codes of that spec."""
        raise NotImplementedError(f"{type(self).__qualname__} does not say how to build its prior")

    def advice(self, key: str) -> Advice:
        """Return what helps against overfitting.

        Args:
            key: of this config in the run's config, such as ``model``.
        """
        dropout: float | None = getattr(self, "dropout", None)
        if dropout is None:
            return Advice("make the model smaller", {})
        return Advice("drop out more", {f"{key}.dropout": f"{min(0.5, dropout + 0.1):.2g}"})


class CodeEmbedding(nn.Module):
    """The n codes of a position as one vector: the sum of their embeddings, a table of its own for each place."""

    def __init__(self, num_codes: int, codes_per_position: int, width: int) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.weight = nn.Parameter(torch.randn(codes_per_position * num_codes, width))

    def forward(self, codes: Tensor) -> Tensor:
        """Return float [..., width] of codes, int64 [..., n]."""
        places = torch.arange(codes.shape[-1], device=codes.device)
        return F.embedding(codes + places * self.num_codes, self.weight).sum(-2)


class CodeHead(nn.Module):
    """The codes within a position, each given the position's features and the codes before it.

    The codes before are summed through an embedding of their own for each place, then mixed by a small network:
    strictly causal in the place, and free for n = 1 (the depth transformer of arXiv 2203.01941, at its smallest).
    """

    def __init__(self, num_codes: int, codes_per_position: int, width: int, hidden: int) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.place = nn.Parameter(torch.zeros(codes_per_position, width))
        self.before = nn.Embedding((codes_per_position - 1) * num_codes, width)
        self.hidden = nn.Linear(width, hidden)
        self.logits = nn.Linear(hidden, num_codes)

    def embedded(self, codes: Tensor) -> Tensor:
        """Embed codes [..., m] of the first m places, float [..., m, width]."""
        places = torch.arange(codes.shape[-1], device=codes.device)
        return self.before(codes + places * self.num_codes)

    def answer(self, features: Tensor) -> Tensor:
        """Return logits [..., K] of features [..., width] to which place and earlier codes were added."""
        return self.logits(F.relu(self.hidden(F.relu(features))))

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """Return logits [B, h, w, n, K] of features [B, h, w, width] and codes [B, h, w, n]."""
        earlier = self.embedded(codes[..., :-1]).cumsum(-2)
        prefix = F.pad(earlier, (0, 0, 1, 0))  # the first code has none before it
        return self.answer(features[..., None, :] + prefix + self.place)


def class_rows(labels: Tensor | None, count: int, num_classes: int, device: torch.device) -> Tensor:
    """Return the class of each image, int64 [count], ``num_classes`` standing for none.

    Raises:
        ValueError: for labels of another shape, or any label where the prior knows none.
    """
    if labels is None:
        return torch.full((count,), num_classes, device=device)
    if num_classes == 0:
        raise ValueError("labels were given, but this prior was trained without classes")
    if labels.shape != (count,):
        raise ValueError(f"labels {list(labels.shape)}: expected [{count}]")
    return labels.to(device)


def code_nats(logits: Tensor, codes: Tensor) -> Tensor:
    """Return -log p of each code in nats, float [B, h, w, n], of logits [B, h, w, n, K]: float32 at the least."""
    precise = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(precise.flatten(0, 3), codes.flatten(), reduction="none").view(codes.shape)


def sample_codes(
    prior: Prior,
    num: int,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: float = 1.0,
    labels: Tensor | None = None,
    **how: Any,
) -> Tensor:
    """Draw ``num`` grids of codes, int64 [num, h, w, n]: ``vqvae.sampling.sample``, its controls spelt out."""
    controls = Controls(temperature, top_k, top_p, guidance)
    return sample(prior, num, seed=seed, controls=controls, labels=labels, **how)


class Positions(Protocol):
    """A prior's network one position at a time, in raster order."""

    def next_features(self, embedded: Tensor | None) -> Tensor:
        """Return the features of the next position, [B, width], after noting the embedding of the one before.

        They may stand in a buffer that the next call overwrites.
        """
        ...


class PriorCache:
    """Where ``count`` grids stand: the network at the positions, the head at the codes within the present one."""

    def __init__(self, positions: Positions, embedding: CodeEmbedding, head: CodeHead) -> None:
        self.positions, self.head = positions, head
        shape = len(head.place), head.num_codes, head.place.shape[1]
        self.tables = embedding.weight.detach().view(shape).unbind()
        self.before = head.before.weight.detach().view(shape[0] - 1, *shape[1:]).unbind()
        self.places = head.place.detach().unbind()
        self.depth = 0
        self.embedded: Tensor | None = None  # of the codes of the present position so far
        self.features = self.places[0]

    def step(self, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], after noting the one before it, int64 [B]."""
        if previous is not None:
            self._note(previous)
        if self.depth == 0:
            self.features = self.positions.next_features(self.embedded)
        return self.head.answer(self.features + self.places[self.depth])

    def _note(self, code: Tensor) -> None:
        own = F.embedding(code, self.tables[self.depth])
        self.embedded = own if self.depth == 0 or self.embedded is None else self.embedded + own
        if self.depth < len(self.before):
            self.features = self.features + F.embedding(code, self.before[self.depth])
        self.depth = (self.depth + 1) % len(self.places)
