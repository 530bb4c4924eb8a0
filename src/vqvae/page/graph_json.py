"""ONNX models as JSON and one blob of numbers, for the page's runtime."""

import hashlib
import re
from importlib.resources import files
from typing import Any

import numpy as np

from vqvae.errors import UserError

_INLINE = 64  # arrays up to this size are written into the JSON
_LARGEST = 2**53  # of an integer that a JavaScript number holds


def operators() -> set[str]:
    """Return the names of the operators that the page's runtime has."""
    text = files("vqvae.page").joinpath("runtime.js").read_text(encoding="utf-8")
    tables = re.findall(r"^const (?:unary|binary|comparisons|several|reductions) = \{(.*?)^\};", text, re.M | re.S)
    named = {name for table in tables for name in re.findall(r"\b([A-Z]\w+): ", table)}
    return (
        named | set(re.findall(r"^ops\.(\w+) = ", text, re.M)) | set(re.findall(r'^pooled\("(\w+)"', text, re.M))
    )


class Blob:
    """The numbers of all graphs, one after another; equal arrays are stored once."""

    def __init__(self) -> None:
        self.content = bytearray()
        self._places: dict[bytes, int] = {}

    def add(self, array: np.ndarray[Any, Any]) -> int:
        """Return the place of an array in the blob, a multiple of 8."""
        raw = array.tobytes()
        key = hashlib.sha256(raw).digest()
        if key not in self._places:
            self.content += bytes(-len(self.content) % 8)
            self._places[key] = len(self.content)
            self.content += raw
        return self._places[key]


def graph_json(name: str, content: bytes, blob: Blob) -> dict[str, Any]:
    """Return an ONNX model as JSON; its large arrays are added to the blob.

    Args:
        name: the name of the graph, for errors.
        content: the bytes of the model.
        blob: takes the arrays.

    Raises:
        UserError: for an operator that the page's runtime lacks.
    """
    import onnx

    model = onnx.load_from_string(content)
    graph, known = model.graph, operators()
    constants = {given.name: _constant(onnx.numpy_helper.to_array(given), blob) for given in graph.initializer}
    nodes: list[list[Any]] = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = _constant(onnx.numpy_helper.to_array(node.attribute[0].t), blob)
            continue
        if node.op_type not in known or node.domain not in ("", "ai.onnx"):
            raise UserError(f"{name}: the page has no operator {node.op_type}, which this network needs")
        attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
        nodes.append([node.op_type, list(node.input), list(node.output), attributes])
    read = {given for node in nodes for given in node[1]}
    inputs = [given.name for given in graph.input if given.name in read]
    return {
        "inputs": inputs,
        "outputs": [given.name for given in graph.output],
        "nodes": nodes,
        "constants": {key: value for key, value in constants.items() if key in read},
    }


def _attribute(attribute: Any) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        letter, array = _as_held(onnx.numpy_helper.to_array(value))
        return {"tensor": [letter, list(array.shape), array.flatten().tolist()]}
    return value if isinstance(value, int | float | str) else list(value)


def _constant(array: np.ndarray[Any, Any], blob: Blob) -> list[Any]:
    """Return [type, shape, place, None], or [type, shape, 0, values] of a small array."""
    letter, held = _as_held(array)
    if held.size <= _INLINE and np.isfinite(held.astype(np.float64)).all():
        return [letter, list(held.shape), 0, held.flatten().tolist()]
    return [letter, list(held.shape), blob.add(held), None]


def _as_held(array: np.ndarray[Any, Any]) -> tuple[str, np.ndarray[Any, Any]]:
    """Return the letter of the runtime's type, and the array in the form that the runtime holds."""
    if array.dtype == np.bool_:
        return "b", array.astype(np.uint8)
    if array.dtype == np.float64:
        return "d", array
    if np.issubdtype(array.dtype, np.floating):
        return "f", array.astype(np.float32)
    # limits such as the end of a slice are clipped: no array is longer
    return "i", array.clip(-_LARGEST, _LARGEST).astype(np.float64) if array.dtype.itemsize == 8 else array.astype(
        np.float64
    )
