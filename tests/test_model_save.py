"""A model that was trained in a plain loop becomes a file that is loaded, measured and sampled as a run's is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vqvae
from vqvae.cli import main
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.model_io import read_model
from vqvae.models import VQVAE, objective
from vqvae.networks import PaperNetwork
from vqvae.priors import CodeTransformer, PixelCNN, PriorModelConfig
from vqvae.quantizers import EMAQuantizer
from vqvae.tensors import CodeSpec, images_from_pixels
from vqvae.training import Run

NETWORK = PaperNetwork.Config(width=16, outer_width=8, residual_width=8, residual_blocks=1)
TOKENIZER = VQVAE.Config(network=NETWORK, quantizer=EMAQuantizer.Config(num_codes=16, dim=4, codes_per_position=2))
PRIORS = (
    PixelCNN.Config(width=8, layers=2, head_width=8, kernel=5, dropout=0.1),
    CodeTransformer.Config(width=16, layers=2, heads=2, head_width=8),
)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return load("shapes", "train", limit=64).pixels


@pytest.fixture
def tokenizer(pixels: Tensor) -> VQVAE:
    """A tokenizer after three steps of a plain loop."""
    torch.manual_seed(0)
    model, images = TOKENIZER.build(channels=3), images_from_pixels(pixels[:16])
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(3):
        parameters, quantized = model(images)
        loss = objective(
            images,
            parameters,
            quantized,
            likelihood=model.likelihood,
            pixel_variance=model.pixel_variance,
            beta=0.25,
        )
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        model.quantizer.update()
    return model


def _prior(config: PriorModelConfig, spec: CodeSpec) -> Any:
    torch.manual_seed(0)
    return config.build(spec, num_classes=8).eval()


def test_a_loaded_tokenizer_has_equal_codes_and_images(tokenizer: VQVAE, pixels: Tensor, tmp_path: Path) -> None:
    path = vqvae.save(tokenizer, tmp_path / "a.safetensors", config=TOKENIZER, images=pixels)
    assert path == tmp_path / "a.safetensors" and tokenizer.training
    loaded, images = vqvae.load_tokenizer(path), images_from_pixels(load("shapes", "test", limit=20).pixels)
    codes = tokenizer.eval().encode(images)
    assert torch.equal(loaded.encode(images), codes) and torch.equal(loaded.decode(codes), tokenizer.decode(codes))


def test_parts_in_eval_mode_stay_there(tokenizer: VQVAE, pixels: Tensor, tmp_path: Path) -> None:
    tokenizer.train()
    tokenizer.encoder.eval()  # frozen, as a loop may do it
    before = [module.training for module in tokenizer.modules()]
    vqvae.save(tokenizer, tmp_path / "frozen.safetensors", config=TOKENIZER, images=pixels)
    assert [module.training for module in tokenizer.modules()] == before
    tokenizer.train()


def test_the_card_and_the_estimates_are_those_of_a_run(tokenizer: VQVAE, pixels: Tensor, tmp_path: Path) -> None:
    path = vqvae.save(tokenizer, tmp_path / "run", config=TOKENIZER, images=pixels, classes=("a", "b"), step=3)
    card = read_model(tmp_path / "run").card
    assert path == tmp_path / "run" / "model.safetensors"
    assert (card.stage, card.image_shape, card.classes, card.step) == ("tokenizer", (3, 32, 32), ("a", "b"), 3)
    loaded, images = vqvae.load_tokenizer(path), images_from_pixels(pixels).double()
    error = (loaded.decode(loaded.encode(images.float())) - images).square().mean()
    assert float(loaded.pixel_variance) == pytest.approx(float(images.var(correction=0)))
    assert float(loaded.likelihood.noise_variance) == pytest.approx(float(error), rel=1e-5)
    assert float(tokenizer.pixel_variance) == 1  # the model in hand is not changed


def test_a_variance_that_the_loop_set_is_kept_and_float_images_make_the_same_file(
    tokenizer: VQVAE, pixels: Tensor, tmp_path: Path
) -> None:
    tokenizer.pixel_variance.fill_(0.25)
    one = vqvae.save(tokenizer, tmp_path / "1.safetensors", config=TOKENIZER, images=pixels)
    images = images_from_pixels(pixels)
    other = vqvae.save(tokenizer, tmp_path / "2.safetensors", config=TOKENIZER, images=images)
    assert one.read_bytes() == other.read_bytes()
    assert float(vqvae.load_tokenizer(one).pixel_variance) == 0.25


@pytest.mark.parametrize("config", PRIORS)
def test_a_prior_is_sampled_and_measured_as_a_run_is(
    config: PriorModelConfig,
    tokenizer_run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = read_model(tokenizer_run.path)
    prior = _prior(config, vqvae.load_tokenizer(tokenizer_run.path).code_spec(32, 32))
    own = {"tokenizer": tokenizer_run.path, "classes": source.card.classes}
    vqvae.save(prior, tmp_path / "mine", config=config, step=7, **own)
    loaded, card = vqvae.load_prior(tmp_path / "mine"), read_model(tmp_path / "mine").card
    codes, labels = torch.randint(prior.spec.num_codes, (5, 8, 8, prior.spec.codes_per_position)), torch.arange(5)
    assert torch.equal(loaded(codes, labels), prior(codes, labels))
    assert (card.tokenizer, card.classes, card.step) == (source.card.identity, source.card.classes, 7)
    main(["sample", str(tmp_path / "mine"), "--num", "8", "--label", "star", "--out", str(tmp_path / "a.png")])
    main(["evaluate", str(tmp_path / "mine"), "--data", "shapes:40"])
    assert (tmp_path / "a.png").exists() and "bits" in capsys.readouterr().out
    assert (tmp_path / "mine/tokenizer/model.safetensors").read_bytes() == tokenizer_run.model.read_bytes()


def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tokenizer: VQVAE, pixels: Tensor, tokenizer_run: Run, tmp_path: Path
) -> None:
    path, other = tmp_path / "a.safetensors", replace(TOKENIZER, network=replace(NETWORK, width=24))
    spec = vqvae.load_tokenizer(tokenizer_run.path).code_spec(32, 32)
    prior, of = _prior(PRIORS[0], spec), tokenizer_run.path
    larger = _prior(PRIORS[0], replace(spec, num_codes=2 * spec.num_codes))
    mine: dict[str, Any] = {"config": TOKENIZER, "images": pixels}
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (
            tokenizer,
            {**mine, "config": other},
            "builds another model than the one given; 'encoder.2.weight' differs",
        ),
        (tokenizer, {"config": TOKENIZER}, "a tokenizer is saved with images="),
        (tokenizer, {**mine, "images": pixels[:, :1]}, r"\[64, 1, 32, 32\]: expected \[B, 3"),
        (tokenizer, {**mine, "images": pixels[:0]}, "at least one"),
        (tokenizer, {**mine, "images": pixels.float()}, r"expected float in \[-1, 1\]"),
        (prior, {"config": PRIORS[0]}, "a prior is saved with tokenizer="),
        (
            prior,
            {"config": PRIORS[0], "tokenizer": of, "classes": ("a",)},
            "1 names of classes, but the prior has 8",
        ),
        (prior, {"config": PRIORS[0], "tokenizer": of}, "0 names of classes, but the prior has 8"),
        (larger, {"config": PRIORS[0], "tokenizer": of}, "its codes are .*, but the prior models"),
        (prior, {"config": PRIORS[1], "tokenizer": of}, "builds another model than the one given"),
        (prior, mine, "a PixelCNN with a VQVAE.Config: expected a VQVAE with its VQVAE.Config, or a prior"),
        (torch.nn.Linear(2, 2), mine, "a Linear with"),
    ]
    for model, arguments, says in refused:
        with pytest.raises(ValueError, match=says):
            vqvae.save(model, path, **arguments)
    with pytest.raises(UserError, match="no such run directory or model file"):
        vqvae.save(prior, path, config=PRIORS[0], tokenizer=tmp_path / "none")
    with pytest.raises(UserError, match="no longer finite"):
        tokenizer.encoder[0].weight.data[0] = float("nan")
        vqvae.save(tokenizer, path, **mine)
    assert not path.exists()
