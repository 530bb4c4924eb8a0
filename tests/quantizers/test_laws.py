"""What every quantizer keeps, alone and inside others: the protocol's laws, and the traps others fell into."""

import inspect
from dataclasses import fields, replace
from typing import get_type_hints

import pytest
import torch
from tests.quantizers.kinds import choices, class_of, is_inner, kinds, small, variants
from torch.utils.checkpoint import checkpoint

from vqvae.quantizers import Quantizer, ResidualQuantizer

GRID = (3, 5)


def build(name):
    torch.manual_seed(0)
    return variants()[name].build()


@pytest.fixture(params=variants())
def make(request):
    """A function that makes the same quantizer anew."""
    return lambda: build(request.param)


def is_of_a_network(quantizer, name):
    """Say whether a tensor belongs to a network that a quantizer holds, such as a ProjectedQuantizer's maps."""
    owner = quantizer
    for part in name.split(".")[:-1]:
        inner = getattr(owner, part)
        owner = inner if isinstance(inner, Quantizer | torch.nn.ModuleList) else owner
    return not getattr(owner, "keeps_float32", True)


def loss_of(out):
    return out.codebook_loss + 0.25 * out.commitment_loss


def learn(quantizer, z_e, mask=None):
    """One step of plain gradient descent, as the loop takes it."""
    out = quantizer(z_e, mask)
    loss = loss_of(out) + out.z_q.square().mean()
    if loss.requires_grad:
        loss.backward()
    for parameter in quantizer.parameters():
        if parameter.grad is not None:
            parameter.data -= 0.1 * parameter.grad
            parameter.grad = None
    return out, quantizer.update()


@pytest.fixture
def latents(randn):
    """Latents of a quantizer, as a function of a seed."""
    return lambda quantizer, seed, batch=3: 1.5 * randn(seed, batch, quantizer.channels, *GRID)


@pytest.fixture
def started(make, latents):
    """A quantizer that has trained a little."""
    quantizer = make()
    for step in range(3):
        learn(quantizer, latents(quantizer, 100 + step))
    return quantizer


def state(quantizer):
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_it_meets_the_protocol(make):
    quantizer = make()
    assert isinstance(quantizer, Quantizer)
    assert all(value > 0 for value in (quantizer.num_codes, quantizer.codes_per_position, quantizer.channels))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_embed_gives_z_q_bit_for_bit(started, training, latents):
    started.train(training)
    for step in range(4):
        z_e = latents(started, step).requires_grad_()
        out = started(z_e)
        assert out.z_q.shape == z_e.shape and out.z_q.dtype == z_e.dtype
        assert torch.equal(started.embed(out.codes), out.z_q)
        started.update()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_codes_have_their_shape_type_and_range(started, training, latents):
    started.train(training)
    codes = started(latents(started, 1)).codes
    assert codes.shape == (3, *GRID, started.codes_per_position)
    assert codes.dtype == torch.int64
    sizes = torch.tensor(started.code_sizes)
    assert (codes < sizes).all() and sizes.max() == started.num_codes
    assert codes.min() >= (-1 if training else 0)  # -1: dropped by a residual quantizer
    assert len(codes.unique()) > 1


def test_codes_alone_are_those_of_forward(started, latents):
    quantizer = started.eval()
    z_e = latents(quantizer, 3)
    with torch.no_grad():
        assert torch.equal(quantizer.codes(z_e), quantizer(z_e).codes)
    with pytest.raises(ValueError, match="expected floating point"):
        quantizer.codes(z_e[:, :, None].repeat(1, 1, 2, 1, 1)[:, :0])


def test_encoding_one_position_needs_no_other(started, latents):
    started.eval()
    z_e = latents(started, 1)
    alone = started(z_e[1:2, :, 2:3, 4:5]).codes
    assert torch.equal(started(z_e).codes[1:2, 2:3, 4:5], alone)


@pytest.mark.parametrize("trained_before", [False, True])
def test_eval_changes_nothing(make, trained_before, latents):
    quantizer = make()
    if trained_before:
        learn(quantizer, latents(quantizer, 0))
    quantizer.eval()
    before = state(quantizer)
    for step in range(3):
        quantizer(latents(quantizer, step))
        assert quantizer.update() == {}
    assert_same(before, state(quantizer))


def test_a_training_forward_moves_no_number(started, latents):
    before = state(started)
    started(latents(started, 1))
    after = state(started)
    assert all(torch.equal(before[name], after[name]) for name in before if before[name].is_floating_point())


def test_gradients_reach_the_encoder_through_z_q(started, latents):
    z_e = latents(started, 1).requires_grad_()
    (started(z_e).z_q * latents(started, 2)).sum().backward()
    assert z_e.grad.isfinite().all()
    assert (z_e.grad.abs().sum(1) > 0).all()


def test_latents_that_lie_on_their_codes_have_finite_gradients(started, latents):
    # a square root of a distance of 0 has none
    z_e = started.embed(started(latents(started, 1)).codes).detach().requires_grad_()
    out = started(z_e)
    (loss_of(out) + out.z_q.square().mean()).backward()
    grads = [z_e.grad, *(p.grad for p in started.parameters() if p.grad is not None)]
    assert all(grad.isfinite().all() for grad in grads)


def test_gradients_reach_every_parameter(started, latents):
    out = started(latents(started, 1))
    loss = loss_of(out) + out.z_q.square().mean()
    if loss.requires_grad:
        loss.backward()
    for name, parameter in started.named_parameters():
        if isinstance(started, ResidualQuantizer) and started.dropout and "layers.0" not in name:
            continue  # dropout may have left the layer out
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_saved_state_continues_identically(make, latents):
    original, copy = make(), make()
    for step in range(3):
        learn(original, latents(original, step))
    copy.load_state_dict(original.state_dict())
    for step in range(3, 10):
        left, right = (learn(quantizer, latents(original, step)) for quantizer in (original, copy))
        assert torch.equal(left[0].codes, right[0].codes)
        assert torch.equal(left[0].z_q, right[0].z_q)
        assert left[1].keys() == right[1].keys()
        assert_same(state(original), state(copy))


def test_a_loop_that_never_updates_gets_it_at_the_next_training_forward(make, latents):
    diligent, lazy = make(), make()
    for step in range(6):
        if step:
            diligent.update()
        z_e = latents(lazy, step)
        assert torch.equal(diligent(z_e).codes, lazy(z_e).codes)
        assert_same(state(diligent), state(lazy))


def test_autocast_moves_no_code_and_no_bit(started, latents):
    z_e = latents(started, 1).bfloat16()
    started.eval()
    plain = started(z_e)
    with torch.autocast("cpu", torch.bfloat16):
        cast = started(z_e)
    assert torch.equal(plain.codes, cast.codes)
    assert torch.equal(started.embed(cast.codes).bfloat16(), cast.z_q)
    started.train()
    with torch.autocast("cpu", torch.bfloat16):
        z_e = z_e.requires_grad_()
        out = started(z_e)
        (loss_of(out) + out.z_q.mean()).backward()
        started.update()
    assert z_e.grad.dtype == torch.bfloat16 and z_e.grad.isfinite().all()


def test_a_module_cast_to_bf16_keeps_codebooks_and_statistics_in_float32_and_trains(started, latents):
    started.to(torch.bfloat16)
    for name, value in started.state_dict().items():
        cast = is_of_a_network(started, name) and "update_counter" not in name
        assert (value.dtype == torch.bfloat16) == cast, name
    for step in range(4):
        out, _ = learn(started, latents(started, step).bfloat16())
        assert out.z_q.dtype == torch.bfloat16
        assert loss_of(out).isfinite()
    out = started(latents(started, 9).bfloat16())
    assert torch.equal(started.embed(out.codes).bfloat16(), out.z_q)
    assert all(value.isfinite().all() for value in started.state_dict().values())


def test_an_empty_batch_is_defined_and_moves_no_number(make, latents):
    for quantizer in (make(), make()):
        before = state(quantizer)
        out = quantizer(latents(quantizer, 1, batch=0))
        assert out.codes.shape == (0, *GRID, quantizer.codes_per_position)
        assert out.z_q.shape == (0, quantizer.channels, *GRID)
        assert loss_of(out) == 0
        quantizer.update()
        after = state(quantizer)
        assert all(torch.equal(before[name], after[name]) for name in before if before[name].is_floating_point())
        learn(quantizer, latents(quantizer, 0))


def test_a_batch_masked_throughout_is_defined_and_moves_no_number(started, latents):
    before = state(started)
    out = started(latents(started, 1), torch.zeros(3, *GRID, dtype=torch.bool))
    assert loss_of(out) == 0
    started.update()
    after = state(started)
    assert all(torch.equal(before[name], after[name]) for name in before if before[name].is_floating_point())


@pytest.mark.parametrize("first", [True, False], ids=["first-batch", "later-batch"])
def test_masked_positions_enter_no_statistic_and_no_loss(make, first, latents, randn):
    quiet, loud = make(), make()
    for quantizer in (quiet, loud):
        if not first:
            learn(quantizer, latents(quantizer, 0))
    mask = randn(3, 3, *GRID) > 0
    z_e = latents(quiet, 1)
    garbage = torch.where(mask[:, None], z_e, 100 * latents(quiet, 2))
    grads = []
    for quantizer, z in ((quiet, z_e), (loud, garbage)):
        z = z.clone().requires_grad_()
        out = quantizer(z, mask)
        if loss_of(out).requires_grad:
            loss_of(out).backward()
        grads.append((out, z.grad))
        quantizer.update()
    (left, left_grad), (right, right_grad) = grads
    torch.testing.assert_close(loss_of(left), loss_of(right))
    assert torch.equal(left.codes[mask], right.codes[mask])
    assert_same(state(quiet), state(loud))
    if right_grad is not None:
        assert not right_grad.permute(0, 2, 3, 1)[~mask].any()
        torch.testing.assert_close(left_grad, right_grad)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf], ids=str)
def test_one_nan_token_poisons_neither_codebook_nor_statistics(make, bad, latents):
    clean, hit = make(), make()
    for quantizer in (clean, hit):
        learn(quantizer, latents(quantizer, 0))
    z_e = latents(clean, 1)
    mask = torch.ones(3, *GRID, dtype=torch.bool)
    mask[1, 2, 3] = False
    left = clean(z_e, mask)
    z_e[1, :, 2, 3] = bad
    right = hit(z_e)
    assert 0 <= right.codes[1, 2, 3].max() < hit.num_codes
    assert torch.equal(left.codes[mask], right.codes[mask])
    torch.testing.assert_close(left.codebook_loss, right.codebook_loss)
    for quantizer, out in ((clean, left), (hit, right)):
        if out.codebook_loss.requires_grad:
            out.codebook_loss.backward()
        quantizer.update()
    assert_same(state(clean), state(hit))
    for (name, p), (_, q) in zip(clean.named_parameters(), hit.named_parameters(), strict=True):
        if p.grad is not None and not is_of_a_network(clean, name):  # a map sees the NaN itself
            torch.testing.assert_close(p.grad, q.grad, msg=name)


def test_activation_checkpointing_notes_a_batch_once(make, latents):
    plain, again = make(), make()
    for step in range(5):
        grads = []
        for quantizer, run in ((plain, plain), (again, lambda z: checkpoint(again, z, use_reentrant=False))):
            z_e = latents(quantizer, step).requires_grad_()
            out = run(z_e)
            (loss_of(out) + out.z_q.square().mean()).backward()
            quantizer.update()
            grads.append(z_e.grad)
        assert torch.equal(*grads)
        assert_same(state(plain), state(again))


SENSITIVE = {
    "revive_every": 2, "revive_below": 0.6, "kl_weight": 1e-2, "anneal_updates": 8, "temperature": 1.0,
    "dropout": 1.0, "entropy_weight": 0.1,
}  # fmt: skip


def other(config, name):
    """Return another value of a setting."""
    value = getattr(config, name)
    if is_inner(type(config), name):
        return replace(value, **{(first := fields(value)[1].name): other(value, first)})
    if words := choices(type(config), name):
        return next(word for word in words if word != value)
    if value == ():
        return tuple(5 + number for number in range(config.depth))
    if isinstance(value, tuple):
        return value[::-1]
    return value + 1 if isinstance(value, int) else value / 2


def trained(quantizer, latents):
    """Return all that a quantizer says and holds in six steps."""
    found = []
    for step in range(6):
        z_e = latents(quantizer, step).requires_grad_()
        out = quantizer(z_e)
        ((out.z_q * latents(quantizer, 50)).sum() + loss_of(out)).backward()
        found += [*out, z_e.grad]
    return [*quantizer.state_dict().values(), *found]


def same(left, right):
    return len(left) == len(right) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(left, right, strict=True)
    )


@pytest.fixture
def results(latents):
    """A function that builds a config with a seed and trains it."""

    def run(config, **how):
        torch.manual_seed(0)
        return trained(config.build(**how), latents)

    return run


@pytest.mark.parametrize(
    ("kind", "setting"),
    [(kind, name) for kind, config in kinds().items() for name in get_type_hints(type(config)) if name in
     {field.name for field in fields(config)} - {"kind"}],
)  # fmt: skip
def test_every_setting_changes_something(kind, setting, results):
    base = small(type(kinds()[kind]), **SENSITIVE)
    assert same(results(base), results(base))
    assert not same(results(base), results(replace(base, **{setting: other(base, setting)})))


@pytest.mark.parametrize("argument", ["forwards_per_update", "seed"])
@pytest.mark.parametrize("kind", kinds())
def test_the_seed_and_the_forwards_of_an_update_reach_the_quantizers_that_take_them(kind, argument, results):
    base = small(type(kinds()[kind]), **SENSITIVE)
    holds = [part for part in base.build().modules() if isinstance(part, Quantizer)]
    taken = any(argument in arguments_of(type(part)) for part in holds)
    assert same(results(base), results(base, **{argument: 2 if argument == "forwards_per_update" else 5})) != taken


def arguments_of(kind):
    """Return the names of a constructor's arguments, with those that it hands on to its base."""
    names = set()
    for base in kind.__mro__:
        parameters = inspect.signature(base.__init__).parameters
        names |= {name for name, parameter in parameters.items() if parameter.kind != parameter.VAR_KEYWORD}
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return names - {"self"}


@pytest.mark.parametrize("kind", kinds())
def test_every_constructor_takes_the_settings_of_its_config(kind):
    config, taken = kinds()[kind], arguments_of(class_of(kinds()[kind]))
    of_the_build = {"depth", "inner", "groups", "codebook_sizes"} if any(
        is_inner(type(config), field.name) for field in fields(config)
    ) else set()  # fmt: skip
    assert {field.name for field in fields(config)} - {"kind"} - of_the_build <= taken
    assert "channel_last" in taken
