"""The tokenizer's networks: shapes, boundaries, and that nothing in the constructor is dead."""

import pytest
import torch
from torch import nn

from vqvae.models import VQVAE
from vqvae.networks import PaperNetwork
from vqvae.quantizers import EMAQuantizer, Quantizer, VectorQuantizer
from vqvae.tensors import Quantized

SMALL = {"width": 8, "outer_width": 6, "residual_width": 5, "residual_blocks": 1}


def small(*, codes_per_position=1, num_codes=16, dim=3, **changes):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(num_codes, dim, codes_per_position=codes_per_position)
    return VQVAE(quantizer, **{**SMALL, **changes}).eval()


def pictures(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24)])
@pytest.mark.parametrize("n", [1, 2])
def test_shapes_follow_the_factor(factor, channels, height, width, n):
    model = small(factor=factor, channels=channels, codes_per_position=n)
    images = pictures(2, channels, height, width)
    reconstruction, quantized = model(images)
    assert reconstruction.shape == images.shape
    assert quantized.z_q.shape == (2, 3 * n, height // factor, width // factor)
    assert quantized.codes.shape == (2, height // factor, width // factor, n)
    assert torch.equal(model.encode(images), quantized.codes)
    assert torch.equal(model.decode(quantized.codes), reconstruction.clamp(-1, 1))


def test_the_papers_8_by_8_by_10_latents_of_cifar():
    model = small(codes_per_position=10, num_codes=512)
    assert model.encode(pictures(1, 3, 32, 32)).shape == (1, 8, 8, 10)
    assert (model.num_codes, model.codes_per_position) == (512, 10)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_one_4x4_stride_2_convolution_a_halving_and_a_doubling(factor):
    halvings = factor.bit_length() - 1
    network = PaperNetwork(3, latent_channels=4, factor=factor, **SMALL)
    for part, kind in ((network.encoder, nn.Conv2d), (network.decoder, nn.ConvTranspose2d)):
        layers = [layer for layer in part.modules() if isinstance(layer, kind)]
        strided = [layer for layer in layers if layer.stride != (1, 1)]
        assert len(strided) == halvings
        assert {(layer.kernel_size, layer.stride) for layer in strided} == {((4, 4), (2, 2))}


@pytest.mark.parametrize("factor", [0, 1, 3, 6])
def test_a_factor_that_is_no_power_of_two_is_refused(factor):
    with pytest.raises(ValueError, match=f"factor {factor}: .* must be 2, 4, 8"):
        small(factor=factor)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 1, 16, 16), (2, 3, 18, 16), (2, 3, 16, 15)])
def test_encode_says_which_images_it_takes(shape):
    with pytest.raises(ValueError, match=r"expected \[B, 3, H, W\] with H and W multiples of 4"):
        small().encode(pictures(*shape))


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 4, 4, 1), (2, 4, 4, 3)])
def test_decode_says_which_shape_of_codes_it_takes(shape):
    with pytest.raises(ValueError, match=r"expected \[B, h, w, 2\]"):
        small(codes_per_position=2).decode(torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("code", [-1, 16])
def test_decode_says_which_codes_it_knows(code):
    codes = torch.zeros(1, 2, 2, 1, dtype=torch.int64)
    codes[0, 1, 0, 0] = code
    with pytest.raises(ValueError, match=r"expected 0\.\.15"):
        small().decode(codes)


def test_decoded_images_stay_in_their_range_and_training_sees_beyond_it():
    model = small()
    with torch.no_grad():
        model.decoder[-1].weight.mul_(100)
    images = pictures(2, 3, 16, 16)
    reconstruction, quantized = model(images)
    decoded = model.decode(quantized.codes)
    assert reconstruction.min() < -1
    assert reconstruction.max() > 1
    assert decoded.dtype == torch.float32
    assert (decoded.min(), decoded.max()) == (-1, 1)


def test_encode_and_decode_record_no_gradient():
    model = small()
    codes = model.encode(pictures(1, 3, 8, 8))
    assert not model.decode(codes).requires_grad


def test_an_image_is_encoded_alike_in_any_batch():
    model = small().double()
    images = pictures(5, 3, 16, 16).double()
    assert torch.equal(model.encode(images, exact=True)[3:4], model.encode(images[3:4], exact=True))


class Signs(Quantizer):
    """A quantizer without a codebook: the sign of each channel, two codes a position."""

    def __init__(self):
        super().__init__(num_codes=2, codes_per_position=2, channels=2)

    def quantize_vectors(self, vectors, mask):
        codes = (vectors > 0).long()
        return Quantized(self.embed_vectors(codes), codes, vectors.new_zeros(()), vectors.new_zeros(()))

    def embed_vectors(self, codes):
        return codes.float() * 2 - 1


def test_the_tokenizer_knows_of_a_quantizer_no_more_than_its_base_class():
    torch.manual_seed(0)
    model = VQVAE(Signs(), **SMALL).eval()
    images = pictures(2, 3, 16, 8)
    reconstruction, quantized = model(images)
    assert torch.equal(model.encode(images), quantized.codes)
    assert torch.equal(model.decode(quantized.codes), reconstruction.clamp(-1, 1))
    assert (model.num_codes, model.codes_per_position) == (2, 2)


OTHER = {"channels": 1, "width": 9, "outer_width": 7, "residual_width": 6, "residual_blocks": 2, "factor": 8}


@pytest.mark.parametrize("argument", sorted(OTHER))
def test_every_constructor_argument_changes_the_parameters_of_both_networks(argument):
    base, other = small(), small(**{argument: OTHER[argument]})
    for network in ("encoder", "decoder"):
        shapes, changed = ([p.shape for p in getattr(model, network).parameters()] for model in (base, other))
        assert shapes != changed


def test_the_quantizer_is_the_one_that_was_given():
    quantizer = EMAQuantizer(16, 5, codes_per_position=2)
    model = VQVAE(quantizer, **SMALL)
    assert model.quantizer is quantizer
    assert model.encoder[-1].out_channels == model.decoder[0].in_channels == 10
