"""Models from paths: what was saved is what is loaded, and nothing else is taken for it."""

from pathlib import Path

import pytest
import torch

import vqvae
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.model_io import file_hash, model_file, read_model, save_model
from vqvae.priors import CodeTransformer
from vqvae.tensors import images_from_pixels
from vqvae.training import Run


def test_the_public_surface_as_documented(tokenizer_run: Run, prior_run: Run) -> None:
    tokenizer = vqvae.load_tokenizer(tokenizer_run.path)
    images = images_from_pixels(load("shapes", "test", limit=6).pixels)
    codes = tokenizer.encode(images)
    assert codes.shape == (6, 8, 8, 1) and codes.dtype == torch.int64
    decoded = tokenizer.decode(codes)
    assert decoded.shape == images.shape and decoded.dtype == torch.float32 and decoded.abs().max() <= 1
    prior = vqvae.load_prior(str(prior_run.path))
    assert not tokenizer.training and not prior.training
    drawn = prior.sample(5, seed=0, temperature=1.0, top_k=None, top_p=None, labels=None)
    assert drawn.shape == (5, 8, 8, 1) and drawn.dtype == torch.int64
    assert prior.log_prob(codes, labels=None).shape == (6,)
    assert prior(codes, labels=None).shape == (6, 8, 8, 1, 16)


def test_a_transformer_is_trained_and_loaded_as_a_pixelcnn_is(
    tokenizer_run: Run, train_prior, tmp_path: Path
) -> None:
    run = train_prior(tmp_path / "run", tokenizer_run, model__kind="transformer", model__heads="2")
    prior = vqvae.load_prior(run.path)
    assert isinstance(prior, CodeTransformer) and not prior.training
    losses = [record["loss"] for record in read_records(run.metrics) if record["split"] == "train"]
    assert len(losses) == 12 and losses[-1] < losses[0]
    codes = prior.sample(3, labels=torch.tensor([0, 1, prior.num_classes]), guidance=2.0)
    assert codes.shape == (3, 8, 8, 1) and prior.log_prob(codes).isfinite().all()


def test_a_card_that_names_no_kind_of_prior_is_a_pixelcnns(prior_run: Run, tmp_path: Path) -> None:
    card, state = read_model(prior_run.path)
    del card.build["model"]["kind"]
    save_model(tmp_path / "model.safetensors", state, card)
    codes = torch.zeros(1, 8, 8, 1, dtype=torch.int64)
    assert torch.equal(vqvae.load_prior(tmp_path)(codes), vqvae.load_prior(prior_run.path)(codes))


def test_a_file_and_its_run_are_the_same_model(tokenizer_run: Run, prior_run: Run) -> None:
    one, other = vqvae.load_tokenizer(tokenizer_run.path), vqvae.load_tokenizer(tokenizer_run.model)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert file_hash(model_file(prior_run.path / "tokenizer")) == file_hash(tokenizer_run.model)
    assert read_model(prior_run.path)[0].tokenizer == file_hash(tokenizer_run.model)


def test_a_non_square_grey_tokenizer_is_rebuilt_from_its_file(tmp_path: Path, train_tokenizer) -> None:
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        Image.linear_gradient("L").resize((24, 16)).rotate(9 * number).save(folder / f"{number}.png")
    settings = {"data__spec": str(folder), "data__limit": "null", "training__steps": "3"}
    run = train_tokenizer(tmp_path / "run", **settings, model__quantizer__codes_per_position="3")
    tokenizer = vqvae.load_tokenizer(run.path)
    assert tokenizer.encode(torch.zeros(2, 1, 16, 24)).shape == (2, 4, 6, 3)


def test_wrong_files_are_refused_in_one_line(tokenizer_run: Run, prior_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a prior, not a tokenizer"):
        vqvae.load_tokenizer(prior_run.model)
    with pytest.raises(UserError, match="a tokenizer, not a prior"):
        vqvae.load_prior(tokenizer_run.path)
    with pytest.raises(UserError, match=r"no model\.safetensors in it"):
        vqvae.load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="not a vqvae-model file"):
        vqvae.load_tokenizer(tokenizer_run.checkpoints / "step-00000012.safetensors")
    card, state = read_model(tokenizer_run.path)
    state.pop("encoder.0.weight")
    save_model(tmp_path / "model.safetensors", state, card)
    with pytest.raises(UserError, match="its weights do not fit its card"):
        vqvae.load_tokenizer(tmp_path)
