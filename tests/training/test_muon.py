"""Laws of Muon: its direction, its step, and what it trains."""

import math

import pytest
import torch
from torch import nn

from vqvae.config import TrainingConfig
from vqvae.training.group import make_optimizers
from vqvae.training.muon import Muon, names_of_matrices, nearest_orthogonal
from vqvae.training.stage import Trainable


@pytest.mark.parametrize("shape", [(24, 24), (16, 90), (90, 16), (1, 30), (128, 1152)])
def test_the_direction_keeps_the_singular_vectors_and_makes_the_values_alike(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = u.T @ nearest_orthogonal(matrix).double() @ v.T
    large = s > s.max() / 100
    assert values.diagonal()[large].min() > 0.6 and values.diagonal().max() < 1.3
    torch.testing.assert_close(values, values.diagonal().diag(), rtol=0, atol=2e-3)


def test_the_direction_is_that_of_the_iteration_as_it_is_written() -> None:
    matrix = torch.randn(20, 70, generator=torch.Generator().manual_seed(1))
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    torch.testing.assert_close(nearest_orthogonal(matrix).double(), x, rtol=0, atol=1e-4)


def test_a_matrix_of_zeros_has_no_direction() -> None:
    assert torch.equal(nearest_orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_steps_are_those_of_the_paper(memory: torch.memory_format) -> None:
    layer = nn.Conv2d(6, 8, 3).to(memory_format=memory)  # pyright: ignore
    weight, momentum = layer.weight.detach().flatten(1).clone(), torch.zeros(8, 54)
    optimizer = Muon([layer.weight], 0.01, momentum=0.9, weight_decay=0.1)
    draw = torch.Generator().manual_seed(2)
    for _ in range(3):
        gradient = torch.randn(8, 54, generator=draw)
        layer.weight.grad = gradient.view(8, 6, 3, 3).clone(memory_format=memory)
        optimizer.step()
        momentum = 0.9 * momentum + gradient
        direction = nearest_orthogonal(gradient + 0.9 * momentum)
        weight = weight - 0.01 * (0.2 * math.sqrt(54) * direction + 0.1 * weight)
    torch.testing.assert_close(layer.weight.detach().flatten(1), weight)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (64, 64)])
def test_steps_are_those_of_torch_but_for_its_bf16(shape: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(3)
    start = 0.1 * torch.randn(shape, generator=draw)
    ours, torchs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = (
        Muon([ours], 0.01, momentum=0.9, weight_decay=0.1),
        torch.optim.Muon([torchs], 0.01, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        ours.grad = torchs.grad = torch.randn(shape, generator=draw)
        for optimizer in optimizers:
            optimizer.step()
    assert (ours - torchs).norm() < 0.03 * (ours - start).norm()


def test_matrices_and_convolutions_learn_by_muon_and_other_parameters_by_adamw() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Embedding(5, 4), nn.Linear(4, 4), nn.RMSNorm(4))
    assert list(names_of_matrices(module)) == ["0.weight", "2.weight"]
    learning = dict(module.named_parameters())
    trainable, config = Trainable(module), TrainingConfig(optimizer="muon")
    muon, adamw = make_optimizers(learning, names_of_matrices(module), trainable, config)
    assert {id(p) for p in muon.param_groups[0]["params"]} == {
        id(learning[name]) for name in names_of_matrices(module)
    }
    assert len(adamw.param_groups[0]["params"]) == len(learning) - 2
