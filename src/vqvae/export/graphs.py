"""The functions of a tokenizer and a prior that are exported, with their arguments."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqvae.models import VQVAE
from vqvae.priors import Prior, StepFunction

_EXAMPLES = 2  # a batch of 1 would be exported as a constant


@dataclass(frozen=True)
class Graph:
    """A module to export.

    Attributes:
        name: the name of the file, without ending.
        module: the module; its results are one tensor or a tuple.
        inputs: examples of the arguments, by name.
        outputs: the names of the results.
        sizes: the dimensions of each argument that may have any size: from the dimension to the name of its size.
            Equal names are equal sizes. ``4*height`` is a multiple of 4.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    sizes: dict[str, dict[int, str]]

    def with_one_size(self) -> "Graph":
        """Return the graph with a batch of any size and every other size as in the examples."""
        batch = {name: {0: "batch"} for name, sizes in self.sizes.items() if sizes.get(0) == "batch"}
        return Graph(self.name, self.module, self.inputs, self.outputs, batch)


def tokenizer_graphs(tokenizer: VQVAE, size: tuple[int, int]) -> list[Graph]:
    """Return ``encoder``, from images to codes, and ``decoder``, from codes to images.

    Args:
        tokenizer: in eval mode.
        size: height and width of the images.
    """
    images = torch.zeros(_EXAMPLES, tokenizer.channels, *size)
    codes = torch.zeros(_EXAMPLES, *tokenizer.code_spec(*size).shape, dtype=torch.int64)
    f = tokenizer.factor
    encoder = Graph(
        "encoder",
        _Encoder(tokenizer),
        {"images": images},
        ("codes",),
        {"images": {0: "batch", 2: f"{f}*height", 3: f"{f}*width"}},
    )
    sizes = {0: "batch", 1: "height", 2: "width"}
    return [encoder, Graph("decoder", _Decoder(tokenizer), {"codes": codes}, ("images",), {"codes": sizes})]


def prior_graphs(prior: Prior) -> list[Graph]:
    """Return ``prior``, from codes and labels to the logits of every code, and the graphs of its step.

    Args:
        prior: in eval mode.
    """
    inputs = {"codes": torch.zeros(_EXAMPLES, *prior.spec.shape, dtype=torch.int64)}
    sizes = {"codes": {0: "batch", 1: "height", 2: "width"}}
    if prior.num_classes:
        inputs["labels"] = torch.zeros(_EXAMPLES, dtype=torch.int64)
        sizes["labels"] = {0: "batch"}
    return [Graph("prior", prior, inputs, ("logits",), sizes), *step_graphs(prior)]


def step_graphs(prior: Prior) -> list[Graph]:
    """Return ``prior-row`` (if rows need work of their own), ``prior-position`` and ``prior-head``.

    ``prior-head`` maps the features of a position and its codes to logits, float [B, n, K]. The logits of a code
    do not depend on the codes after it; for n = 1, the head takes no codes.

    Args:
        prior: in eval mode; a prior without steps gives an empty list.
    """
    steps = prior.steps()
    if steps is None:
        return []
    h, w = prior.spec.grid
    n = prior.spec.codes_per_position
    known = {
        "previous": torch.zeros(_EXAMPLES, n, dtype=torch.int64),
        "above": torch.zeros(_EXAMPLES, w, n, dtype=torch.int64),
        "at": torch.tensor([min(1, h - 1), min(1, w - 1)]),
        "before": torch.tensor([min(1, h - 1), 0]),
        "labels": torch.zeros(_EXAMPLES, dtype=torch.int64),
        **steps.start(_EXAMPLES, (h, w)),
    }
    for function in filter(None, (steps.row, steps.position)):
        for name, dim in function.growing.items():  # an empty example would be exported as a constant
            shape = list(known[name].shape)
            known[name] = known[name].new_zeros(*shape[:dim], 3, *shape[dim + 1 :])
    graphs = [] if steps.row is None else [_of_function("prior-row", steps.row, known)]
    graphs.append(_of_function("prior-position", steps.position, known))
    features: Tensor = known["features"]
    inputs = {"features": features, **({"codes": known["previous"]} if n > 1 else {})}
    head = Graph("prior-head", _Head(prior), inputs, ("logits",), {name: {0: "batch"} for name in inputs})
    return [*graphs, head]


def _of_function(name: str, function: StepFunction, known: dict[str, Tensor]) -> Graph:
    inputs = {given: known[given] for given in function.inputs}
    with torch.no_grad():
        results: Any = function.module(*inputs.values())
    known.update(zip(function.outputs, results if isinstance(results, tuple) else (results,), strict=True))
    sizes = {given: {0: "batch"} for given in inputs if given not in ("at", "before")}
    for given, dim in function.growing.items():
        sizes[given][dim] = "tokens"
    return Graph(name, function.module, inputs, function.outputs, sizes)


class _Encoder(nn.Module):
    def __init__(self, tokenizer: VQVAE) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, images: Tensor) -> Tensor:
        return self.tokenizer.encode(images)


class _Decoder(nn.Module):
    def __init__(self, tokenizer: VQVAE) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, codes: Tensor) -> Tensor:
        return self.tokenizer.decode(codes)


class _Head(nn.Module):
    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.head = prior.head

    def forward(self, features: Tensor, codes: Tensor | None = None) -> Tensor:
        if codes is not None:
            return self.head(features, codes)
        return self.head.answer(features + self.head.place[0])[:, None]
