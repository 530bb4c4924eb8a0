"""What every test may use: a cache of its own, and trainings small enough for seconds."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqvae.config import load_config
from vqvae.training import Run, prior_config, train

TOKENIZER = """
data: {spec: shapes, limit: 96, flip: true}
model:
  width: 16
  outer_width: 8
  residual_width: 8
  residual_blocks: 1
  quantizer: {kind: ema, num_codes: 16, dim: 4, revive_every: 3}
training:
  {steps: 12, batch_size: 16, warmup: 2, log_every: 1, evaluate_every: 6, checkpoint_every: 4, compile: false,
   precision: fp32, learning_rate: 3.0e-3}
"""
PRIOR = """
data: {limit: 96}
classes: true
model: {width: 8, layers: 3, head_width: 16, dropout: 0.2}
training:
  {steps: 12, batch_size: 16, warmup: 2, log_every: 1, evaluate_every: 6, checkpoint_every: 4, compile: false,
   precision: fp32, learning_rate: 3.0e-3}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep stored codes of tests out of the user's cache."""
    monkeypatch.setenv("VQVAE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the paths of the two small recipes."""
    folder = tmp_path_factory.mktemp("recipes")
    paths = {"tokenizer": folder / "small.yaml", "prior": folder / "small-prior.yaml"}
    paths["tokenizer"].write_text(TOKENIZER)
    paths["prior"].write_text(PRIOR)
    return {stage: str(path) for stage, path in paths.items()}


Trained = Callable[..., Run]


@pytest.fixture(scope="session")
def train_tokenizer(recipes: dict[str, str]) -> Trained:
    """Return a function that trains the small tokenizer into a directory, with overrides."""

    def run(out: Path, **overrides: str) -> Run:
        settings = {key.replace("__", "."): value for key, value in overrides.items()}
        return train(load_config(recipes["tokenizer"], "tokenizer", settings), out=str(out), name="small")

    return run


@pytest.fixture(scope="session")
def train_prior(recipes: dict[str, str]) -> Trained:
    """Return a function that trains the small prior over a tokenizer's run, with overrides."""

    def run(out: Path, tokenizer: Run, **overrides: str) -> Run:
        settings = {key.replace("__", "."): value for key, value in overrides.items()}
        config = prior_config(str(tokenizer.path), recipes["prior"], settings)
        return train(config, out=str(out), name="small-prior")

    return run


@pytest.fixture(scope="session")
def tokenizer_run(train_tokenizer: Trained, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run of the small tokenizer; not to be changed."""
    return train_tokenizer(tmp_path_factory.mktemp("runs") / "tokenizer")


@pytest.fixture(scope="session")
def prior_run(train_prior: Trained, tokenizer_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a finished run of the small prior; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train_prior(tmp_path_factory.mktemp("runs") / "prior", tokenizer_run)


@pytest.fixture
def randn():
    """Normal numbers as a function of a seed and a shape."""

    def draw(seed: int, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture
def hangup_as_from_a_shell() -> Iterator[None]:
    """Undo what nohup does to SIGHUP, in this process and in those that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
