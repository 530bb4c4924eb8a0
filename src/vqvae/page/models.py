"""The models of a page: the graphs that its runtime runs, and what it must know about them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqvae.errors import UserError
from vqvae.export import FORMATS, Graph, prior_graphs, step_graphs
from vqvae.models import VQVAE
from vqvae.page.graph_json import Blob, graph_json
from vqvae.priors import Prior

_STEPS = {"prior-row": "row", "prior-position": "position", "prior-head": "head", "prior": "prior"}


class PageModels(NamedTuple):
    """The models of a page.

    Attributes:
        graphs: each graph as JSON, by name.
        prior: what the page must know about the prior; None without a prior.
        any_size: whether the decoder and the prior take grids of any size.
        left_out: why the page has no prior although the run has one; empty otherwise.
    """

    graphs: dict[str, Any]
    prior: dict[str, Any] | None
    any_size: bool
    left_out: str


def page_models(tokenizer: VQVAE, prior: Prior | None, size: tuple[int, int], blob: Blob) -> PageModels:
    """Export the models for a page.

    Args:
        tokenizer: in eval mode, on the CPU.
        prior: in eval mode, on the CPU; or None.
        size: height and width of the images.
        blob: takes the weights.

    Raises:
        UserError: for a tokenizer whose operators the page's runtime lacks, or a missing package.
    """
    written = {graph.name: _written(graph, blob) for graph in _tokenizer_graphs(tokenizer, size)}
    graphs = {name: own.json for name, own in written.items()}
    if prior is None:
        return PageModels(graphs, None, False, "")
    whole = prior_graphs(prior)[0]
    try:
        steps_written = {_STEPS[graph.name]: _written(graph, blob) for graph in (*step_graphs(prior), whole)}
    except UserError as error:
        return PageModels(graphs, None, False, str(error))
    written |= steps_written
    graphs = {name: own.json for name, own in written.items()}
    steps = prior.steps()
    start = {} if steps is None else steps.start(1, prior.spec.grid)
    facts = {
        "numClasses": prior.num_classes,
        "start_shapes": {name: list(own.shape) for name, own in start.items()},
    }
    any_size = all(written[name].any_size for name in ("embed", "decode", "prior"))
    return PageModels(graphs, facts, any_size, "")


class _Written(NamedTuple):
    json: dict[str, Any]
    any_size: bool


def _written(graph: Graph, blob: Blob) -> _Written:
    content, kept = FORMATS["onnx"].write(graph)
    any_size = any("height" in sizes.values() for sizes in kept.sizes.values())
    return _Written(graph_json(graph.name, content, blob), any_size)


@torch.no_grad()
def _tokenizer_graphs(tokenizer: VQVAE, size: tuple[int, int]) -> list[Graph]:
    """Return the four functions between an image and its reconstruction."""
    images = torch.zeros(2, tokenizer.channels, *size)
    codes = tokenizer.encode(images)
    z_q = tokenizer.quantizer.embed(codes)
    any_size = {0: "batch", 2: "height", 3: "width"}
    image_size = {0: "batch", 2: f"{tokenizer.factor}*height", 3: f"{tokenizer.factor}*width"}
    code_size = {0: "batch", 1: "height", 2: "width"}
    return [
        Graph("latents", tokenizer.encoder, {"images": images}, ("z_e",), {"images": image_size}),
        Graph("quantize", _Quantize(tokenizer), {"z_e": z_q.clone()}, ("codes",), {"z_e": any_size}),
        Graph("embed", _Embed(tokenizer), {"codes": codes}, ("z_q",), {"codes": code_size}),
        Graph("decode", _Decode(tokenizer), {"z_q": z_q}, ("images",), {"z_q": any_size}),
    ]


class _Quantize(nn.Module):
    def __init__(self, tokenizer: VQVAE) -> None:
        super().__init__()
        self.quantizer: nn.Module = tokenizer.quantizer

    def forward(self, z_e: Tensor) -> Tensor:
        return self.quantizer(z_e).codes


class _Embed(nn.Module):
    def __init__(self, tokenizer: VQVAE) -> None:
        super().__init__()
        self.quantizer = tokenizer.quantizer

    def forward(self, codes: Tensor) -> Tensor:
        return self.quantizer.embed(codes)


class _Decode(nn.Module):
    def __init__(self, tokenizer: VQVAE) -> None:
        super().__init__()
        self.decoder, self.likelihood = tokenizer.decoder, tokenizer.likelihood

    def forward(self, z_q: Tensor) -> Tensor:
        return self.likelihood.mean(self.decoder(z_q)).clamp(-1.0, 1.0)
