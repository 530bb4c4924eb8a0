"""The mean absolute error, and what holds for any loss without a network of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.losses import L1, build_losses
from vqvae.training import Run


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    images, reconstruction = (torch.rand(4, 2, 8, 8, generator=draw) * 2 - 1 for _ in range(2))
    return images, reconstruction.requires_grad_()


def test_the_term_and_its_gradient_are_their_closed_forms() -> None:
    images, reconstruction = _pair()
    term = L1().term(images, reconstruction)
    assert term.item() == pytest.approx((images - reconstruction).abs().double().mean().item(), rel=1e-6)
    (3.0 * term).backward()
    torch.testing.assert_close(reconstruction.grad, 3.0 * (reconstruction - images).sign() / images.numel())


def test_a_batch_without_images_has_a_finite_term() -> None:
    empty = torch.zeros(0, 3, 8, 8)
    assert L1().term(empty, empty.clone().requires_grad_()).item() == 0.0


def test_losses_of_one_kind_have_names_of_their_own() -> None:
    twice = build_losses([L1.Config(), L1.Config(weight=0.5)], image_shape=(3, 8, 8))
    assert list(twice) == ["l1", "l1-2"]


def _train(run: Run) -> list[dict[str, Any]]:
    return [record for record in read_records(run.metrics) if record["split"] == "train"]


def test_the_weighted_term_joins_the_objective_at_its_start(train_tokenizer: Any, tmp_path: Path) -> None:
    plain = _train(train_tokenizer(tmp_path / "plain", training__steps="4"))
    losses = "[{kind: l1, weight: 0.5, start: 2}]"
    added = _train(train_tokenizer(tmp_path / "added", training__steps="4", losses=losses))
    assert [record["loss"] for record in added[:2]] == [record["loss"] for record in plain[:2]]
    assert ["l1" in record for record in added] == [False, False, True, True]
    for record in added[2:]:
        terms = record["reconstruction"] + record["codebook"] + 0.25 * record["commitment"]
        assert record["loss"] == pytest.approx(terms + 0.5 * record["l1"], rel=1e-5)
    assert added[3]["reconstruction"] != plain[3]["reconstruction"]


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ("[{kind: l2}]", "losses.0: no loss of kind 'l2' is known"),
        ("[{kind: l1, weight: -1}]", "losses.0.weight: must be a number of at least 0, got -1"),
        ("[{kind: l1, start: -1}]", "losses.0.start: must be an integer of at least 0, got -1"),
        ("[{kind: l1, beta: 1}]", "unknown key 'losses.0.beta'"),
    ],
)
def test_a_wrong_setting_is_named(losses: str, says: str, train_tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        train_tokenizer(tmp_path / "run", losses=losses)
