"""What the tokenizer takes: images and codes of any fitting type, and a ValueError that says what is wanted."""

from functools import partial

import pytest
import torch

from vqvae.models import VQVAE
from vqvae.models.tiles import pixels_in_tiles
from vqvae.quantizers import VectorQuantizer
from vqvae.tensors import CodeSpec, images_from_pixels

SMALL = {"width": 8, "outer_width": 6, "residual_width": 5, "residual_blocks": 1}


def tokenizer(n=1, channels=3):
    torch.manual_seed(0)
    return VQVAE(VectorQuantizer(16, 3, codes_per_position=n), channels=channels, **SMALL).eval()


def random_pixels(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_pixels_are_encoded_as_their_images():
    model, pixels = tokenizer(), random_pixels(2, 3, 16, 8)
    assert torch.equal(model.encode(pixels), model.encode(images_from_pixels(pixels)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
@pytest.mark.parametrize("n", [1, 2])
def test_codes_of_any_integer_type_are_decoded_alike(dtype, n):
    model = tokenizer(n)
    codes = model.encode(random_pixels(2, 3, 16, 8))
    images = model.decode(codes)
    assert torch.equal(model.decode(codes.to(dtype)), images)
    if n == 1:
        assert torch.equal(model.decode(codes[..., 0].to(dtype)), images)


@pytest.mark.parametrize("factor", [255.0, 1.02, float("nan"), float("inf")])
def test_images_outside_their_range_are_refused(factor):
    images = images_from_pixels(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8))
    images[1, 2, 3, 4] *= factor
    with pytest.raises(ValueError, match=r"expected float in \[-1, 1\], or uint8 in 0\.\.255"):
        tokenizer().encode(images)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_what_rounding_leaves_outside_the_range_is_no_error(dtype):
    images = (random_pixels(2, 3, 8, 8).to(dtype) / 255 - 0.5) / 0.5 * (1 + torch.finfo(dtype).eps)
    model = tokenizer().to(dtype)
    assert model.encode(images).shape == (2, 2, 2, 1)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_whole_numbers_other_than_pixels_are_refused(dtype):
    with pytest.raises(ValueError, match=r"images torch\.\w+: expected float in \[-1, 1\], or uint8"):
        tokenizer().encode(random_pixels(2, 3, 8, 8).to(dtype))


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (torch.zeros(2, 4, 4, 1), r"codes torch\.float32: expected integers 0\.\.15"),
        (torch.zeros(2, 4, 4, 1, dtype=torch.bool), r"codes torch\.bool: expected integers"),
        (torch.zeros(2, 16, dtype=torch.int64), r"codes \[2, 16\]: expected \[B, h, w, 1\] or \[B, h, w\]"),
        (torch.full((2, 4, 4), 16), r"codes 16\.\.16: expected 0\.\.15"),
        (torch.full((2, 4, 4), -1, dtype=torch.int8), r"codes -1\.\.-1: expected 0\.\.15"),
    ],
    ids=str,
)
def test_codes_that_do_not_fit_are_refused(codes, says):
    with pytest.raises(ValueError, match=says):
        tokenizer().decode(codes)


def test_nothing_is_encoded_to_nothing():
    model = tokenizer()
    codes = model.encode(torch.zeros(0, 3, 8, 8))
    assert codes.shape == (0, 2, 2, 1) and model.decode(codes).shape == (0, 3, 8, 8)


def test_the_spec_is_that_of_the_codes():
    model = tokenizer(2)
    spec = model.code_spec(16, 24)
    assert spec == CodeSpec((4, 6), 2, 16)
    assert model.encode(random_pixels(1, 3, 16, 24))[0].shape == spec.shape and spec.codes_per_image == 48


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "images",
    [
        random_pixels(2, 3, 16, 16).long(),
        random_pixels(2, 3, 16, 16).float(),
        torch.full((2, 3, 16, 16), float("nan")),
        torch.zeros(3, 16, 16),
        torch.zeros(2, 1, 16, 16),
        torch.zeros(2, 3, 16, 15),
    ],
    ids=lambda images: f"{images.dtype}{list(images.shape)}",
)
def test_tiles_refuse_images_as_the_whole_does(images, exact):
    model = tokenizer()
    with pytest.raises(ValueError) as whole:
        model.encode(images, exact=exact)
    with pytest.raises(ValueError) as tiled:
        model.encode(images, exact=exact, tile=8)
    assert str(tiled.value) == str(whole.value)


@pytest.mark.parametrize(
    "codes",
    [
        torch.zeros(4, 4, dtype=torch.int64),
        torch.zeros(2, 4, 4, 2, dtype=torch.int64),
        torch.zeros(2, 4, 4),
        torch.arange(32).view(2, 4, 4),
    ],
    ids=lambda codes: f"{codes.dtype}{list(codes.shape)}",
)
def test_tiles_refuse_codes_as_the_whole_does(codes):
    model = tokenizer()
    with pytest.raises(ValueError) as whole:
        model.decode(codes)
    for decode in (model.decode, partial(pixels_in_tiles, model)):
        with pytest.raises(ValueError) as tiled:
            decode(codes, tile=8)
        assert str(tiled.value) == str(whole.value)
