"""The transformer is normalised, and its positions are relative."""

import inspect
from itertools import product
from math import prod

import pytest
import torch

from vqvae.priors import CodeTransformer
from vqvae.priors.transformer import rotate, rotation_of


def build(num_codes=5, *, seed=0, **settings):
    """A transformer in float64 with large random weights."""
    model = CodeTransformer(num_codes, **{"width": 16, "layers": 3, "heads": 2, "head_width": 16, **settings})
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def random_codes(num_codes, *shape, seed=1):
    return torch.randint(0, num_codes, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("grid", "n"), [((2, 2), 1), ((1, 2), 2)])
@pytest.mark.parametrize("label", [None, 0, 1])
def test_the_probabilities_of_all_grids_sum_to_one(grid, n, label):
    model = build(2, codes_per_position=n, num_classes=2)
    every = torch.tensor(list(product([0, 1], repeat=prod(grid) * n))).view(-1, *grid, n)
    labels = None if label is None else torch.full((len(every),), label)
    with torch.no_grad():
        nats = model.log_prob(every, labels)
    assert abs(nats.exp().sum() - 1) < 1e-12
    assert nats.std() > 0.01


def test_turned_products_depend_on_differences_of_coordinates_alone():
    h, w, d = 4, 5, 16
    query, key = torch.randn(2, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = torch.stack([query, key])[:, None, None, None].expand(2, 1, 1, h * w, d)
    turned_query, turned_key = rotate(both, rotation_of((h, w), d, query)).flatten(1, 2)[:, 0]
    products = (turned_query @ turned_key.T)[:, 1:].view(h, w, h * w - 1)  # the start token left out
    by_offset = {}
    for row, column, held in product(range(h), range(w), range(h * w - 1)):  # key t holds position t - 1
        offset = row - held // w, column - held % w
        by_offset.setdefault(offset, []).append(products[row, column, held])
    assert max(float(torch.stack(p).std(correction=0)) for p in by_offset.values()) < 1e-12
    means = torch.stack([p[0] for p in by_offset.values()])
    assert len(means.unique()) == len(means)


def test_every_label_gives_other_logits_everywhere_and_the_last_means_none():
    model, codes = build(num_classes=3), random_codes(5, 1, 3, 4, 1)
    with torch.no_grad():
        logits = model(codes.expand(4, -1, -1, -1), torch.arange(4)).flatten(1, 3)
        assert torch.equal(model(codes), model(codes, torch.full((1,), 3)))
    for a, b in ((0, 1), (0, 2), (1, 2), (0, 3)):
        assert ((logits[a] - logits[b]).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize(
    ("num_classes", "labels", "message"),
    [
        (0, torch.zeros(2, dtype=torch.int64), "without classes"),
        (3, torch.zeros(3, dtype=torch.int64), r"expected \[2\]"),
    ],
    ids=["no classes", "too many"],
)
def test_labels_that_do_not_fit_are_refused(num_classes, labels, message):
    model, codes = build(num_classes=num_classes), random_codes(5, 2, 3, 4, 1)
    for ask in (lambda: model(codes, labels), lambda: model.start(2, (3, 4), labels)):
        with pytest.raises(ValueError, match=message):
            ask()


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width 12 must be a multiple of 4"):
        CodeTransformer(5, width=12, heads=2)


def test_dropout_acts_in_training_and_never_in_eval():
    without, dropping = build(dropout=0.0), build(dropout=0.5)
    codes = random_codes(5, 2, 3, 4, 1)
    with torch.no_grad():
        assert torch.equal(without(codes), dropping(codes))
        assert torch.equal(without.train()(codes), without.eval()(codes))
        assert not torch.equal(dropping.train()(codes), dropping(codes))


def test_every_parameter_gets_a_gradient():
    model = build(codes_per_position=2, num_classes=3)
    model.log_prob(random_codes(5, 4, 4, 4, 2), torch.arange(4)).sum().backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
    assert not still


BASE = {"num_codes": 5, "codes_per_position": 1, "grid": (3, 4), "num_classes": 0, "width": 16, "layers": 3}
BASE |= {"heads": 2, "head_width": 16, "dropout": 0.0}
OTHER = {"num_codes": 6, "codes_per_position": 2, "grid": (2, 5), "num_classes": 2, "width": 24, "layers": 2}
OTHER |= {"heads": 4, "head_width": 17, "dropout": 0.5}


@pytest.mark.parametrize("argument", inspect.signature(CodeTransformer).parameters)
def test_every_constructor_argument_changes_something(argument):
    def behaviour(**changes):
        model = build(**{**BASE, **changes})
        shapes = [parameter.shape for parameter in model.parameters()]
        sample_shape = model.sample(1).shape
        torch.manual_seed(0)
        with torch.no_grad():
            logits = model.train()(torch.zeros(1, 3, 4, model.spec.codes_per_position, dtype=torch.int64))
        return shapes, sample_shape, logits.tolist()

    assert behaviour() == behaviour()
    assert behaviour() != behaviour(**{argument: OTHER[argument]})
