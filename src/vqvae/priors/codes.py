"""Where a prior reads and predicts codes: the embedding of a position's codes, and the head that predicts them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.tensors import CodeSpec


class CodeEmbedding(nn.Module):
    """The n codes of a position as one vector: the sum of their embeddings.

    Each of the n places within a position has an embedding table of its own.
    """

    def __init__(self, spec: CodeSpec, width: int) -> None:
        super().__init__()
        self.num_codes = spec.num_codes
        self.weight = nn.Parameter(torch.randn(spec.codes_per_position * spec.num_codes, width))

    def forward(self, codes: Tensor) -> Tensor:
        """Return float [..., width] of codes, int64 [..., n]."""
        places = torch.arange(codes.shape[-1], device=codes.device)
        return F.embedding(codes + places * self.num_codes, self.weight).sum(-2)


class CodeHead(nn.Module):
    """The distribution of each code of a position, given the position's features and the codes before it.

    The earlier codes of the position are embedded, each place with a table of its own, and added to the features;
    a network with one hidden layer makes the logits. For n = 1 there are no earlier codes. This is the depth
    transformer of arXiv 2203.01941 at its smallest.
    """

    def __init__(self, spec: CodeSpec, width: int, hidden: int) -> None:
        super().__init__()
        self.num_codes = spec.num_codes
        self.place = nn.Parameter(torch.zeros(spec.codes_per_position, width))
        self.before = nn.Embedding((spec.codes_per_position - 1) * spec.num_codes, width)
        self.hidden = nn.Linear(width, hidden)
        self.logits = nn.Linear(hidden, spec.num_codes)

    def embedded(self, codes: Tensor) -> Tensor:
        """Embed the codes of the first m places, int64 [..., m], as float [..., m, width]."""
        places = torch.arange(codes.shape[-1], device=codes.device)
        return self.before(codes + places * self.num_codes)

    def answer(self, features: Tensor) -> Tensor:
        """Return logits [..., K] of features [..., width], which contain the place and the earlier codes."""
        return self.logits(F.relu(self.hidden(F.relu(features))))

    def answer_of_steps(self) -> Callable[[Tensor], Tensor]:
        """Return a function that computes ``answer`` of features [B, width] for the steps of a cache.

        It holds copies of the weights and has no gradients. It calls no modules, which would take longer than the
        matrix products of a few features.
        """
        hidden, hidden_bias = self.hidden.weight.detach().T.contiguous(), self.hidden.bias.detach()
        logits, logits_bias = self.logits.weight.detach().T.contiguous(), self.logits.bias.detach()

        def answer(features: Tensor) -> Tensor:
            inner = torch.addmm(hidden_bias, features.relu(), hidden).relu_()
            return torch.addmm(logits_bias, inner, logits)

        return answer

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """Return logits [B, h, w, n, K] of features [B, h, w, width] and codes [B, h, w, n]."""
        earlier = self.embedded(codes[..., :-1]).cumsum(-2)
        prefix = F.pad(earlier, (0, 0, 1, 0))  # no code stands before the first
        return self.answer(features[..., None, :] + prefix + self.place)
