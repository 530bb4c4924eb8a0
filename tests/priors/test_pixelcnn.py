"""The prior is causal without a blind spot, normalised, and its cache computes what it does."""

import inspect
from itertools import product
from math import prod

import pytest
import torch

from vqvae.priors import PixelCNN

GRIDS = [(3, 4), (4, 3), (1, 6), (6, 1)]


def build(num_codes=5, *, seed=0, **settings):
    """A prior in float64 with large random weights, so that no influence is lost in rounding."""
    model = PixelCNN(num_codes, **{"width": 8, "layers": 3, "head_width": 16, **settings}).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def random_codes(num_codes, *shape, seed=1):
    return torch.randint(0, num_codes, shape, generator=torch.Generator().manual_seed(seed))


def labels_for(model, count):
    return torch.arange(count) % model.num_classes if model.num_classes else None


@pytest.mark.parametrize("num_classes", [0, 3])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("grid", "kernel"), [*((grid, 3) for grid in GRIDS), ((3, 4), 5)])
def test_a_code_is_seen_by_all_later_logits_and_by_no_others(grid, kernel, n, num_classes):
    model = build(codes_per_position=n, num_classes=num_classes, layers=6, kernel=kernel)
    places = prod(grid) * n
    codes = random_codes(5, 1, *grid, n)
    changed = codes.flatten(1).repeat(places, 1)
    changed.fill_diagonal_(0)
    changed += torch.diag((codes.flatten() + 1) % 5)
    labels = torch.ones(1, dtype=torch.int64) if num_classes else None
    with torch.no_grad():
        before = model(codes, labels)
        after = model(changed.view(places, *grid, n), None if labels is None else labels.expand(places))
    assert after.isfinite().all()
    influence = (after - before).abs().amax(-1).flatten(1)  # [code changed, logits looked at], raster then depth
    later = torch.ones(places, places).triu(1).bool()
    assert (influence[later] > 1e-9).all()
    assert (influence[~later] < 1e-13).all()


@pytest.mark.parametrize("grid", [(3, 4), (4, 3), (1, 6), (6, 1), (1, 1)])
@pytest.mark.parametrize(("n", "num_classes", "kernel"), [(1, 0, 3), (3, 0, 3), (1, 3, 3), (3, 3, 3), (2, 3, 5)])
def test_cached_logits_equal_those_of_the_whole_grid(grid, n, num_classes, kernel):
    model = build(codes_per_position=n, num_classes=num_classes, kernel=kernel, grid=(3, 4))
    codes, labels = random_codes(5, 4, *grid, n), labels_for(model, 4)
    with torch.no_grad():
        whole = model(codes, labels).flatten(1, 3)
        cache, previous, steps = model.start(4, grid, labels), None, []
        for code in codes.flatten(1).T:
            steps.append(model.step(cache, previous))
            previous = code
    torch.testing.assert_close(torch.stack(steps, 1), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("grid", "n"), [((2, 2), 1), ((1, 2), 2)])
@pytest.mark.parametrize("label", [None, 0, 1])
def test_the_probabilities_of_all_grids_sum_to_one(grid, n, label):
    model = build(2, codes_per_position=n, num_classes=2)
    every = torch.tensor(list(product([0, 1], repeat=prod(grid) * n))).view(-1, *grid, n)
    labels = None if label is None else torch.full((len(every),), label)
    with torch.no_grad():
        nats = model.log_prob(every, labels)
    assert nats.shape == (16,)
    assert abs(nats.double().exp().sum() - 1) < 1e-5
    assert nats.std() > 0.01


def test_log_prob_is_the_sum_of_each_codes_logarithm():
    model = build(codes_per_position=2, num_classes=3)
    codes, labels = random_codes(5, 4, 2, 3, 2), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        expected = torch.zeros(4, dtype=torch.float64)
        logits = model(codes, labels)
        for b, i, j, k in product(range(4), range(2), range(3), range(2)):
            expected[b] += logits[b, i, j, k].log_softmax(0)[codes[b, i, j, k]]
        torch.testing.assert_close(model.log_prob(codes, labels).double(), expected, rtol=1e-5, atol=0)


def test_every_label_gives_other_logits_everywhere():
    model, codes = build(num_classes=3), random_codes(5, 1, 3, 4, 1)
    with torch.no_grad():
        logits = model(codes.expand(4, -1, -1, -1), torch.arange(4)).flatten(1, 3)
    for a, b in ((0, 1), (0, 2), (1, 2), (0, 3)):
        assert ((logits[a] - logits[b]).abs().amax(-1) > 1e-6).all()


def test_the_label_after_the_last_class_means_none():
    model, codes = build(num_classes=3), random_codes(5, 2, 3, 4, 1)
    with torch.no_grad():
        assert torch.equal(model(codes), model(codes, torch.full((2,), 3)))
        assert torch.equal(model.log_prob(codes), model.log_prob(codes, torch.full((2,), 3)))
    assert torch.equal(model.sample(2), model.sample(2, labels=torch.full((2,), 3)))


@pytest.mark.parametrize(
    ("num_classes", "labels", "message"),
    [
        (0, torch.zeros(2, dtype=torch.int64), "without classes"),
        (3, torch.zeros(3, dtype=torch.int64), r"expected \[2\]"),
        (3, torch.zeros(2, 1, dtype=torch.int64), r"expected \[2\]"),
    ],
    ids=["no classes", "too many", "another shape"],
)
def test_labels_that_do_not_fit_are_refused(num_classes, labels, message):
    model, codes = build(num_classes=num_classes), random_codes(5, 2, 3, 4, 1)
    with pytest.raises(ValueError, match=message):
        model(codes, labels)
    with pytest.raises(ValueError, match=message):
        model.log_prob(codes, labels)
    with pytest.raises(ValueError, match=message):
        model.start(2, (3, 4), labels)


@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_a_kernel_that_is_even_or_sees_nothing_is_refused(kernel):
    with pytest.raises(ValueError, match=f"kernel {kernel}: must be odd"):
        PixelCNN(5, kernel=kernel)


def test_dropout_acts_in_training_and_never_in_eval():
    without, dropping = build(dropout=0.0), build(dropout=0.5)
    codes = random_codes(5, 2, 3, 4, 1)
    with torch.no_grad():
        assert torch.equal(without(codes), dropping(codes))
        assert torch.equal(without.train()(codes), without.eval()(codes))
        torch.manual_seed(0)
        dropping.train()
        assert not torch.equal(dropping(codes), dropping(codes))


def test_every_parameter_gets_a_gradient():
    model = build(codes_per_position=2, num_classes=3)
    labels = torch.arange(4)
    model.log_prob(random_codes(5, 4, 4, 4, 2), labels).sum().backward()
    still = [name for name, parameter in model.named_parameters() if not parameter.grad.any()]
    assert not still


BASE = {"num_codes": 5, "codes_per_position": 1, "grid": (3, 4), "num_classes": 0, "width": 8, "layers": 3}
BASE |= {"kernel": 3, "head_width": 16, "dropout": 0.0}
OTHER = {"num_codes": 6, "codes_per_position": 2, "grid": (2, 5), "num_classes": 2, "width": 9, "layers": 2}
OTHER |= {"kernel": 5, "head_width": 17, "dropout": 0.5}


@pytest.mark.parametrize("argument", inspect.signature(PixelCNN).parameters)
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
