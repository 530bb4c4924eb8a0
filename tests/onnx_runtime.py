"""A module as a file of another runtime: exported to ONNX and run by ONNX Runtime."""

from collections.abc import Callable

import onnxruntime
import torch
from torch import Tensor, nn


def in_onnx_runtime(module: nn.Module, *example: Tensor) -> Callable[..., Tensor]:
    """Export a module whose arguments share a batch of any size; return what runs it without torch."""
    batch = torch.export.Dim("batch")
    dynamic = tuple({0: batch} for _ in example)
    with torch.no_grad():
        program = torch.onnx.export(module, example, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    assert program is not None
    domains = {node.domain for node in program.model_proto.graph.node}
    assert domains <= {"", "ai.onnx"}, domains  # ONNX's own operators, which any runtime has
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [given.name for given in session.get_inputs()]

    def run(*given: Tensor) -> Tensor:
        [found] = session.run(None, {name: value.numpy() for name, value in zip(names, given, strict=True)})
        return torch.from_numpy(found)

    return run
