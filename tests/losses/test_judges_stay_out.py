"""The network that judges a model is never one that took part in its training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from vqvae.cli import main
from vqvae.errors import UserError
from vqvae.features import FeatureNetwork, FeaturesConfig, Judge, network_named
from vqvae.features.files import save_weights
from vqvae.losses import Loss, LossConfig, mean
from vqvae.model_io import read_model


class Perceptual(Loss):
    """A loss of somebody else's, on the features of a network."""

    @dataclass(frozen=True, kw_only=True)
    class Config(LossConfig):
        kind: Literal["features-l2"] = "features-l2"
        network: FeaturesConfig = field(default_factory=Judge.Config)

        def build(self, *, image_shape: tuple[int, int, int], seed: int = 0) -> "Perceptual":
            return Perceptual(self.network.build())

    def __init__(self, network: FeatureNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        return mean((self.network(images) - self.network(reconstruction)).square())


def test_the_shipped_judge_is_refused_in_a_loss(train_tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the shipped judge measures and takes part in no training"):
        train_tokenizer(tmp_path / "run", losses="[{kind: features-l2, network: {kind: judge}}]")


def test_a_tokenizer_knows_the_networks_of_its_losses_and_none_of_them_judges_it(
    train_tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    judge, own = Judge((4, 4, 8), classes=3), tmp_path / "own.safetensors"
    weights = {name: value for name, value in judge.state_dict().items() if "num_batches" not in name}
    save_weights(own, {"network": "judge", "settings": judge.settings}, weights)
    losses = f"[{{kind: features-l2, network: {{kind: judge, weights: {own}}}}}, {{kind: l1}}]"
    run = train_tokenizer(tmp_path / "run", losses=losses, training__steps="2")
    assert read_model(run.path).card.trained_with == (network_named(str(own)).digest,)
    judged = ["evaluate", str(run.path), "--data", "shapes", "--data.limit", "8", "--features"]
    with pytest.raises(SystemExit) as stop:
        main([*judged, str(own)])
    assert stop.value.code == 2 and "cannot judge it: choose another network" in capsys.readouterr().err
    main([*judged, "judge"])
