"""Each operator of the page's runtime agrees with ONNX Runtime, and quantizers run in it as in Python."""

import base64
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from tests.export.test_export import tokenizer
from torch import nn

from vqvae.errors import UserError
from vqvae.export import Graph, Onnx
from vqvae.page.graph_json import Blob, graph_json, operators
from vqvae.page.models import page_models
from vqvae.quantizers import QuantizerConfig

pytestmark = pytest.mark.filterwarnings("default")  # of the exporter's own
OPEN = """((data, text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer, { Graph, tensor } = vqvaePage;
  const arrays = { f: Float32Array, d: Float64Array, i: Float64Array, b: Uint8Array };
  const size = (shape) => shape.reduce((a, b) => a * b, 1);
  const constants = new Map(Object.entries(data.constants).map(([name, [type, shape, at, inline]]) =>
    [name, tensor(type, shape, inline ? arrays[type].from(inline) : new arrays[type](bytes, at, size(shape)))]));
  for (const node of data.nodes) for (const [key, v] of Object.entries(node[3]))
    if (v && v.tensor) node[3][key] = tensor(v.tensor[0], v.tensor[1], arrays[v.tensor[0]].from(v.tensor[2]));
  return new Graph(data, constants);
})"""


RUN = """((graph, given) => {
  const arrays = { f: Float32Array, i: Float64Array, b: Uint8Array };
  const own = Object.entries(given).map(([name, [type, shape, values]]) =>
    [name, vqvaePage.tensor(type, shape, arrays[type].from(values))]);
  const out = graph.run(Object.fromEntries(own));
  return graph.outputs.map((name) => [out[name].shape, Array.from(out[name].data, Number)]);
})"""


def run_in(page, content, given):
    """Run an ONNX model in the page; given: arrays by name. Returns the results in order."""
    blob = Blob()
    data = graph_json("test", content, blob)
    arguments = {name: [own.dtype.kind, list(own.shape), own.flatten().tolist()] for name, own in given.items()}
    text = base64.b64encode(blob.content).decode()
    found = page.run(f"{RUN}({OPEN}({json.dumps(data)}, '{text}'), {json.dumps(arguments)})")
    return [np.array(values).reshape(shape) for shape, values in found]


def f(*shape, low=-2.0):
    return np.random.default_rng(sum(shape)).uniform(low, 2.0, shape).astype(np.float32)


def i(*values):
    return np.array(values, np.int64)


UNARY = "Relu Sigmoid Tanh Exp Neg Abs Erf Floor Ceil Round Sign Sin Cos Tan Atan Softplus HardSwish Mish Identity"
TWICE, FLOOR = np.array([1, 1, 2, 2], np.float32), {"nearest_mode": "floor"}
CASES = [
    *((name, [f(3, 4)], {}) for name in UNARY.split()),
    *((name, [f(3, 4, low=0.1)], {}) for name in ("Log", "Sqrt", "Reciprocal")),
    *((name, [f(3, 4)], {}) for name in ("LeakyRelu", "Elu", "HardSigmoid", "Gelu", "IsNaN", "IsInf")),
    ("Gelu", [f(3, 4)], {"approximate": "tanh"}),
    *((name, [f(2, 3, 4), f(3, 1)], {}) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Less", "Greater")),
    *((name, [f(4, 1), f(3)], {}) for name in ("LessOrEqual", "GreaterOrEqual", "Sum")),
    ("Pow", [f(3, 4, low=0.1), f(4)], {}),
    ("PRelu", [f(2, 3, 4), f(3, 1)], {}),
    ("Div", [i(7, -7, 9), i(2, 2, -4)], {}),
    ("Mod", [i(7, -7, 9), i(4, 4, -4)], {}),
    ("Equal", [i(1, 2, 3), i(1, 5, 3)], {}),
    *((name, [f(4) > 0, f(4, low=-1) > 0.3], {}) for name in ("And", "Or", "Xor")),
    ("Not", [f(4) > 0], {}),
    ("Where", [f(3, 1) > 0, f(2, 3, 4), f(4)], {}),
    ("Clip", [f(3, 4), np.float32(-0.5), np.float32(0.7)], {}),
    ("Cast", [f(3, 4)], {"to": 7}),
    ("CastLike", [f(3, 4), i(1)], {}),
    ("MatMul", [f(2, 5, 7), f(7, 6)], {}),
    ("MatMul", [f(2, 1, 3, 4), f(3, 4, 5)], {}),
    ("MatMul", [f(4), f(4, 3)], {}),
    ("Gemm", [f(5, 3), f(6, 5), f(6)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Conv", [f(2, 3, 9, 8), f(5, 3, 3, 4), f(5)], {"strides": [2, 1], "pads": [1, 2, 0, 1]}),
    ("Conv", [f(2, 4, 9, 8), f(6, 2, 3, 3)], {"group": 2, "dilations": [2, 1]}),
    ("Conv", [f(2, 3, 9), f(5, 3, 4)], {"pads": [1, 2], "strides": [2]}),
    ("ConvTranspose", [f(2, 3, 5, 4), f(3, 2, 4, 4), f(2)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("ConvTranspose", [f(1, 4, 5, 4), f(4, 3, 3, 3)], {"group": 2, "strides": [2, 1], "output_padding": [1, 0]}),
    ("MaxPool", [f(2, 3, 7, 8)], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    ("AveragePool", [f(2, 3, 7, 8)], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    ("GlobalAveragePool", [f(2, 3, 7, 8)], {}),
    *((name, [f(2, 3, 4), i(1, -1)], {"keepdims": k}) for k, name in enumerate(("ReduceSum", "ReduceMean"))),
    *((name, [f(2, 3, 4), i(0)], {}) for name in ("ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")),
    ("ReduceSumSquare", [f(2, 3, 4)], {"keepdims": 0}),
    ("ArgMax", [f(2, 5, 3)], {"axis": 1, "keepdims": 0}),
    ("ArgMin", [np.round(f(2, 9, 3))], {"axis": 1, "select_last_index": 1}),
    ("Softmax", [f(2, 5, 3)], {"axis": 1}),
    ("LogSoftmax", [f(2, 5, 3)], {"axis": -1}),
    ("CumSum", [f(2, 5, 3), np.int64(1)], {"exclusive": 1, "reverse": 1}),
    ("TopK", [f(3, 7), i(3)], {"axis": 1}),
    ("LayerNormalization", [f(2, 3, 8), f(8), f(8, low=0)], {}),
    ("InstanceNormalization", [f(2, 3, 4, 5), f(3), f(3, low=0)], {}),
    ("BatchNormalization", [f(2, 3, 4, 5), f(3), f(3), f(3), f(3, low=0.1)], {}),
    ("GroupNormalization", [f(2, 6, 4, 5), f(6), f(6, low=0)], {"num_groups": 3}),
    ("Shape", [f(2, 3, 4)], {"start": 1}),
    ("Size", [f(2, 3, 4)], {}),
    ("Reshape", [f(2, 3, 4), i(0, -1, 2)], {}),
    ("Flatten", [f(2, 3, 4)], {"axis": 2}),
    ("Squeeze", [f(2, 1, 4, 1), i(1, -1)], {}),
    ("Unsqueeze", [f(2, 4), i(1, -1)], {}),
    ("Transpose", [f(2, 3, 4)], {"perm": [2, 0, 1]}),
    ("Expand", [f(3, 1), i(2, 1, 4)], {}),
    ("Tile", [f(2, 3), i(2, 3)], {}),
    ("Concat", [f(2, 3), f(2, 1), f(2, 4)], {"axis": -1}),
    ("Split", [f(2, 7), i(3, 4)], {"axis": 1}),
    ("Slice", [f(5, 6, 7), i(4, 1), i(-9, 100), i(0, 2), i(-2, 3)], {}),
    ("Gather", [f(3, 4, 5), np.array([[0, -1], [2, 1]])], {"axis": 1}),
    ("GatherElements", [f(3, 4), np.array([[0, 2, 1, 0]])], {"axis": 0}),
    ("GatherND", [f(3, 4, 5), np.array([[0, 1], [2, -1]])], {}),
    ("ScatterND", [f(4, 3), np.array([[1], [3]]), f(2, 3)], {}),
    ("ScatterElements", [f(3, 4), np.array([[0, 2, 1, 0]]), f(1, 4)], {"axis": 0}),
    ("Pad", [f(2, 3), i(1, 0, 2, 1), np.float32(0.5)], {}),
    ("Pad", [f(4, 5), i(2, 1, 1, 3)], {"mode": "reflect"}),
    ("Pad", [f(4, 5), i(2, 1, 1, 3)], {"mode": "edge"}),
    ("Range", [np.int64(2), np.int64(11), np.int64(3)], {}),
    ("OneHot", [i(0, 2, -1), np.int64(4), np.array([-1, 1], np.float32)], {"axis": 0}),
    ("Trilu", [f(2, 4, 5), np.int64(1)], {"upper": 0}),
    ("DepthToSpace", [f(2, 8, 3, 4)], {"blocksize": 2, "mode": "CRD"}),
    ("DepthToSpace", [f(2, 8, 3, 4)], {"blocksize": 2}),
    ("SpaceToDepth", [f(2, 2, 4, 6)], {"blocksize": 2}),
    ("ConstantOfShape", [i(2, 3)], {"value": helper.make_tensor("v", 1, [1], [2.5])}),
    ("Resize", [f(1, 2, 4, 5), None, TWICE], {"coordinate_transformation_mode": "asymmetric", **FLOOR}),
    ("Resize", [f(1, 2, 4, 5), None, TWICE], {"mode": "linear"}),
]  # fmt: skip
NOT_IN_OPSET_21 = {"RMSNormalization", "Swish"}  # opsets 23 and 24


def model_of(op, arrays, attributes):
    names = ["" if array is None else f"x{k}" for k, array in enumerate(arrays)]
    given = {name: np.asarray(array) for name, array in zip(names, arrays, strict=True) if array is not None}
    kinds = helper.np_dtype_to_tensor_dtype
    inputs = [helper.make_tensor_value_info(name, kinds(own.dtype), own.shape) for name, own in given.items()]
    outputs = ["y", "z"] if op in ("Split", "TopK") else ["y"]
    node = helper.make_node(op, names, outputs, **attributes)
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "one", inputs, results)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made).SerializeToString(), given


def test_every_operator_agrees_with_onnx_runtime(page):
    for op, arrays, attributes in CASES:
        content, given = model_of(op, arrays, attributes)
        expected = onnxruntime.InferenceSession(content).run(None, given)
        for found, wanted in zip(run_in(page, content, given), expected, strict=True):
            about = f"{op} {attributes}"
            assert found.shape == wanted.shape, about
            np.testing.assert_allclose(found, wanted.astype(float), rtol=2e-5, atol=2e-6, err_msg=about)
    assert operators() - {op for op, _, _ in CASES} == NOT_IN_OPSET_21


class CodesAndBack(nn.Module):
    """z_e to codes and z_q."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z_e):
        codes = self.quantizer(z_e).codes
        return codes, self.quantizer.embed(codes)


@pytest.mark.parametrize("kind", sorted(QuantizerConfig.kinds()))
def test_a_quantizer_runs_in_the_page_as_in_python(page, kind):
    model = tokenizer(kind)
    torch.manual_seed(1)
    z_e = model.encoder(torch.rand(5, 3, 16, 16) * 2 - 1).detach()
    both = Graph("both", CodesAndBack(model.quantizer), {"z_e": z_e}, ("codes", "z_q"), {"z_e": {0: "batch"}})
    codes, z_q = run_in(page, Onnx().write(both).content, {"z_e": z_e.numpy()})
    ambiguous = model.quantizer.is_ambiguous(z_e, torch.full((5,), 1e-6))
    own = model.quantizer(z_e).codes
    assert not ((torch.from_numpy(codes) != own).any(3) & ~ambiguous).any()
    own_z_q = model.quantizer.embed(torch.from_numpy(codes).long()).detach()
    np.testing.assert_allclose(z_q, own_z_q.numpy(), rtol=0, atol=1e-5)


def test_an_operator_that_the_page_lacks_is_named(monkeypatch, opened_run):
    model, prior = opened_run.tokenizer.model, opened_run.prior.model
    known = operators()
    monkeypatch.setattr("vqvae.page.graph_json.operators", lambda: known - {"Tanh"})
    assert "no operator Tanh" in page_models(model, prior, (32, 32), Blob()).left_out
    monkeypatch.setattr("vqvae.page.graph_json.operators", lambda: known - {"ConvTranspose"})
    with pytest.raises(UserError, match="decode: the page has no operator ConvTranspose"):
        page_models(model, None, (32, 32), Blob())
