"""Against vector-quantize-pytorch, given the same weights: the same answers where it is right.

Where it is wrong (its issues are named), the test pins the right answer, ours, and not the peer's.
"""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from vqvae.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    CosineQuantizer,
    EMAQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
    nearest_code,
)

peer = pytest.importorskip("vector_quantize_pytorch")

K, D, GRID = 24, 6, (4, 5)


def rows_of(z):
    """[B, D, h, w] -> [B, h*w, D], as the peer takes it."""
    return z.flatten(2).transpose(1, 2)


def alike(kind, randn, *, seed=0, decay=0.9, cosine=False):
    """One of ours and the peer's, with the same codebook and statistics."""
    settings = {"decay": decay} if kind is not VectorQuantizer else {}
    ours = kind(K, D, revive_every=0, **settings)
    codebook = randn(seed, K, D)
    if cosine:
        codebook = torch.nn.functional.normalize(codebook, dim=1)
    theirs = peer.VectorQuantize(
        dim=D, codebook_size=K, decay=decay, kmeans_init=False, threshold_ema_dead_code=0,
        rotation_trick=False, use_cosine_sim=cosine, eps=0.0,
    )  # fmt: skip
    ours.codebook.data.copy_(codebook)
    ours.tracker.started.fill_(True)
    if kind is not VectorQuantizer:
        ours.sums.copy_(codebook)
    theirs._codebook.embed.data.copy_(codebook[None])
    theirs._codebook.embed_avg.data.copy_(codebook[None])
    return ours, theirs


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_vector_quantize_has_our_codes_values_and_commitment(training, randn):
    ours, theirs = alike(EMAQuantizer, randn)
    z_e = randn(9, 3, D, *GRID)
    ours.train(training), theirs.train(training)
    out = ours(z_e)
    z_q, codes, loss = theirs(rows_of(z_e))
    assert torch.equal(out.codes.flatten(1), codes)
    torch.testing.assert_close(rows_of(out.z_q), z_q)
    if training:
        torch.testing.assert_close(out.commitment_loss, loss.squeeze())


def test_vector_quantize_has_our_running_means(randn):
    ours, theirs = alike(EMAQuantizer, randn)
    for step in range(10):
        z_e = randn(step, 3, D, *GRID)
        assert torch.equal(ours(z_e).codes.flatten(1), theirs(rows_of(z_e))[1])
        ours.update()
        torch.testing.assert_close(ours.counts, theirs._codebook.cluster_size[0])
        torch.testing.assert_close(ours.sums, theirs._codebook.embed_avg[0])
        torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=1e-5, atol=1e-6)


def test_vector_quantize_has_our_gradient_at_the_encoder(randn):
    ours, theirs = alike(EMAQuantizer, randn)
    z_e, g = randn(9, 3, D, *GRID), randn(10, 3, D, *GRID)
    left, right = z_e.clone().requires_grad_(), z_e.clone().requires_grad_()
    out = ours(left)
    ((out.z_q * g).sum() + out.commitment_loss).backward()
    z_q, _, loss = theirs(rows_of(right))
    ((z_q * rows_of(g)).sum() + loss.sum()).backward()
    torch.testing.assert_close(left.grad, right.grad)


def test_its_rotation_trick_has_our_gradient(randn):
    from vqvae.quantizers import rotation_trick

    rotate_to = peer.vector_quantize_pytorch.rotate_to
    z_e, z_q, g = (randn(i, 100, D) for i in range(3))
    left, right = z_e.clone().requires_grad_(), z_e.clone().requires_grad_()
    (rotation_trick(left, z_q) * g).sum().backward()
    (rotate_to(right, z_q) * g).sum().backward()
    torch.testing.assert_close(left.grad, right.grad, rtol=1e-3, atol=1e-5)


def test_its_cosine_codebook_has_our_codes_and_running_means(randn):
    ours, theirs = alike(CosineQuantizer, randn, cosine=True)
    for step in range(10):
        z_e = randn(step, 3, D, *GRID)
        assert torch.equal(ours(z_e).codes.flatten(1), theirs(rows_of(z_e))[1])
        ours.update()
        torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("levels", [(8, 6, 5), (7, 5, 5, 5), (3, 4), (8, 8, 8, 5, 5, 5)], ids=str)
def test_its_fsq_has_our_codes_values_and_gradients(levels, randn):
    ours, theirs = FSQ(levels), peer.FSQ(list(levels))
    z_e, g = 2 * randn(1, 3, len(levels), *GRID), randn(2, 3, len(levels), *GRID)
    left, right = z_e.clone().requires_grad_(), z_e.clone().requires_grad_()
    out = ours(left)
    z_q, codes = theirs(right)
    assert torch.equal(out.codes[..., 0], codes.long())
    torch.testing.assert_close(out.z_q, z_q)
    torch.testing.assert_close(ours.embed(out.codes), theirs.indices_to_codes(codes))
    (out.z_q * g).sum().backward()
    (z_q * g).sum().backward()
    torch.testing.assert_close(left.grad, right.grad)


@pytest.mark.parametrize("kind", [LFQ, BSQ], ids=lambda kind: kind.__name__)
def test_its_lfq_has_our_codes_values_commitment_and_entropies(kind, randn):
    bits, temperature = 6, 0.5
    ours = kind(bits, entropy_weight=0.1, diversity=1.0 if kind is LFQ else 0.0, temperature=temperature)
    theirs = peer.LFQ(codebook_size=2**bits, dim=bits, spherical=kind is BSQ, entropy_loss_weight=0.1)
    z_e = 0.3 * randn(1, 3, bits, *GRID)
    out = ours(z_e)
    # its q is softmax(2 c.z * inv_temperature): for BSQ, whose T divides c.z itself, half of it
    inverse = 1 / temperature if kind is LFQ else 0.5 / temperature
    (z_q, codes, _), parts = theirs(z_e, inv_temperature=inverse, return_loss_breakdown=True)
    # its first bit is the highest
    reverse = sum(
        ((out.codes[..., 0] >> i) & 1) << (bits - 1 - i) for i in range(bits)
    )  # its first bit is highest
    assert torch.equal(reverse, codes.long())
    torch.testing.assert_close(out.z_q, z_q)
    entropies = parts.per_sample_entropy - (parts.batch_entropy if kind is LFQ else 0.0)
    torch.testing.assert_close(out.codebook_loss, 0.1 * entropies, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_its_residual_vq_has_our_codes_and_values(training, randn):
    pairs = [alike(EMAQuantizer, randn, seed=seed) for seed in range(3)]
    ours = ResidualQuantizer([own for own, _ in pairs]).train(training)
    theirs = peer.ResidualVQ(
        dim=D, num_quantizers=3, codebook_size=K, decay=0.9, rotation_trick=False, eps=0.0,
        threshold_ema_dead_code=0,
    ).train(training)  # fmt: skip
    for layer, (own, _) in zip(theirs.layers, pairs, strict=True):
        layer._codebook.embed.data.copy_(own.codebook[None])
        layer._codebook.embed_avg.data.copy_(own.codebook[None])
    for step in range(5):
        z_e = randn(step, 3, D, *GRID)
        out = ours(z_e)
        z_q, codes, losses = theirs(rows_of(z_e))
        assert torch.equal(out.codes.flatten(1, 2), codes)
        torch.testing.assert_close(rows_of(out.z_q), z_q, rtol=1e-5, atol=1e-5)
        if training:
            torch.testing.assert_close(out.commitment_loss, losses.sum())
        ours.update()


def test_its_sim_vq_has_our_codes_and_losses(randn):
    ours, theirs = SimVQ(K, D), peer.SimVQ(dim=D, codebook_size=K, rotation_trick=False)
    theirs.frozen_codebook.copy_(ours.frozen_codebook)
    theirs.code_transform.weight.data.copy_(ours.map.weight)
    z_e = randn(1, 3, D, *GRID)
    out = ours(z_e)
    z_q, codes, loss = theirs(rows_of(z_e))
    assert torch.equal(out.codes.flatten(1), codes)
    torch.testing.assert_close(rows_of(out.z_q), z_q)
    torch.testing.assert_close(out.codebook_loss + 0.25 * out.commitment_loss, loss)


# Where the peer is wrong


def test_224_71_44_the_output_in_training_is_what_its_codes_say(randn):
    # the peer moves its codebook inside forward: its output is of the old one, get_codes_from_indices of the new
    ours, theirs = alike(EMAQuantizer, randn)
    z_e = randn(9, 3, D, *GRID)
    out = ours(z_e)
    assert torch.equal(ours.embed(out.codes), out.z_q)
    z_q, codes, _ = theirs(rows_of(z_e))
    assert not torch.allclose(theirs.get_codes_from_indices(codes), z_q)


@pytest.mark.parametrize("kind", [EMAQuantizer, VectorQuantizer], ids=lambda kind: kind.__name__)
def test_codes_of_data_far_off_centre_are_the_nearest(kind, randn, brute_force):
    # |x|^2 - 2 x.e + |e|^2 in float32 cancels: nine of ten of the peer's codes are wrong here
    ours, theirs = alike(kind, randn)
    codebook, z_e = 30 + 0.01 * randn(1, K, D), 30 + 0.01 * randn(2, 3, D, *GRID)
    ours.codebook.data.copy_(codebook)
    theirs._codebook.embed.data.copy_(codebook[None])
    expected = brute_force(rows_of(z_e).flatten(0, 1), codebook)
    assert torch.equal(ours(z_e).codes.flatten(), expected)
    assert (theirs.eval()(rows_of(z_e))[1].flatten() != expected).float().mean() > 0.3


def test_ties_and_near_ties_have_the_lowest_and_the_nearest_index():
    # the peer's clamp at 1e-8 makes one tie of all distances below 1e-4
    codebook = torch.tensor([[2e-5], [1e-5], [0.0], [0.0]])
    assert nearest_code(torch.tensor([[0.0], [1e-5], [2e-5]]), codebook).tolist() == [2, 1, 0]


def test_the_straight_through_value_is_the_code_exactly(randn):
    ours, theirs = alike(EMAQuantizer, randn)
    z_e = (100 * randn(9, 3, D, *GRID)).requires_grad_()
    codebook = ours.codebook.clone()
    out = ours(z_e)
    assert torch.equal(out.z_q, codebook[out.codes[..., 0]].permute(0, 3, 1, 2))
    z_q, codes, _ = theirs(rows_of(z_e))
    assert (z_q != codebook[codes]).float().mean() > 0.1


def test_unused_codes_do_not_shrink_to_the_origin(randn):
    # Laplace smoothing divides by N + eps, so a code that nothing chooses drifts to zero
    ours, _ = alike(EMAQuantizer, randn, decay=0.5)
    before = ours.codebook.clone()
    for _ in range(200):
        ours(before[3].view(1, D, 1, 1))
        ours.update()
    torch.testing.assert_close(ours.codebook, before)


def test_106_145_a_nan_poisons_no_code(randn):
    ours, _ = alike(EMAQuantizer, randn)
    z_e = randn(9, 3, D, *GRID)
    z_e[0, :, 0, 0] = torch.nan
    ours(z_e)
    ours.update()
    assert all(value.isfinite().all() for value in ours.state_dict().values())


def test_100_116_145_229_a_bf16_model_keeps_its_statistics_and_trains(randn):
    # in bf16, 0.999 of a count is the count
    (ours, _), (exact, _) = (alike(EMAQuantizer, randn, decay=0.999) for _ in range(2))
    ours.to(torch.bfloat16)
    before = ours.counts.clone()
    for step in range(5):
        z_e = randn(step, 3, D, *GRID).bfloat16()
        assert torch.equal(ours(z_e).codes, exact(z_e.float()).codes)
        ours.update(), exact.update()
    assert (ours.counts != before).any()
    for name, value in exact.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_114_207_200_94_237_fsq_codes_of_bf16_latents_are_exact(randn):
    ours = FSQ((8, 8, 8, 5, 5, 5))
    z_e = 2 * randn(1, 3, 6, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(z_e)
    assert torch.equal(ours.embed(out.codes), out.z_q)
    assert torch.equal(out.codes, ours(z_e.float()).codes)


def test_221_gradient_accumulation_is_one_update(randn):
    ours, _ = alike(EMAQuantizer, randn)
    parts, _ = alike(EMAQuantizer, randn)
    parts.tracker.forwards_per_update = 2
    z_e = randn(9, 4, D, *GRID)
    ours(z_e)
    for part in z_e.chunk(2):
        parts(part)
    ours.update(), parts.update()
    assert torch.equal(ours.codebook, parts.codebook)


def test_activation_checkpointing_applies_the_running_means_once(randn):
    ours, _ = alike(EMAQuantizer, randn)
    again, _ = alike(EMAQuantizer, randn)
    z_e = randn(9, 3, D, *GRID).requires_grad_()
    ours(z_e).commitment_loss.backward()
    checkpoint(again, z_e, use_reentrant=False).commitment_loss.backward()
    ours.update(), again.update()
    assert torch.equal(ours.counts, again.counts)


def test_the_residual_gradient_is_not_multiplied_by_the_depth(randn):
    pairs = [alike(EMAQuantizer, randn, seed=seed) for seed in range(3)]
    z_e = randn(9, 3, D, *GRID).requires_grad_()
    ResidualQuantizer([own for own, _ in pairs])(z_e).z_q.sum().backward()
    assert torch.equal(z_e.grad, torch.ones_like(z_e))


def test_68_93_210_frozen_codes_stay(randn):
    ours, _ = alike(EMAQuantizer, randn)
    ours.freeze(torch.tensor([0, 7]))
    before = ours.codebook.clone()
    ours(randn(9, 3, D, *GRID))
    ours.update()
    assert torch.equal(ours.codebook[[0, 7]], before[[0, 7]])
    assert not torch.equal(ours.codebook, before)


def test_a_large_levels_fsq_stays_in_range():
    # tanh reaches 1, and (L - 1) 1.001 / 2 rounds to a level too many from L = 1003
    out = FSQ((1003,))(torch.tensor([[[[50.0, -50.0]]]]))
    assert out.codes.flatten().tolist() == [1002, 0]
