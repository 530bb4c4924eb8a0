"""Every prior is a distribution over codes given a label, and all that it is made of takes part."""

import inspect
from itertools import product
from math import prod

import pytest
import torch
from tests.priors.kinds import KINDS, decided, random_codes, small, small_config, spec_of
from tests.refused_values import refused_values

from vqvae.component import component_class

GRID = (3, 4)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.mark.parametrize(("grid", "n"), [((2, 2), 1), ((1, 2), 2)])
@pytest.mark.parametrize("label", [None, 0, 1])
def test_the_probabilities_of_all_grids_sum_to_one(kind, grid, n, label):
    model = decided(small(kind, spec_of(grid, n, num_codes=2), num_classes=2))
    every = torch.tensor(list(product([0, 1], repeat=prod(grid) * n))).view(-1, *grid, n)
    with torch.no_grad():
        log_p = model.log_prob(every, label)
    assert log_p.shape == (16,)
    assert abs(log_p.exp().sum() - 1) < 1e-12
    assert log_p.std() > 0.01


def test_log_prob_is_the_sum_of_each_codes_logarithm(kind):
    model = decided(small(kind, spec_of((2, 3), 2), num_classes=3))
    codes, labels = random_codes(4, (2, 3), 2), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        expected, logits = torch.zeros(4, dtype=torch.float64), model(codes, labels)
        for b, i, j, k in product(range(4), range(2), range(3), range(2)):
            expected[b] += logits[b, i, j, k].log_softmax(0)[codes[b, i, j, k]]
        torch.testing.assert_close(model.log_prob(codes, labels), expected, rtol=1e-12, atol=0)


def test_every_label_gives_other_logits_everywhere(kind):
    model, codes = decided(small(kind, spec_of(GRID), num_classes=3)), random_codes(1, GRID, 1)
    with torch.no_grad():
        logits = model(codes.expand(4, -1, -1, -1), torch.arange(4)).flatten(1, 3)
    for a, b in ((0, 1), (0, 2), (1, 2), (0, 3)):
        assert ((logits[a] - logits[b]).abs().amax(-1) > 1e-6).all()


def test_the_label_after_the_last_class_means_none(kind):
    model, codes = decided(small(kind, spec_of(GRID), num_classes=3)), random_codes(2, GRID, 1)
    with torch.no_grad():
        assert torch.equal(model(codes), model(codes, torch.full((2,), 3)))
        assert torch.equal(model.log_prob(codes), model.log_prob(codes, torch.full((2,), 3)))
    assert torch.equal(model.sample(2), model.sample(2, labels=torch.full((2,), 3)))


def test_dropout_acts_in_training_and_never_in_eval(kind):
    if "dropout" not in small_config(kind).settings():
        pytest.skip(f"{kind} has no dropout")
    without, dropping = (decided(small(kind, spec_of(GRID), dropout=share)) for share in (0.0, 0.5))
    codes = random_codes(2, GRID, 1)
    with torch.no_grad():
        assert torch.equal(without(codes), dropping(codes))
        assert torch.equal(without.train()(codes), without.eval()(codes))
        torch.manual_seed(0)
        dropping.train()
        assert not torch.equal(dropping(codes), dropping(codes))


def test_every_parameter_gets_a_gradient(kind):
    model = decided(small(kind, spec_of((4, 4), 2), num_classes=3))
    model.log_prob(random_codes(4, (4, 4), 2), torch.arange(4)).sum().backward()
    assert not [name for name, parameter in model.named_parameters() if not parameter.grad.any()]


MADE_FROM_SIZES = [
    kind
    for kind in KINDS
    if "num_codes" in inspect.signature(component_class(type(small_config(kind)))).parameters
]
OTHER_SPECS = {"num_codes": spec_of(GRID, 1, 6), "codes_per_position": spec_of(GRID, 2), "grid": spec_of((2, 5))}
OTHER = {"width": 24, "layers": 3, "kernel": 3, "heads": 4, "head_width": 17, "dropout": 0.5}
ARGUMENTS = [
    (kind, name)
    for kind in KINDS
    for name in (*OTHER_SPECS, "num_classes", *sorted(OTHER.keys() & small_config(kind).settings()))
]


@pytest.mark.parametrize(("kind", "argument"), ARGUMENTS)
def test_every_argument_changes_something(kind, argument):
    def behaviour(spec=spec_of(GRID), num_classes=0, **settings):  # noqa: B008
        model = decided(small(kind, spec, num_classes=num_classes, **settings))
        shapes = [parameter.shape for parameter in model.parameters()]
        sample_shape = model.sample(1).shape
        torch.manual_seed(0)
        with torch.no_grad():
            logits = model.train()(torch.zeros(1, *spec.grid, spec.codes_per_position, dtype=torch.int64))
        return shapes, sample_shape, logits.tolist()

    if argument in OTHER_SPECS:
        changes = {"spec": OTHER_SPECS[argument]}
    else:
        changes = {argument: 2 if argument == "num_classes" else OTHER[argument]}
    assert behaviour() == behaviour()
    assert behaviour() != behaviour(**changes)


def test_the_layer_refuses_what_its_config_refuses_in_the_same_words(kind):
    config = small_config(kind)
    if kind not in MADE_FROM_SIZES:
        pytest.skip(f"{kind} is made from a spec alone")
    refused = list(refused_values(config))
    assert {name for name, _, _ in refused} == config.settings().keys()
    for name, value, words in refused:
        with pytest.raises(ValueError) as said:
            component_class(type(config))(5, **{name: value})
        assert str(said.value) == words


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"num_codes": 0}, "num_codes: must be an integer above 0, got 0"),
        ({"codes_per_position": 0}, "codes_per_position: must be an integer above 0, got 0"),
        ({"grid": (0, 4)}, "grid.0: must be 2 integers above 0, got 0"),
        ({"grid": (4, -1)}, "grid.1: must be 2 integers above 0, got -1"),
        ({"num_classes": -1}, "num_classes: must be an integer of at least 0, got -1"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", MADE_FROM_SIZES)
def test_codes_and_classes_that_cannot_be_are_refused(kind, given, says):
    sizes = {"num_codes": 5, "codes_per_position": 1, "grid": GRID, "num_classes": 0}
    with pytest.raises(ValueError) as said:
        component_class(type(small_config(kind)))(**{**sizes, **given})
    assert str(said.value) == says
