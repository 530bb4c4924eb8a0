"""The formats of exported graphs: ONNX, and PyTorch's own exported programs."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from vqvae.errors import UserError
from vqvae.export.graphs import Graph

RunGraph = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""An opened file: from arguments by name to results by name."""


class Written(NamedTuple):
    """A graph as the bytes of a file.

    Attributes:
        content: the bytes.
        graph: the graph; it has one image size if the network allows no other.
    """

    content: bytes
    graph: Graph


class Format(Protocol):
    """A format of files that another runtime reads."""

    ending: str

    def check(self) -> None:
        """Raise UserError if a package is missing."""
        ...

    def write(self, graph: Graph) -> Written:
        """Return the graph as bytes."""
        ...

    def open(self, content: bytes, graph: Graph) -> RunGraph:
        """Return a function that runs the bytes."""
        ...

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that write and run the files."""
        ...


def program_of(graph: Graph) -> torch.export.ExportedProgram:
    """Trace a graph.

    Raises:
        UserError: when the module cannot be traced.
    """
    dims: dict[str, Any] = {}
    shapes = tuple(
        {dim: _size(name, dims) for dim, name in graph.sizes.get(given, {}).items()} or None
        for given in graph.inputs
    )
    with torch.no_grad():
        return torch.export.export(graph.module, tuple(graph.inputs.values()), dynamic_shapes=shapes)


def _size(name: str, dims: dict[str, Any]) -> Any:
    factor, _, base = name.rpartition("*")
    if base not in dims:
        dims[base] = torch.export.Dim(base)
    return int(factor) * dims[base] if factor else dims[base]


def _traced(graph: Graph) -> tuple[torch.export.ExportedProgram, Graph]:
    """Trace a graph with every size that the module allows."""
    try:
        return program_of(graph), graph
    except Exception as error:  # torch names no class for modules that fix a size
        fixed = graph.with_one_size()
        if fixed.sizes == graph.sizes:
            raise _untraceable(graph, error) from error
    try:
        return program_of(fixed), fixed
    except Exception as error:
        raise _untraceable(graph, error) from error


def _untraceable(graph: Graph, error: Exception) -> UserError:
    problem = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return UserError(f"{graph.name}: torch.export cannot trace it: {problem.strip()[:200]}")


class Onnx:
    """ONNX files, run by ONNX Runtime."""

    ending = "onnx"

    def check(self) -> None:
        """Raise UserError if a package of the extra ``onnx`` is missing."""
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        if missing:
            raise UserError(f"ONNX needs {', '.join(missing)}: pip install 'vqvae-toolkit[onnx]'")

    def write(self, graph: Graph) -> Written:
        """Return the graph as an ONNX model of ONNX's own operators."""
        self.check()
        with _quiet():
            program, kept = _traced(graph)
            given, results = list(kept.inputs), list(kept.outputs)
            made = torch.onnx.export(program, input_names=given, output_names=results, dynamo=True, verbose=False)
        assert made is not None
        return Written(made.model_proto.SerializeToString(), kept)

    def open(self, content: bytes, graph: Graph) -> RunGraph:
        """Return a function that runs the model on the CPU."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]

        def run(arguments: Mapping[str, Tensor]) -> dict[str, Tensor]:
            given = {name: arguments[name].cpu().contiguous().numpy() for name in names}
            results = session.run(list(graph.outputs), given)
            return {name: torch.from_numpy(found) for name, found in zip(graph.outputs, results, strict=True)}

        return run

    def versions(self) -> dict[str, str]:
        """Return the versions of torch, onnx, onnxscript and ONNX Runtime."""
        from importlib.metadata import version

        return {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")}


class Torch:
    """Exported programs of PyTorch, which ``torch.export.load`` reads."""

    ending = "pt2"

    def check(self) -> None:
        """Do nothing: no further package is needed."""

    def write(self, graph: Graph) -> Written:
        """Return the graph as the bytes of a .pt2 file."""
        with _quiet():
            program, kept = _traced(graph)
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
        return Written(buffer.getvalue(), kept)

    def open(self, content: bytes, graph: Graph) -> RunGraph:
        """Return a function that runs the program on the CPU."""
        with _quiet():
            module = torch.export.load(io.BytesIO(content)).module()

        def run(arguments: Mapping[str, Tensor]) -> dict[str, Tensor]:
            with torch.no_grad():
                results = module(*(arguments[name].cpu() for name in graph.inputs))
            each = results if isinstance(results, tuple) else (results,)
            return dict(zip(graph.outputs, each, strict=True))

        return run

    def versions(self) -> dict[str, str]:
        """Return the version of torch."""
        return {"torch": str(torch.__version__)}


FORMATS: dict[str, Format] = {"onnx": Onnx(), "torch": Torch()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters, which warn about their own insides and log what they try."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
