"""Every kind trains by name."""

from typing import Any

import pytest
import torch
from tests.quantizers.kinds import kinds

from vqvae import load_tokenizer
from vqvae.config import load_config
from vqvae.files import read_records


@pytest.mark.parametrize("kind", kinds())
def test_it_trains_by_name_and_loads_again(kind: str, train_tokenizer: Any, tmp_path: Any) -> None:
    run = train_tokenizer(tmp_path / kind, model__quantizer__kind=kind)
    records = list(read_records(run.metrics))
    losses = [record["reconstruction"] for record in records if "reconstruction" in record]
    assert losses and losses[-1] < losses[0], losses
    validation = [record for record in records if "usage" in record][-1]
    assert 0 < validation["usage"] <= 1 and validation["perplexity"] >= 1
    tokenizer = load_tokenizer(run.path)
    codes = tokenizer.encode(torch.rand(2, 3, 32, 24) * 2 - 1)
    assert codes.shape == (2, 8, 6, tokenizer.codes_per_position)
    assert tokenizer.decode(codes).shape == (2, 3, 32, 24)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_the_estimator_is_chosen_by_name(estimator: str, recipes: dict[str, str]) -> None:
    config = load_config(recipes["tokenizer"], "tokenizer", {"model.quantizer.estimator": estimator})
    built = config.model.build(channels=3).quantizer  # type: ignore[union-attr]
    assert estimator in built.estimator.__name__  # type: ignore[union-attr]
