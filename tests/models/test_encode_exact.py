"""An image's codes depend on the image alone, and the encoder in float64 says which they are."""

import copy
import gc
import weakref
from importlib import import_module

import pytest
import torch

from vqvae.models import VQVAE
from vqvae.quantizers import FSQ, ProjectedQuantizer, VectorQuantizer

PAIRS = 16
encode_exact_module = import_module("vqvae.models.encode_exact")


@pytest.fixture
def images():
    return torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def balanced(images):
    """A tokenizer with a near-tie in nearly every image: z_e on the middle between two codes."""
    torch.manual_seed(0)
    model = VQVAE(VectorQuantizer(2 * PAIRS, 8), width=32, outer_width=16, residual_width=16).eval()
    with torch.no_grad():
        z_e = model.encoder(images)[:PAIRS, :, 1, 2]
        apart = 1e-3 * torch.nn.functional.normalize(torch.randn(PAIRS, 8), dim=1)
        model.quantizer.codebook.copy_(torch.cat([z_e + apart, z_e - apart]))
    return model


def _codes(model, images, batch_size):
    parts = [model.encode_exact(part) for part in images.split(batch_size)]
    return torch.cat([part.codes for part in parts]), sum(part.near_ties for part in parts)


def test_no_batch_size_and_no_number_of_threads_changes_a_code(balanced, images):
    expected, near_ties = _codes(balanced, images, len(images))
    assert near_ties >= PAIRS
    before = torch.get_num_threads()
    try:
        for threads, batch_size in ((1, 1), (1, 7), (1, 64), (1, 256), (2, 256)):
            torch.set_num_threads(threads)
            codes, _ = _codes(balanced, images, batch_size)
            assert torch.equal(codes, expected), (threads, batch_size)
    finally:
        torch.set_num_threads(before)
    backwards, _ = _codes(balanced, images.flip(0), 7)
    assert torch.equal(backwards.flip(0), expected)


def test_the_codes_are_those_of_the_float64_encoder(balanced, images):
    precise = copy.deepcopy(balanced.encoder).double()
    with torch.no_grad():
        z_e = precise(images.double())
        expected = balanced.quantizer(z_e.float()).codes
        plain = balanced.quantizer(balanced.encoder(images)).codes
    assert torch.equal(balanced.encode(images, exact=True), expected)
    assert not torch.equal(plain, expected)  # the float32 encoder alone gets some of these wrong


def test_plain_codes_are_the_nearest_to_the_encoders_output(balanced, images):
    with torch.no_grad():
        z_e = balanced.encoder(images).permute(0, 2, 3, 1)
        apart = z_e[..., None, :].double() - balanced.quantizer.codebook.double()
    assert torch.equal(balanced.encode(images), apart.square().sum(-1).argmin(-1, keepdim=True))


def test_plain_codes_cost_one_pass_of_the_encoder_and_none_in_float64(balanced, images, monkeypatch):
    seen = []
    balanced.encoder.register_forward_hook(lambda module, inputs, z_e: seen.append(z_e.dtype))
    monkeypatch.setattr("vqvae.models.vqvae.encode_exact", None)
    balanced.encode(images)
    assert seen == [torch.float32]


def _moved(balanced, images):
    """Return the codebook with which each pair of codes is on the middle of another image's z_e."""
    with torch.no_grad():
        z_e = balanced.encoder(images)[:PAIRS, :, 2, 1]
        apart = 1e-3 * torch.nn.functional.normalize(torch.randn(PAIRS, 8), dim=1)
        return torch.cat([z_e + apart, z_e - apart])


@pytest.mark.parametrize(
    "change",
    [
        lambda model, images: torch.optim.SGD(model.encoder.parameters(), 0.1).step(),
        lambda model, images: model.quantizer.codebook.data.copy_(_moved(model, images)),
        lambda model, images: model.load_state_dict(
            {name: tensor * 1.01 for name, tensor in model.state_dict().items()}
        ),
        lambda model, images: setattr(model.encoder[0], "weight", torch.nn.Parameter(model.encoder[0].weight * 2)),
        lambda model, images: model.encoder.insert(1, torch.nn.Tanh()),
        lambda model, images: model.encoder.__setitem__(1, torch.nn.Tanh()),
        lambda model, images: setattr(model, "quantizer", VectorQuantizer(PAIRS, 8).eval()),
        lambda model, images: setattr(model, "quantizer", FSQ((8, 5, 5, 5, 3, 3, 3, 3)).eval()),
    ],
    ids=["step", "data", "load", "parameter", "layer", "activation", "size", "kind"],
)
def test_the_copies_in_float64_never_encode_with_what_the_model_was_before(balanced, images, change):
    balanced.encode(images, exact=True)
    for parameter in balanced.encoder.parameters():
        parameter.grad = torch.randn_like(parameter)
    change(balanced, images)
    expected = copy.deepcopy(balanced).encode(images, exact=True)
    assert torch.equal(balanced.encode(images, exact=True), expected)
    with torch.no_grad():
        z_e = copy.deepcopy(balanced.encoder).double()(images.double())
    quantizer = copy.deepcopy(balanced.quantizer).double()
    assert torch.equal(expected, quantizer(z_e).codes)


def test_the_copies_in_float64_are_made_once_and_go_with_the_model(balanced, images, monkeypatch):
    made = []

    class Counted(encode_exact_module._Float64):
        def __init__(self, *arguments):
            made.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(encode_exact_module, "_Float64", Counted)
    for _ in range(3):
        balanced.encode(images, exact=True)
    assert len(made) == 1
    assert not any(tensor.dtype == torch.float64 for tensor in balanced.state_dict().values())
    encoder, copied = weakref.ref(balanced.encoder), weakref.ref(made.pop().encoder)
    del balanced.encoder
    gc.collect()
    assert encoder() is None and copied() is None


def test_a_first_encode_in_inference_mode_leaves_the_model_usable(balanced, images):
    with torch.inference_mode():
        codes = balanced.encode(images, exact=True)
    assert torch.equal(balanced.encode(images, exact=True), codes)
    with torch.inference_mode():
        assert torch.equal(balanced.encode(images, exact=True), codes)


def test_exact_codes_of_a_model_in_training_are_refused(balanced, images):
    with pytest.raises(ValueError, match=r"^exact codes need a model in eval mode: call eval\(\) first$"):
        balanced.train().encode(images, exact=True)


def test_near_ties_are_few_where_nobody_made_any(images):
    torch.manual_seed(0)
    model = VQVAE(ProjectedQuantizer(FSQ((8, 5, 5)), 16), width=32, outer_width=16, residual_width=16).eval()
    codes, near_ties = _codes(model, images, 64)
    assert near_ties < 0.02 * codes.numel()
    assert torch.equal(codes, _codes(model, images, 5)[0])


def test_the_error_observed_is_far_below_what_is_allowed(images):
    torch.manual_seed(0)
    model = VQVAE(FSQ((8, 5, 5)), width=32, outer_width=16, residual_width=16).eval()
    precise = copy.deepcopy(model.encoder).double()
    with torch.no_grad():
        z_e, exact = model.encoder(images), precise(images.double())
    size = exact.square().sum(1).flatten(1).mean(1).sqrt()
    error = (z_e - exact).norm(dim=1).flatten(1).amax(1) / size
    assert error.max() < 8 * error[:2].max()  # encode_exact allows 16 times


def test_exact_codes_under_autocast_are_those_without_it(balanced, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = balanced.encode(images, exact=True)
    assert torch.equal(codes, balanced.encode(images, exact=True))
