"""In a graph: torch.compile keeps every gradient, encoding is one graph and exports, torch.func passes through."""

from functools import cache

import pytest
import torch
from tests.onnx_runtime import in_onnx_runtime
from tests.quantizers.kinds import kinds, variants
from torch import nn

from vqvae.models import VQVAE
from vqvae.quantizers import BSQ, rotation_trick, straight_through

GRID = (3, 5)
# of a kind inside a kind, the graph is that of the one around that of the other: two of them stand for all
GRAPHS = [*(name for name in variants() if "-of-" not in name), "residual-of-lfq", "projected-of-residual"]
pytestmark = pytest.mark.filterwarnings("default")  # of the tracer's own


@pytest.fixture(autouse=True)
def fresh_tracer():
    """Start each test without the guards of the others."""
    torch._dynamo.reset()


def started(name, randn):
    """A quantizer that has taken a step."""
    torch.manual_seed(0)
    quantizer = {**variants(), **WIDE}[name].build()
    quantizer(randn(100, 3, quantizer.channels, *GRID))
    quantizer.update()
    return quantizer


def objective(out):
    return out.z_q.square().mean() + out.codebook_loss + 0.25 * out.commitment_loss


def step(module, run, z_e):
    """Return what a module says of a batch, and all gradients."""
    module.zero_grad()
    z_e = z_e.clone().requires_grad_()
    out = run(z_e)
    objective(out).backward()
    return [*out, z_e.grad, *(p.grad for p in module.parameters() if p.grad is not None)]


def assert_close(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "training"),
    [(kind, training) for kind in kinds() for training in (True, False)]
    + [(name, True) for name in variants() if name.endswith(("-rotation", "-n3"))],
)
def test_compiled_codes_values_losses_and_gradients_are_the_eager_ones(name, training, randn):
    eager, compiled = (started(name, randn).train(training) for _ in range(2))
    run = torch.compile(compiled, backend="aot_eager")
    for seed in range(2):
        z_e = randn(seed, 3, eager.channels, *GRID)
        assert_close(step(eager, eager, z_e), step(compiled, run, z_e))
        eager.update(), compiled.update()
    assert_close([*eager.state_dict().values()], [*compiled.state_dict().values()])


class SideBySide(nn.Module):
    """Quantizers of one image, each behind a convolution of its own."""

    def __init__(self, quantizers):
        super().__init__()
        self.quantizers = nn.ModuleList(quantizers)
        self.encoders = nn.ModuleList(nn.Conv2d(3, quantizer.channels, 1) for quantizer in quantizers)

    def forward(self, images):
        pairs = zip(self.encoders, self.quantizers, strict=True)
        found = [quantizer(encoder(images)) for encoder, quantizer in pairs]
        # no codebook's or commitment loss in eval: inductor takes long over them, and aot_eager's test has them
        losses = [objective(out) if self.training else out.z_q.square().mean() for out in found]
        return torch.stack(losses), [out.codes for out in found]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_codes_and_the_gradient_of_every_kind_survive_inductor(training, randn):
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        module = SideBySide([started(kind, randn) for kind in kinds()]).train(training)
        run = torch.compile(module, backend="inductor") if compiled else module
        losses, codes = run(randn(1, 3, 3, *GRID))
        losses.sum().backward()
        assert all(encoder.weight.grad.abs().sum() > 0 for encoder in module.encoders)
        found.append([*codes, losses, *(p.grad for p in module.parameters() if p.grad is not None)])
    assert_close(*found)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("kind", ["ema", "vq"])
def test_a_compiled_tokenizer_has_the_gradients_of_the_eager_one(kind, training, backend, randn):
    def gradients(compiled):
        torch.manual_seed(0)
        model = VQVAE(started(kind, randn), width=8, outer_width=4, residual_width=4, residual_blocks=1)
        model.train(training)
        run = torch.compile(model, backend=backend) if compiled else model
        reconstruction, out = run(randn(1, 2, 3, 8, 8))
        (reconstruction.square().mean() + objective(out)).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.encoder.parameters())
        return [out.codes, *(p.grad for p in model.parameters() if p.grad is not None)]

    for eager, compiled in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(eager, compiled, rtol=1e-4, atol=1e-6)


class Encode(nn.Module):
    """z_e to codes."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer.eval()

    def forward(self, z_e):
        return self.quantizer(z_e).codes


@pytest.mark.parametrize("name", GRAPHS)
def test_encoding_is_one_graph_at_any_batch(name, randn):
    encode = Encode(started(name, randn))
    whole = torch.compile(encode, fullgraph=True, backend="aot_eager")
    for batch in (2, 3, 5):
        z_e = randn(batch, batch, encode.quantizer.channels, *GRID)
        assert torch.equal(whole(z_e), encode(z_e))


@cache
def dynamic_batch():
    return {"z_e": {0: torch.export.Dim("batch")}}


@pytest.mark.parametrize("name", GRAPHS)
def test_encoding_exports_with_a_dynamic_batch_and_no_operator_of_ours(name, randn):
    encode = Encode(started(name, randn)).eval()
    example = randn(1, 2, encode.quantizer.channels, *GRID)
    with torch.no_grad():
        program = torch.export.export(encode, (example,), dynamic_shapes=dynamic_batch())
    assert not [node for node in program.graph.nodes if "vqvae" in str(node.target)]
    for batch in (1, 7):
        z_e = randn(batch, batch, encode.quantizer.channels, *GRID)
        assert torch.equal(program.module()(z_e), encode(z_e))


WIDE = {"bsq-of-40-bits": BSQ.Config(bits=40)}  # codes beyond float32 and int32


@pytest.mark.parametrize("kind", [*kinds(), *WIDE])
def test_encoding_in_onnx_runtime_gives_the_codes_of_the_layer_but_for_near_ties(kind, randn):
    encode = Encode(started(kind, randn)).eval()
    quantizer, run = encode.quantizer, in_onnx_runtime(encode, randn(1, 2, encode.quantizer.channels, *GRID))
    for batch in (1, 7):
        z_e = randn(batch, batch, quantizer.channels, *GRID)
        assert torch.equal(run(z_e), encode(z_e))
        on_codes = quantizer(z_e).z_q.detach()
        ties = (on_codes + on_codes.roll(1, -1)) / 2  # as far from a code as from its neighbour's
        differs = (run(ties) != encode(ties)).any(-1)
        assert not (differs & ~quantizer.is_ambiguous(ties, torch.full((batch,), 1e-6))).any()


@pytest.mark.parametrize("kind", kinds())
def test_torch_func_passes_through_a_quantizer(kind, randn):
    quantizer = started(kind, randn).eval()
    z_e, tangent = randn(1, 4, quantizer.channels, *GRID), randn(2, 4, quantizer.channels, *GRID)
    leaf = z_e.clone().requires_grad_()
    objective(quantizer(leaf)).backward()

    def loss(z):
        return objective(quantizer(z))

    torch.testing.assert_close(torch.func.grad(loss)(z_e), leaf.grad)
    along = torch.func.jvp(loss, (z_e,), (tangent,))[1]
    torch.testing.assert_close(along.float(), (leaf.grad * tangent).sum(), rtol=1e-4, atol=1e-5)
    each = torch.vmap(torch.func.grad(lambda z: loss(z[None])))(z_e)
    for row, z in zip(each, z_e, strict=True):
        torch.testing.assert_close(row, torch.func.grad(loss)(z[None])[0])


@pytest.mark.parametrize("estimator", [straight_through, rotation_trick], ids=lambda f: f.__name__)
def test_torch_func_passes_through_the_estimators(estimator, randn):
    z_e, z_q, weights, tangent = (randn(seed, 6, 4) for seed in range(4))
    leaf = z_e.clone().requires_grad_()
    (estimator(leaf, z_q) * weights).sum().backward()
    found = torch.func.grad(lambda z: (estimator(z, z_q) * weights).sum())(z_e)
    assert torch.equal(found, leaf.grad)
    each = torch.vmap(lambda z, q, w: torch.func.grad(lambda x: (estimator(x, q) * w).sum())(z))(z_e, z_q, weights)
    torch.testing.assert_close(each, leaf.grad)
    value, along = torch.func.jvp(lambda z: estimator(z, z_q), (z_e,), (tangent,))
    assert torch.equal(value, z_q)
    torch.testing.assert_close((along * weights).sum(), (leaf.grad * tangent).sum())
