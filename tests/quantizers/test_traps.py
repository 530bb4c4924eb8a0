"""Traps that quantizers in use have fallen into, by name, where no law of ``test_laws`` is the answer already."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vqvae.quantizers import EMAQuantizer, SimVQ, rotation_trick, straight_through
from vqvae.quantizers.codebook import CodebookQuantizer

K, D, GRID = 12, 4, (3, 5)
STARTED_FROM_DATA = CodebookQuantizer.__subclasses__()


def named(kind):
    return kind.__name__


@pytest.mark.parametrize("kind", STARTED_FROM_DATA, ids=named)
def test_vqp_66_the_start_from_data_is_not_lost_at_later_steps(kind, randn):
    # there, sums that had not been started with the codebook pulled it back to zero from the second step on
    quantizer = kind(K, D, revive_every=0)
    quantizer(randn(0, 3, D, *GRID) + 10)
    start = quantizer.codebook.detach().clone()
    for step in range(5):
        quantizer(randn(step, 3, D, *GRID) + 10)
        quantizer.update()
    assert (quantizer.codebook - start).norm(dim=1).max() < 0.2 * start.norm(dim=1).min()


@pytest.mark.parametrize("kind", STARTED_FROM_DATA, ids=named)
def test_most_codes_unused_leaves_none_at_zero_and_none_blown_up_after_step_1(kind, randn):
    # Laplace smoothing and a division by eps do the one or the other
    quantizer = kind(64, D, revive_every=0)
    z_e = randn(0, 1, D, 1, 3) + 5
    quantizer(z_e)
    quantizer.update()
    lengths = quantizer.codebook.detach().norm(dim=1)
    latents = quantizer.latents_of(z_e).norm(dim=1)
    assert (lengths > 0.9 * latents.min()).all() and (lengths < 1.1 * latents.max()).all()


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any one result held."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("kind", [*STARTED_FROM_DATA, SimVQ], ids=named)
def test_vqp_64_no_step_of_training_holds_latents_times_codes(kind, randn):
    # neither distances nor a one-hot matrix: forward, backward and the codebook's update
    quantizer = kind(8192, 8)
    z_e = randn(0, 1, 8, 64, 64).requires_grad_()
    with LargestTensor() as largest:
        out = quantizer(z_e)
        (out.codebook_loss + out.commitment_loss + out.z_q.sum()).backward()
        quantizer.update()
    assert z_e.grad is not None
    assert largest.elements <= 64 * 64 * 8192 / 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("estimator", [straight_through, rotation_trick], ids=lambda f: f.__name__)
def test_estimators_return_the_code_to_the_bit_in_every_precision(estimator, dtype, randn):
    z_e, z_q = (100 * randn(1, 500, D)).to(dtype).requires_grad_(), randn(2, 500, D).to(dtype)
    assert torch.equal(estimator(z_e, z_q), z_q)
    assert ((z_e + (z_q - z_e).detach()) != z_q).float().mean() > 0.5  # the usual way does not


@pytest.mark.parametrize("kind", STARTED_FROM_DATA, ids=named)
def test_encodec_33_a_code_that_expires_is_moved_only_after_the_step_that_looked_it_up(kind, randn):
    quantizer = kind(K, D, revive_every=1, revive_below=0.9)
    quantizer(randn(0, 3, D, *GRID))
    quantizer.update()
    before = quantizer.codebook.detach().clone()
    out = quantizer(randn(1, 1, D, *GRID))
    assert torch.equal(out.z_q.permute(0, 2, 3, 1), before[out.codes[..., 0]])
    chosen = out.codes.unique()
    counts = out.codes.flatten().bincount(minlength=K)
    assert quantizer.update()["revived"] > 0
    dead = counts < 0.9 * counts.sum() / K
    latents = quantizer.latents_of(randn(1, 1, D, *GRID).movedim(1, -1).flatten(0, -2))
    nearest = torch.cdist(quantizer.codebook.detach()[dead], latents).amin(1)
    assert nearest.max() < 1e-5  # on latents of the batch, whatever chose them in the same step
    assert set(chosen.tolist()) - set(dead.nonzero().flatten().tolist())


@pytest.mark.filterwarnings("default")  # of the tracer's own
def test_vqp_41_a_traced_quantizer_says_and_learns_the_same(randn):
    def learned(compiled):
        quantizer = EMAQuantizer(K, D, revive_every=2, revive_below=0.9)
        forward = torch.compile(quantizer, backend="eager") if compiled else quantizer
        outs = []
        for step in range(3):
            out = forward(randn(step, 2, D, *GRID))
            outs += [out.codes, out.z_q]
            quantizer.update()
        return [*outs, *quantizer.state_dict().values()]

    assert all(torch.equal(left, right) for left, right in zip(learned(True), learned(False), strict=True))
