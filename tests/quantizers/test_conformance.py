"""What other people's test suites hold to be true of a vector quantizer, held here with numbers of our own."""

import numpy as np
import pytest
import torch

from vqvae.quantizers import EMAQuantizer, VectorQuantizer

CODEBOOK = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [9.0, 9.0]])
Z_E = torch.tensor([[[[1.0, 3.0, 5.0, 0.0]], [[0.0, 1.0, -1.0, 6.0]]]])  # nearest: codes 0, 1, 1, 2; none takes 3


def given(kind, **settings):
    quantizer = kind(4, 2, revive_every=0, **settings)
    quantizer.codebook.data.copy_(CODEBOOK)
    quantizer.tracker.started.fill_(True)
    if kind is EMAQuantizer:
        quantizer.sums.copy_(CODEBOOK)
    return quantizer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [VectorQuantizer, EMAQuantizer])
def test_sonnet_the_nearest_code_is_numpys_in_single_and_double_precision(kind, dtype):
    generator = np.random.default_rng(0)
    quantizer = kind(32, 8)
    quantizer(torch.from_numpy(generator.standard_normal((4, 8, 5, 3)).astype(dtype)))
    z_e = generator.standard_normal((2, 8, 5, 3)).astype(dtype)
    out = quantizer.eval()(torch.from_numpy(z_e))
    codebook = quantizer.codebook.detach().numpy().astype(np.float64)
    rows = z_e.transpose(0, 2, 3, 1).reshape(-1, 8).astype(np.float64)
    expected = np.argmin(((rows[:, None] - codebook[None]) ** 2).sum(2), axis=1)
    assert np.array_equal(out.codes.flatten().numpy(), expected)
    assert np.array_equal(out.z_q.detach().permute(0, 2, 3, 1).reshape(-1, 8).numpy(), codebook[expected])


def test_sonnet_running_means_move_in_training_and_never_in_evaluation():
    quantizer = given(EMAQuantizer, decay=0.9)
    quantizer.eval()
    for _ in range(3):
        quantizer(Z_E)
        quantizer.update()
    assert torch.equal(quantizer.codebook, CODEBOOK)
    quantizer.train()
    quantizer(Z_E)
    quantizer.update()
    assert not torch.equal(quantizer.codebook[:3], CODEBOOK[:3])


def test_multimodal_the_exact_numbers_of_one_update():
    quantizer = given(EMAQuantizer, decay=0.3)
    out = quantizer(Z_E)
    assert out.codes.flatten().tolist() == [0, 1, 1, 2]
    quantizer.update()
    # 0.3 of what was (a count of 1, a sum of the code) and 0.7 of what chose it
    torch.testing.assert_close(quantizer.counts, torch.tensor([1.0, 1.7, 1.0, 0.3]))
    sums = torch.tensor([[0.7, 0.0], [1.2 + 0.7 * 8, 0.0], [0.0, 1.2 + 0.7 * 6], [2.7, 2.7]])
    torch.testing.assert_close(quantizer.sums, sums)
    expected = torch.tensor([[0.7, 0.0], [4.0, 0.0], [0.0, 5.4], [9.0, 9.0]])
    torch.testing.assert_close(quantizer.codebook, expected)


def test_multimodal_running_means_are_buffers_that_no_gradient_reaches():
    quantizer = given(EMAQuantizer)
    z_e = Z_E.clone().requires_grad_()
    quantizer(z_e).z_q.sum().backward()
    assert not list(quantizer.parameters())
    assert all(value.grad is None and not value.requires_grad for value in quantizer.buffers())


def test_multimodal_a_loaded_codebook_is_not_started_again():
    quantizer = EMAQuantizer(4, 2)
    quantizer.load_state_dict(given(EMAQuantizer).state_dict())
    quantizer(7 + Z_E)
    assert torch.equal(quantizer.codebook, CODEBOOK)


def test_pytorch_vqvae_the_straight_through_gradient_is_the_decoders_and_the_codebook_has_none():
    quantizer = given(VectorQuantizer)
    z_e, gradient = Z_E.clone().requires_grad_(), torch.arange(8.0).view(1, 2, 1, 4)
    (quantizer(z_e).z_q * gradient).sum().backward()
    assert torch.equal(z_e.grad, gradient)
    assert quantizer.codebook.grad is None


def test_pytorch_vqvae_the_codebooks_gradient_is_the_sum_over_what_chose_each_code():
    quantizer = given(VectorQuantizer)
    quantizer(Z_E).codebook_loss.backward()
    # 2 (e - z) over 8 elements: for code 1, (4, 0) - (3, 1) and (4, 0) - (5, -1) cancel
    expected = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [0.0, -2.0], [0.0, 0.0]]) * 2 / 8
    torch.testing.assert_close(quantizer.codebook.grad, expected)
