"""Residual blocks start as the identity, each position is normalized alone, and no setting is dead."""

from dataclasses import fields

import pytest
import torch

from vqvae.networks import ResNet
from vqvae.networks.resnet import Attention, Norm, ResidualBlock

SMALL = {"width": 8, "outer_width": 6, "encoder_blocks": 1, "decoder_blocks": 2, "outer_blocks": 1}


def small(**changes):
    torch.manual_seed(0)
    return ResNet(3, latent_channels=5, **{**SMALL, **changes})


def trained_a_little(network):
    """Fill the convolutions that start at zero."""
    for module in (*network.encoder.modules(), *network.decoder.modules()):
        if isinstance(module, ResidualBlock | Attention):
            last = module.conv2 if isinstance(module, ResidualBlock) else module.out
            torch.nn.init.normal_(last.weight, std=0.1)
    return network


def test_a_block_starts_as_the_identity(randn):
    x = randn(0, 2, 8, 4, 6)
    assert torch.equal(ResidualBlock(8)(x), x)


def test_the_norm_divides_each_position_by_its_root_mean_square(randn):
    x = randn(1, 2, 8, 4, 6)
    expected = x / x.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(Norm(8)(x), expected, rtol=1e-4, atol=1e-5)
    assert Norm(8)(x.bfloat16()).dtype == torch.bfloat16
    precise = x.double()
    expected = precise / (precise.square().mean(1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(Norm(8).double()(precise), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_change_far_away_changes_no_code_and_no_pixel(factor, randn):
    network = trained_a_little(small(factor=factor, outer_blocks=0, encoder_blocks=1, decoder_blocks=1))
    images = randn(2, 1, 3, 8 * factor, 16 * factor)
    changed = images.clone()
    changed[..., : 4 * factor] += 1
    with torch.no_grad():
        before, after = network.encoder(images), network.encoder(changed)
        torch.testing.assert_close(before[..., 12:], after[..., 12:])
        assert not torch.allclose(before[..., :4], after[..., :4])
        z_q = before.clone()
        z_q[..., :4] += 1
        before, after = network.decoder(before), network.decoder(z_q)
        torch.testing.assert_close(before[..., 12 * factor :], after[..., 12 * factor :])


@pytest.mark.parametrize(("width", "heads"), [(8, 1), (48, 1), (64, 2)])
def test_attention_is_the_softmax_of_the_paper_and_starts_as_the_identity(width, heads, randn):
    attention, x = Attention(width).double(), randn(3, 2, width, 3, 5).double()
    assert attention.heads == heads
    assert torch.equal(attention(x), x)
    torch.nn.init.normal_(attention.out.weight)
    positions = attention.norm(x).flatten(2).transpose(1, 2)  # [B, 15, width]
    query, key, value = (positions @ attention.project.weight.flatten(1).T + attention.project.bias).chunk(3, -1)
    mixed = torch.zeros_like(value)
    for part in torch.arange(width).chunk(heads):
        scores = query[..., part] @ key[..., part].transpose(1, 2) / len(part) ** 0.5
        mixed[..., part] = scores.softmax(-1) @ value[..., part]  # equation 1
    out = mixed @ attention.out.weight.flatten(1).T + attention.out.bias
    expected = x + out.transpose(1, 2).view_as(x)
    torch.testing.assert_close(attention(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(attention.eval()(x), expected, rtol=1e-12, atol=1e-12)


def test_with_attention_each_code_and_each_pixel_depends_on_the_whole_image(randn):
    network = trained_a_little(small(attention=True, outer_blocks=0, encoder_blocks=1, decoder_blocks=1))
    images = randn(2, 1, 3, 32, 64)
    changed = images.clone()
    changed[..., :16] += 1
    with torch.no_grad():
        before, after = network.encoder(images), network.encoder(changed)
        assert (before[..., 12:] - after[..., 12:]).abs().amin() > 0
        z_q = before.clone()
        z_q[..., :4] += 1
        before, after = network.decoder(before), network.decoder(z_q)
        assert ((before - after)[..., 48:] != 0).float().mean() > 0.99


@pytest.mark.parametrize("setting", [field.name for field in fields(ResNet.Config) if field.name != "kind"])
def test_no_setting_is_dead(setting):
    base = ResNet.Config(**SMALL, factor=4)
    other = {"factor": 8, "attention": True}
    changed = {**base.settings(), setting: other.get(setting) or base.settings()[setting] + 1}

    def shapes(config):
        network = config.build(channels=3, latent_channels=5, out_channels=3)
        modules = (network.encoder, network.decoder)
        return [(name, p.shape) for module in modules for name, p in module.named_parameters()]

    assert shapes(ResNet.Config(**changed)) != shapes(base)


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="factor 6: the downsampling factor must be"):
        small(factor=6)
    with pytest.raises(ValueError, match="outer_blocks"):
        small(outer_blocks=-1)
