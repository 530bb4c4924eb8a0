"""The learned prior over codes: a gated PixelCNN without a blind spot (arXiv 1606.05328, section 2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.models.pixelcnn_cache import PixelCNNCache
from vqvae.sampling import sample


def gate(x: Tensor, dim: int = 1) -> Tensor:
    """Return tanh(a) * sigmoid(b) of the two halves of x (arXiv 1606.05328, equation 2)."""
    a, b = x.chunk(2, dim)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of both stacks, causal by cropped kernels: no mask, no weight that never acts.

    The vertical stack at row i sees the rows above it, the horizontal stack at (i, j) sees the vertical stack's
    row i and the positions left of j: in the first layer without j itself, in the others with it, where it
    stands for what the layer before saw (arXiv 1606.05328, figure 2).

    Args:
        width: channels of each stack.
        kernel: odd; the vertical kernel's columns. Rows and columns back: (kernel - 1) / 2.
        first: whether this layer sees the codes themselves.
        classes: the rows of the class bias, 0 for none.
        dropout: of the horizontal stack's gated features.
    """

    def __init__(self, width: int, kernel: int, *, first: bool, classes: int, dropout: float) -> None:
        super().__init__()
        self.first = first
        self.reach = kernel // 2
        self.dropout = dropout
        taps = self.reach if first else self.reach + 1
        self.vertical = nn.Conv2d(width, 2 * width, (taps, kernel))
        self.horizontal = nn.Conv2d(width, 2 * width, (1, taps))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.class_bias = nn.Embedding(classes, 4 * width) if classes else None

    def biases(self, labels: Tensor) -> tuple[Tensor, Tensor] | tuple[float, float]:
        """Return the class biases of both stacks, [B, 2 * width] each, before their gates (equation 4)."""
        if self.class_bias is None:
            return 0.0, 0.0
        vertical, horizontal = self.class_bias(labels).chunk(2, 1)
        return vertical, horizontal

    def forward(self, v: Tensor, h: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Map both stacks' features, [B, width, H, W], to the next layer's."""
        height, width, reach = *v.shape[2:], self.reach
        vertical_bias, horizontal_bias = (
            bias[:, :, None, None] if isinstance(bias, Tensor) else bias for bias in self.biases(labels)
        )
        above = self.vertical(F.pad(v, (reach, reach, reach, 0)))[:, :, :height] + vertical_bias
        left = self.horizontal(F.pad(h, (reach, 0, 0, 0)))[:, :, :, :width] + horizontal_bias
        gated = F.dropout(gate(left + self.link(above)), self.dropout, self.training)
        out = self.out(gated)
        return gate(above), out if self.first else h + out


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

    def embedded(self, codes: Tensor, place: int = 0) -> Tensor:
        """Embed codes [..., m] of the places from ``place`` on, float [..., m, width]."""
        places = torch.arange(place, place + codes.shape[-1], device=codes.device)
        return self.before(codes + places * self.num_codes)

    def answer(self, features: Tensor) -> Tensor:
        """Return logits [..., K] of features [..., width] to which place and earlier codes were added."""
        return self.logits(F.relu(self.hidden(F.relu(features))))

    def forward(self, features: Tensor, codes: Tensor) -> Tensor:
        """Return logits [B, h, w, n, K] of features [B, h, w, width] and codes [B, h, w, n]."""
        earlier = self.embedded(codes[..., :-1]).cumsum(-2)
        prefix = F.pad(earlier, (0, 0, 1, 0))  # the first code has none before it
        return self.answer(features[..., None, :] + prefix + self.place)


class PixelCNN(nn.Module):
    """p(codes) = product over positions in raster order, and over the n codes of each, of p(code | those before).

    Args:
        num_codes: K.
        codes_per_position: n.
        grid: (h, w) of the training codes, the default shape of samples; any other works too.
        num_classes: of labels; 0 for a prior without classes.
        width: channels of each stack.
        layers: gated layers; (kernel - 1) / 2 * layers rows and columns are seen.
        kernel: odd.
        head_width: hidden units of the head.
        dropout: of the gated features.

    Raises:
        ValueError: for an even kernel.
    """

    def __init__(
        self,
        num_codes: int,
        *,
        codes_per_position: int = 1,
        grid: tuple[int, int] = (8, 8),
        num_classes: int = 0,
        width: int = 64,
        layers: int = 12,
        kernel: int = 3,
        head_width: int = 256,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0 or kernel < 3:
            raise ValueError(f"kernel {kernel}: must be odd, 3 or more")
        self.num_codes = num_codes
        self.codes_per_position = codes_per_position
        self.grid = grid
        self.num_classes = num_classes
        self.width = width
        self.embedding = nn.Embedding(codes_per_position * num_codes, width)
        classes = num_classes + 1 if num_classes else 0  # one more: no class
        self.layers = nn.ModuleList(
            GatedLayer(width, kernel, first=layer == 0, classes=classes, dropout=dropout)
            for layer in range(layers)
        )
        self.head = CodeHead(num_codes, codes_per_position, width, head_width)

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits, float [B, h, w, n, K], for codes, int64 [B, h, w, n], and labels, int64 [B].

        The logits at a code depend on the codes before it alone. Label ``num_classes`` means no class, and so
        does ``labels=None``.

        Raises:
            ValueError: for labels of another shape, or any label where the prior knows none.
        """
        features = self.embed(codes).permute(0, 3, 1, 2)
        v = h = features.contiguous(memory_format=torch.channels_last)
        labels = self.class_rows(labels, len(codes))
        for layer in self.layers:
            v, h = layer(v, h, labels)
        return self.head(h.permute(0, 2, 3, 1), codes)

    def embed(self, codes: Tensor) -> Tensor:
        """Return the sum of the embeddings of a position's codes, float [..., width], for codes [..., n]."""
        places = torch.arange(self.codes_per_position, device=codes.device)
        return self.embedding(codes + places * self.num_codes).sum(-2)

    def class_rows(self, labels: Tensor | None, count: int) -> Tensor:
        """Return the class of each image, int64 [count], ``num_classes`` standing for none."""
        if labels is None:
            return torch.full((count,), self.num_classes, device=self.embedding.weight.device)
        if self.num_classes == 0:
            raise ValueError("labels were given, but this prior was trained without classes")
        if labels.shape != (count,):
            raise ValueError(f"labels {list(labels.shape)}: expected [{count}]")
        return labels

    def log_prob(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return log p(codes | labels) in nats, float [B]."""
        logits = self(codes, labels).float()
        return (
            -F.cross_entropy(logits.flatten(0, 3), codes.flatten(), reduction="none").view(len(codes), -1).sum(1)
        )

    def start(self, count: int, grid: tuple[int, int], labels: Tensor | None = None) -> PixelCNNCache:
        """Return a fresh cache for ``count`` grids of (h, w) positions."""
        return PixelCNNCache(self, count, grid, self.class_rows(labels, count))

    def step(self, cache: PixelCNNCache, previous: Tensor | None) -> Tensor:
        """Return the logits of the next code, float [B, K], after noting the one before it, int64 [B]."""
        if previous is not None:
            cache.note(previous)
        return cache.next_logits()

    def sample(
        self,
        num: int,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Draw codes, int64 [num, h, w, n]: see ``vqvae.sampling.sample`` for the controls."""
        return sample(
            self,
            num,
            seed=seed,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            labels=labels,
            device=self.embedding.weight.device,
        )
