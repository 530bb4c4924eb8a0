"""The edge of the layer, for every kind: any number of dimensions, any place of the channels, any dtype."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.quantizers.kinds import class_of, kinds, newcomer
from tests.refused_values import refused_values
from torch import nn

from vqvae.quantizers import EMAQuantizer, ResidualQuantizer

POSITIONS = [(), (7,), (3, 5), (2, 3, 4), (2, 1, 3, 2)]


@pytest.fixture(params=kinds())
def quantizer(request, randn):
    """A quantizer of each kind in eval mode, after a step of training."""
    torch.manual_seed(0)
    made = kinds()[request.param].build()
    made(randn(100, 4, made.channels, 3, 5))
    made.update()
    return made.eval()


def images_in_a_row(z):
    """[B, D, *spatial] -> [B, D, positions]: one spatial dimension for all."""
    return z.flatten(2) if z.ndim > 2 else z[:, :, None]


@pytest.mark.parametrize("spatial", POSITIONS, ids=str)
def test_any_number_of_spatial_dimensions_is_a_row_of_positions(quantizer, spatial, randn):
    z_e, mask = randn(1, 2, quantizer.channels, *spatial), randn(2, 2, *spatial) > 0
    out, flat = quantizer(z_e, mask), quantizer(images_in_a_row(z_e), mask.view(2, -1))
    assert out.z_q.shape == z_e.shape
    assert out.codes.shape == (2, *spatial, quantizer.codes_per_position)
    assert torch.equal(out.codes.reshape(flat.codes.shape), flat.codes)
    assert torch.equal(images_in_a_row(out.z_q), flat.z_q)
    assert torch.equal(quantizer.embed(out.codes), out.z_q)
    assert (out.codebook_loss, out.commitment_loss) == (flat.codebook_loss, flat.commitment_loss)
    tolerance = torch.tensor([0.01, 0.1])
    ambiguous = quantizer.is_ambiguous(z_e, tolerance)
    assert ambiguous.shape == (2, *spatial) and ambiguous.dtype == torch.bool
    assert torch.equal(ambiguous.view(2, -1), quantizer.is_ambiguous(images_in_a_row(z_e), tolerance))


@pytest.mark.parametrize("spatial", [(), (3, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_channels_may_stand_last(quantizer, spatial, training, randn):
    first = randn(1, 2, quantizer.channels, *spatial).requires_grad_()
    last = first.detach().movedim(1, -1).clone().requires_grad_()
    mask, weights = randn(2, 2, *spatial) > 0, randn(3, 2, quantizer.channels, *spatial)
    quantizer.train(training)
    state = {name: value.clone() for name, value in quantizer.state_dict().items()}
    out = quantizer(first, mask)
    ((out.z_q * weights).sum() + out.codebook_loss + out.commitment_loss).backward()
    quantizer.load_state_dict(state)
    quantizer.channel_last = True
    turned = quantizer(last, mask)
    ((turned.z_q * weights.movedim(1, -1)).sum() + turned.codebook_loss + turned.commitment_loss).backward()
    assert torch.equal(turned.z_q, out.z_q.movedim(1, -1))
    assert torch.equal(turned.codes, out.codes)
    assert torch.equal(quantizer.embed(turned.codes), turned.z_q)
    assert torch.equal(last.grad, first.grad.movedim(1, -1))
    tolerance = torch.tensor([0.01, 0.1])
    marks = quantizer.eval().is_ambiguous(last, tolerance)
    quantizer.channel_last = False
    assert torch.equal(marks, quantizer.is_ambiguous(first, tolerance))


def test_a_constructor_sets_where_channels_stand(randn):
    z_e = randn(1, 2, 9, 4)
    assert EMAQuantizer(12, 4, channel_last=True)(z_e).z_q.shape == z_e.shape
    stack = ResidualQuantizer([EMAQuantizer(12, 4), EMAQuantizer(12, 4)], channel_last=True)
    assert stack(z_e).codes.shape == (2, 9, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
def test_z_q_has_the_dtype_of_z_e_and_the_codes_of_its_float32_values(quantizer, dtype, randn):
    z_e = randn(1, 2, quantizer.channels, 3, 5).to(dtype).requires_grad_()
    out, plain = quantizer(z_e), quantizer(z_e.float())
    assert out.z_q.dtype == dtype
    assert torch.equal(out.codes, plain.codes) and torch.equal(out.z_q, plain.z_q.to(dtype))
    assert (
        out.codebook_loss.dtype == out.commitment_loss.dtype == quantizer.embed(out.codes).dtype == torch.float32
    )
    (out.z_q.sum() + out.commitment_loss).backward()
    assert z_e.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("kind", kinds())
def test_a_network_around_it_trains_in_any_dtype(kind, dtype, randn):
    torch.manual_seed(0)
    quantizer = kinds()[kind].build()
    network = nn.Sequential(
        nn.Conv2d(3, quantizer.channels, 1), quantizer, First(), nn.Conv2d(quantizer.channels, 3, 1)
    )
    network.to(dtype)
    network(randn(1, 2, 3, 4, 4).to(dtype)).square().mean().backward()
    assert network[0].weight.grad.abs().sum() > 0
    held = [value for part in quantizer.modules() if getattr(part, "keeps_float32", False)
            for value in part.state_dict().values() if value.is_floating_point()]  # fmt: skip
    assert all(value.dtype == torch.float32 for value in held)


class First(nn.Module):
    """z_q of what a quantizer returns, for ``nn.Sequential``."""

    def forward(self, found):
        return found.z_q


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((2,), r"z_e float32 \[2\]: expected floating point \[B, {D}, \*spatial\]"),
        ((2, 1, 3, 5), r"z_e float32 \[2, 1, 3, 5\]: expected floating point \[B, {D}, \*spatial\]"),
        ((2, 7, 99), r"expected floating point \[B, {D}, \*spatial\]"),
    ],
    ids=str,
)
def test_another_shape_is_refused_in_one_line(quantizer, shape, says, randn):
    for refuse in (quantizer, lambda z_e: quantizer.is_ambiguous(z_e, torch.ones(2))):
        with pytest.raises(ValueError, match=says.format(D=quantizer.channels)):
            refuse(randn(1, *shape))


def test_channels_at_the_other_end_are_told_of_channel_last(quantizer, randn):
    z_e = randn(1, 2, 99, quantizer.channels)
    with pytest.raises(ValueError, match=rf"for \[B, \*spatial, {quantizer.channels}\], pass channel_last=True"):
        quantizer(z_e)
    quantizer.channel_last = True
    with pytest.raises(ValueError, match=rf"for \[B, {quantizer.channels}, \*spatial\], pass channel_last=False"):
        quantizer(z_e.movedim(2, 1))


def test_integers_for_z_e_and_fractions_for_codes_are_refused(quantizer):
    with pytest.raises(ValueError, match="z_e int64"):
        quantizer(torch.zeros(2, quantizer.channels, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"codes float32 .* expected integers \[B, \*spatial, "):
        quantizer.embed(torch.zeros(2, 3, quantizer.codes_per_position))


def test_another_shape_of_codes_or_mask_is_refused_in_one_line(quantizer, randn):
    n = quantizer.codes_per_position
    for shape in ((n,), (2, 3, n + 1)):
        with pytest.raises(ValueError, match=rf"codes int64 .* expected integers \[B, \*spatial, {n}\]"):
            quantizer.embed(torch.zeros(shape, dtype=torch.int64))
    z_e = randn(1, 2, quantizer.channels, 3, 5)
    for mask in (torch.ones(2, 5, 3, dtype=torch.bool), torch.ones(2, 3, 5)):
        with pytest.raises(ValueError, match=r"expected bool \[2, 3, 5\], one of each position"):
            quantizer(z_e, mask)


def test_codes_of_any_integer_type_are_embedded(quantizer, randn):
    codes = quantizer(randn(1, 2, quantizer.channels, 3)).codes
    if quantizer.num_codes < 2**15:
        assert torch.equal(quantizer.embed(codes.short()), quantizer.embed(codes))


@pytest.mark.parametrize("kind", kinds())
def test_the_layer_refuses_what_its_config_refuses_in_the_same_words(kind):
    config, found = kinds()[kind], 0
    for name, value, words in refused_values(config):
        if name == "estimator":  # a function to the layer, a word to the config
            continue
        with pytest.raises(ValueError) as refused:
            replace(config, **{name: value}).build()
        assert str(refused.value) == words or "num_codes of" in str(refused.value)  # the config's own rule
        found += 1
    assert found


def test_a_quantizer_of_ones_own_is_some_thirty_lines():
    source = Path(newcomer.__file__).read_text()
    body = source[source.index("class Ternary") :]
    lines = [
        line
        for line in body.splitlines()
        if line.strip() and not line.strip().startswith(('"""', "Args:", "dim: number"))
    ]
    assert len(lines) <= 30
    assert class_of(kinds()["ternary"]) is newcomer.Ternary
