"""What every prior does: it takes codes and labels of any fitting type, exports, compiles, and needs no cache."""

from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from tests.onnx_runtime import in_onnx_runtime
from tests.priors.kinds import KINDS, small, spec_of
from torch import nn

from vqvae.priors import CodeEmbedding, CodeHead, Prior, PriorModelConfig
from vqvae.sampling import inpaint, sample, sample_naively
from vqvae.training.sharding import Shardable

N = 2
SPEC = spec_of((4, 3), N)


class RunningMean(Prior):
    """The smallest prior: the features of a position are the mean of the embeddings before it.

    Args:
        width: channels.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PriorModelConfig):
        """Settings of the class."""

        kind: Literal["running-mean"] = "running-mean"
        width: int = 16

        def build(self, spec, *, num_classes=0):
            return RunningMean(spec, num_classes=num_classes, width=self.width)

    def __init__(self, spec, *, num_classes=0, width=16):
        super().__init__(spec, num_classes=num_classes)
        self.embedding = CodeEmbedding(spec, width)
        self.classes = nn.Embedding(num_classes + 1, width)
        self.head = CodeHead(spec, width, 32)

    def features(self, codes, labels):
        embedded = self.embedding(codes).flatten(1, 2)
        before = (embedded.cumsum(1) - embedded) / torch.arange(1, embedded.shape[1] + 1)[:, None]
        return (before + self.classes(labels)[:, None]).unflatten(1, codes.shape[1:3])


@pytest.fixture(params=[*KINDS, "running-mean"])
def prior(request):
    torch.manual_seed(0)
    if request.param == "running-mean":
        return RunningMean(SPEC, num_classes=3).eval()
    return small(request.param, SPEC, num_classes=3).eval()


def random_codes(count=6):
    return torch.randint(0, 5, (count, *SPEC.shape), generator=torch.Generator().manual_seed(1))


def test_a_prior_of_a_class_and_its_features_alone_samples_and_inpaints_exactly():
    torch.manual_seed(0)
    prior, labels = RunningMean(SPEC, num_classes=3).double().eval(), torch.arange(6) % 4
    drawn = prior.sample(6, seed=3, labels=labels)
    assert torch.equal(drawn, sample_naively(prior, 6, seed=3, labels=labels))
    assert torch.equal(inpaint(prior, drawn, torch.zeros(4, 3, dtype=torch.bool), seed=3, labels=labels), drawn)
    assert torch.equal(prior.sample(6, seed=3, labels=labels, guidance=0.0), prior.sample(6, seed=3))


def test_a_config_of_the_outside_builds_its_prior_with_the_spec():
    built = PriorModelConfig.kinds()["running-mean"](width=8).build(SPEC, num_classes=2)
    assert isinstance(built, RunningMean) and built.spec == SPEC and built.num_classes == 2


def test_the_spec_and_the_classes_are_those_that_it_was_built_for(prior):
    assert prior.spec == SPEC and prior.num_classes == 3
    assert prior.sample(2).shape == (2, *SPEC.shape)
    assert prior.sample(2, grid=(2, 5)).shape == (2, 2, 5, N)


def test_the_units_of_sharding_hold_every_parameter_and_inner_ones_come_first(prior):
    assert isinstance(prior, Shardable)
    units = prior.sharding_units()
    assert {id(p) for unit in units for p in unit.parameters()} == {id(p) for p in prior.parameters()}
    for number, unit in enumerate(units):
        inside = {id(module) for module in unit.modules()}
        assert not any(id(later) in inside for later in units[number + 1 :])


@pytest.mark.parametrize("labels", [None, torch.arange(6) % 4], ids=["without labels", "with labels"])
def test_it_exports_with_a_dynamic_batch(prior, labels):
    codes = random_codes()
    arguments = (codes,) if labels is None else (codes, labels)
    batch = torch.export.Dim("batch", min=1, max=64)
    dynamic = ({0: batch},) if labels is None else ({0: batch}, {0: batch})
    exported = torch.export.export(prior, arguments, dynamic_shapes=dynamic).module()
    for count in (1, 2, 5, 6):
        part = [argument[:count] for argument in arguments]
        with torch.no_grad():
            torch.testing.assert_close(exported(*part), prior(*part), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("default")  # of the exporter's own
@pytest.mark.parametrize("kind", KINDS)
def test_its_logits_in_onnx_runtime_are_its_own_at_any_batch(kind):
    torch.manual_seed(0)
    prior = small(kind, SPEC, num_classes=3, layers=2).eval()
    codes, labels = random_codes(), torch.arange(6) % 4
    run = in_onnx_runtime(prior, codes, labels)
    for count in (1, 5):
        with torch.no_grad():
            own = prior(codes[:count], labels[:count])
        torch.testing.assert_close(run(codes[:count], labels[:count]), own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_it_compiles_without_a_break_and_has_the_same_gradient(prior, mode):
    prior.train(mode == "train")
    compiled, codes, labels = (
        torch.compile(prior, fullgraph=True, backend="aot_eager"),
        random_codes(),
        torch.arange(6) % 4,
    )
    gradients = []
    for network in (prior, compiled):
        prior.zero_grad()
        logits = network(codes, labels)
        logits.log_softmax(-1)[..., 0].sum().backward()
        gradients.append([logits.detach(), *(p.grad.clone() for p in prior.parameters())])
    for eager, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, eager, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_codes_of_any_integer_type_cost_the_same(prior, dtype):
    codes = random_codes()
    with torch.no_grad():
        assert torch.equal(prior.log_prob(codes.to(dtype)), prior.log_prob(codes))
        assert torch.equal(prior(codes.to(dtype)), prior(codes))


@pytest.mark.parametrize("kind", KINDS)
def test_the_place_within_a_position_may_be_left_out_where_there_is_one(kind):
    prior = small(kind, spec_of((4, 3)), num_classes=3).eval()
    codes = random_codes()[..., :1]
    with torch.no_grad():
        assert torch.equal(prior.log_prob(codes[..., 0]), prior.log_prob(codes))
        assert torch.equal(prior.code_nats(codes[..., 0]), prior.code_nats(codes))


def test_labels_may_be_a_list_or_one_integer_for_all(prior):
    codes, labels = random_codes(), torch.tensor([0, 1, 2, 3, 0, 1])
    with torch.no_grad():
        for given in (labels.tolist(), labels.int(), labels.to(torch.uint8)):
            assert torch.equal(prior.log_prob(codes, given), prior.log_prob(codes, labels))
        for given in (2, torch.tensor(2)):
            assert torch.equal(prior(codes, given), prior(codes, torch.full((6,), 2)))
    assert torch.equal(prior.sample(6, labels=labels.tolist()), prior.sample(6, labels=labels))
    assert torch.equal(sample(prior, 6, labels=2), sample(prior, 6, labels=torch.full((6,), 2)))
    keep = torch.zeros(4, 3, dtype=torch.bool)
    assert torch.equal(inpaint(prior, codes, keep, labels=1), inpaint(prior, codes, keep, labels=[1] * 6))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (torch.zeros(6, 4, 3, N), r"codes torch\.float32: expected integers 0\.\.4"),
        (torch.zeros(6, 4, 3, dtype=torch.int64), r"codes \[6, 4, 3\]: expected \[B, h, w, 2\]"),
        (torch.full((6, 4, 3, N), 5), r"codes 5\.\.5: expected 0\.\.4"),
        (torch.full((6, 4, 3, N), -1), r"codes -1\.\.-1: expected 0\.\.4"),
    ],
    ids=["floats", "too few axes", "too large", "negative"],
)
def test_codes_that_do_not_fit_are_refused(prior, codes, says, training):
    prior.train(training)
    for ask in (prior, prior.log_prob, prior.code_nats):
        with pytest.raises(ValueError, match=says):
            ask(codes)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (4, r"labels 4\.\.4: expected 0\.\.3, 3 for no class"),
        ([0, 1, 2, 3, 4, 5], r"labels 0\.\.5: expected 0\.\.3, 3 for no class"),
        (torch.full((6,), -1), r"labels -1\.\.-1: expected 0\.\.3"),
        ([0.0] * 6, r"labels torch\.float32: expected integers 0\.\.3"),
        ([0, 1], r"labels \[2\]: expected \[6\], a class for each image, or one integer"),
        (torch.zeros(6, 1, dtype=torch.int64), r"labels \[6, 1\]: expected \[6\]"),
    ],
    ids=["too large for all", "too large", "negative", "floats", "too few", "too many axes"],
)
def test_labels_that_do_not_fit_are_refused(prior, labels, says):
    codes = random_codes()
    for ask in (
        lambda: prior(codes, labels),
        lambda: prior.log_prob(codes, labels),
        lambda: prior.start(6, (4, 3), labels),
        lambda: prior.sample(6, labels=labels),
        lambda: inpaint(prior, codes, torch.zeros(4, 3, dtype=torch.bool), labels=labels),
    ):
        with pytest.raises(ValueError, match=says):
            ask()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_without_classes_refuses_labels(kind):
    prior = small(kind, SPEC).eval()
    with pytest.raises(ValueError, match="this prior was trained without classes"):
        prior.log_prob(random_codes(), 0)
    with pytest.raises(ValueError, match="this prior was trained without classes"):
        prior.sample(2, labels=[0, 0])
