"""What every quantizer keeps, alone and inside others: the protocol's laws, and the traps others fell into."""

import inspect

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from vqvae.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    CosineQuantizer,
    EMAQuantizer,
    GroupedQuantizer,
    GumbelQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
    rotation_trick,
    straight_through,
)

GRID = (3, 5)
KEPT = {"revive_every": 3, "revive_below": 0.4, "forwards_per_update": 1}


def ema(dim=4, **changes):
    return EMAQuantizer(12, dim, **{**KEPT, **changes})


def vq(dim=4, **changes):
    return VectorQuantizer(12, dim, **{**KEPT, **changes})


KINDS = {
    "vq": vq,
    "vq-n3": lambda: vq(codes_per_position=3),
    "vq-rotation": lambda: vq(estimator=rotation_trick),
    "ema": ema,
    "ema-n3": lambda: ema(codes_per_position=3),
    "ema-rotation": lambda: ema(codes_per_position=2, estimator=rotation_trick),
    "cosine": lambda: CosineQuantizer(12, 4, **KEPT),
    "cosine-n2": lambda: CosineQuantizer(12, 4, codes_per_position=2, **KEPT),
    "simvq": lambda: SimVQ(12, 4),
    "simvq-n2-rotation": lambda: SimVQ(12, 4, codes_per_position=2, estimator=rotation_trick),
    "gumbel": lambda: GumbelQuantizer(12, 4, anneal_updates=4),
    "fsq-odd": lambda: FSQ((3, 5, 7)),
    "fsq-even": lambda: FSQ((4, 8, 6, 5)),
    "lfq": lambda: LFQ(5),
    "bsq": lambda: BSQ(5),
    "projected-ema": lambda: ProjectedQuantizer(ema(dim=3), 6),
    "projected-fsq": lambda: ProjectedQuantizer(FSQ((5, 4)), 6),
    "residual-ema": lambda: ResidualQuantizer([ema(), ema(seed=1), ema(seed=2)]),
    "residual-vq-dropout": lambda: ResidualQuantizer([vq(), vq(seed=1), vq(seed=2)], dropout=1.0, seed=4),
    "residual-cosine-rotation": lambda: ResidualQuantizer(
        [CosineQuantizer(12, 4, **KEPT) for _ in range(2)], estimator=rotation_trick
    ),
    "residual-projected": lambda: ResidualQuantizer([ProjectedQuantizer(ema(dim=2), 4) for _ in range(2)]),
    "projected-residual": lambda: ProjectedQuantizer(ResidualQuantizer([ema(3), ema(3)], dropout=0.5), 5),
    "grouped": lambda: GroupedQuantizer([ema(2), vq(3, codes_per_position=2)]),
}


def build(name):
    torch.manual_seed(0)
    return KINDS[name]()


@pytest.fixture(params=KINDS)
def make(request):
    """A function that makes the same quantizer anew."""
    return lambda: build(request.param)


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
        assert out.z_q.shape == z_e.shape
        assert out.z_q.dtype == torch.float32
        assert torch.equal(started.embed(out.codes), out.z_q)
        started.update()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_codes_have_their_shape_type_and_range(started, training, latents):
    started.train(training)
    codes = started(latents(started, 1)).codes
    assert codes.shape == (3, *GRID, started.codes_per_position)
    assert codes.dtype == torch.int64
    assert codes.max() < started.num_codes
    assert codes.min() >= (-1 if training else 0)  # -1: dropped by a residual quantizer
    assert len(codes.unique()) > 1


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
        if "layers.2" in name or "layers.1" in name:
            continue  # of layers that dropout may have left out
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
    assert cast.z_q.dtype == torch.float32
    assert torch.equal(plain.codes, cast.codes)
    assert torch.equal(started.embed(cast.codes), cast.z_q)
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
        network = ".down." in f".{name}" or ".up." in f".{name}"  # a ProjectedQuantizer's maps are networks
        assert value.dtype == torch.bfloat16 if network else value.dtype != torch.bfloat16, name
    for step in range(4):
        out, _ = learn(started, latents(started, step).bfloat16())
        assert out.z_q.dtype == torch.float32
        assert loss_of(out).isfinite()
    out = started(latents(started, 9).bfloat16())
    assert torch.equal(started.embed(out.codes), out.z_q)
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
        if p.grad is not None and "down" not in name:
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


ARGUMENTS = {
    VectorQuantizer: (
        {"num_codes": 12, "dim": 4, "codes_per_position": 1, "estimator": straight_through,
         "forwards_per_update": 1, "revive_every": 2, "revive_below": 0.6, "seed": 0},
        {"num_codes": 13, "dim": 3, "codes_per_position": 2, "estimator": rotation_trick,
         "forwards_per_update": 3, "revive_every": 3, "revive_below": 0.9, "seed": 1},
    ),
    SimVQ: (
        {"num_codes": 12, "dim": 4, "codes_per_position": 1, "estimator": straight_through},
        {"num_codes": 13, "dim": 3, "codes_per_position": 2, "estimator": rotation_trick},
    ),
    GumbelQuantizer: (
        {"num_codes": 12, "dim": 4, "kl_weight": 1e-2, "start_temperature": 1.0, "final_temperature": 0.1,
         "anneal_updates": 8, "forwards_per_update": 1, "seed": 0},
        {"num_codes": 13, "dim": 3, "kl_weight": 2e-2, "start_temperature": 2.0, "final_temperature": 0.2,
         "anneal_updates": 9, "forwards_per_update": 2, "seed": 1},
    ),
    FSQ: ({"levels": (3, 5)}, {"levels": (5, 3)}),
    LFQ: (
        {"bits": 4, "entropy_weight": 0.1, "diversity": 1.0, "temperature": 1.0},
        {"bits": 5, "entropy_weight": 0.2, "diversity": 2.0, "temperature": 0.5},
    ),
    ProjectedQuantizer: (
        {"inner": lambda: ema(3), "channels": 5},
        {"inner": lambda: ema(3, codes_per_position=2), "channels": 6},
    ),
    ResidualQuantizer: (
        {"layers": lambda: [ema(), ema()], "dropout": 0.5, "estimator": straight_through,
         "forwards_per_update": 1, "seed": 0},
        {"layers": lambda: [ema(), ema(), ema()], "dropout": 1.0, "estimator": rotation_trick,
         "forwards_per_update": 2, "seed": 1},
    ),
    GroupedQuantizer: ({"groups": lambda: [ema(), ema()]}, {"groups": lambda: [ema(), vq()]}),
}  # fmt: skip
ARGUMENTS[EMAQuantizer] = ARGUMENTS[CosineQuantizer] = tuple(
    {**ARGUMENTS[VectorQuantizer][i], "decay": decay} for i, decay in ((0, 0.9), (1, 0.8))
)
ARGUMENTS[BSQ] = ARGUMENTS[LFQ]


@pytest.mark.parametrize(
    ("kind", "argument"),
    [(kind, name) for kind in ARGUMENTS for name in inspect.signature(kind).parameters],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_constructor_argument_changes_something(kind, argument, latents):
    base, other = ARGUMENTS[kind]

    def trained(**changes):
        torch.manual_seed(0)
        values = {**base, **changes}
        quantizer = kind(**{name: v() if inspect.isfunction(v) and v.__name__ == "<lambda>" else v
                            for name, v in values.items()})  # fmt: skip
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

    assert base.keys() == other.keys() == inspect.signature(kind).parameters.keys()
    assert same(trained(), trained())
    assert not same(trained(), trained(**{argument: other[argument]}))
