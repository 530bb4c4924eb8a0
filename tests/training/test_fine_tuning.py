"""Trainings that start from a trained model: what is taken over, what stays as it is, and what is refused."""

import dataclasses
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.batch_norm_network import BatchNormNetwork

import vqvae
from vqvae.cli import main
from vqvae.commands.decode import decode_store
from vqvae.commands.encode import encode_to_store
from vqvae.commands.resolve import open_prior_run, open_tokenizer_run
from vqvae.commands.sample import sample_picture
from vqvae.config import load_config
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.model_io import load_tokenizer, read_model
from vqvae.tensorfile import load_tensors
from vqvae.tensors import images_from_pixels
from vqvae.training import Interrupted, Run, code_cache, prior_config, resume, train
from vqvae.training.checkpoint import KIND, VERSION, checkpoint_path
from vqvae.training.engine import Engine
from vqvae.training.loop import Trainer, learning_rate
from vqvae.training.run_data import load_run_data
from vqvae.training.tokenizer import TokenizerStage

DECODER_ALONE = {"freeze": "encoder,quantizer", "training__weight_decay": "0.1", "training__steps": "6"}
RESIDUAL = {"depth": "2", "dropout": "1.0", "inner.kind": "ema", "inner.num_codes": "16"}
KINDS = {
    "ema": {},
    "vq": {"estimator": "rotation"},
    "gumbel": {},
    "cosine": {"dim": "4"},
    "residual": RESIDUAL,
    "grouped": {"groups": "2", "inner.kind": "ema", "inner.num_codes": "16", "inner.dim": "4"},
    "projected": {"inner.kind": "ema", "inner.num_codes": "16", "inner.dim": "4"},
}
IMAGES = images_from_pixels(load("shapes", "test", limit=64).pixels)


def _settings(kind: str) -> dict[str, str]:
    return {f"model__quantizer__{key}": value for key, value in {"kind": kind, **KINDS[kind]}.items()}


def _changed(run: Run, other: Run) -> set[str]:
    """Return the first words of the names of the tensors that differ between two models."""
    one, two = read_model(run.path).state, read_model(other.path).state
    assert one.keys() == two.keys()
    return {name.split(".")[0] for name in one if not torch.equal(one[name], two[name])}


def _nmse(run: Run) -> list[float]:
    return [record["nmse"] for record in read_records(run.metrics) if record["split"] == "validation"]


@pytest.mark.parametrize("kind", ["ema", "vq", "gumbel", "residual", "projected"])
def test_a_decoder_trained_alone_leaves_every_code_and_every_frozen_tensor_as_it_was(
    kind: str, train_tokenizer: Any, tmp_path: Path
) -> None:
    settings = _settings(kind) | {"training__accumulate": "2"}
    old = train_tokenizer(tmp_path / "old", **settings | {"training__steps": "4"})
    new = train_tokenizer(tmp_path / "new", init=str(old.path), **settings | DECODER_ALONE)
    assert _changed(old, new) == {"decoder", "likelihood"}
    for model in (new.model, new.best):
        assert torch.equal(load_tokenizer(model).encode(IMAGES), load_tokenizer(old.path).encode(IMAGES))
        assert read_model(model).card.identity == read_model(old.path).card.identity
    state = load_tensors(checkpoint_path(new.checkpoints, 6), KIND, VERSION)[1]
    trained = {name.split("/")[-1].split(".")[0] for name in state if name.split("/")[1] != "weights"}
    assert trained == {"decoder"}


def test_batch_statistics_of_a_frozen_encoder_stay_as_they_were(train_tokenizer: Any, tmp_path: Path) -> None:
    network = {"model__network__kind": BatchNormNetwork.Config.kind}
    old = train_tokenizer(tmp_path / "old", **network, training__steps="4")
    new = train_tokenizer(tmp_path / "new", init=str(old.path), **network | DECODER_ALONE)
    whole = train_tokenizer(tmp_path / "whole", init=str(old.path), **network)
    encoder = [name for name in read_model(old.path).state if name.startswith("encoder.")]
    assert any("running_mean" in name for name in encoder)
    assert _changed(old, new) == {"decoder", "likelihood"}
    assert _changed(old, whole) == {"encoder", "quantizer", "decoder", "likelihood"}


@pytest.fixture
def decoder_run(train_tokenizer: Any, tokenizer_run: Run, tmp_path: Path) -> Run:
    """Return a run that trained the decoder of the small tokenizer alone."""
    return train_tokenizer(tmp_path / "decoder", init=str(tokenizer_run.path), **DECODER_ALONE)


def test_a_prior_made_before_is_accepted_and_decoded_by_the_new_decoder(
    prior_run: Run, tokenizer_run: Run, decoder_run: Run, tmp_path: Path
) -> None:
    main(f"sample {prior_run.path} --num 8 --out {tmp_path}/old.png".split())
    main(f"sample {prior_run.path} --num 8 --tokenizer {decoder_run.path} --out {tmp_path}/new.png".split())
    assert (tmp_path / "old.png").read_bytes() != (tmp_path / "new.png").read_bytes()
    expected = open_prior_run(prior_run.path)
    mine = open_tokenizer_run(decoder_run.path).tokenizer
    picture = sample_picture(dataclasses.replace(expected, tokenizer=mine), num=8)
    assert vqvae.sample(prior_run, 8, tokenizer=decoder_run).tobytes() == picture.tobytes()


def test_a_prior_or_store_of_another_encoder_is_refused_in_one_line(
    train_tokenizer: Any, prior_run: Run, tokenizer_run: Run, tmp_path: Path
) -> None:
    other = train_tokenizer(tmp_path / "other", init=str(tokenizer_run.path), training__steps="1")
    with pytest.raises(UserError) as error:
        open_prior_run(prior_run.path, tokenizer=other.path)
    says = f"not the tokenizer whose codes {prior_run.path} models: its encoder or quantizer is another"
    assert str(error.value) == f"{other.model}: {says}"
    store = tmp_path / "store"
    encode_to_store(open_tokenizer_run(tokenizer_run.path), "shapes:40", str(store))
    with pytest.raises(UserError, match=r"not the tokenizer whose codes .* its encoder or quantizer is another"):
        decode_store(str(store), open_tokenizer_run(other.path), str(tmp_path / "images"))
    with pytest.raises(UserError, match="holds other codes, its tokenizer is"):
        encode_to_store(open_tokenizer_run(other.path), "shapes:40", str(store))


def test_a_run_that_could_not_start_leaves_its_directory_free(
    train_tokenizer: Any, tokenizer_run: Run, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"set --model\.network\.width 16"):
        train_tokenizer(tmp_path / "run", init=str(tokenizer_run.path), model__width="40")
    assert not Run(tmp_path / "run").exists
    run = train_tokenizer(tmp_path / "run", init=str(tokenizer_run.path), training__steps="2")
    assert load_tokenizer(run.path)


def test_a_store_made_before_is_continued_and_decoded(
    tokenizer_run: Run, decoder_run: Run, tmp_path: Path
) -> None:
    job = {"spec": "shapes:40", "out": str(tmp_path / "store"), "shard_rows": 10}
    made = encode_to_store(open_tokenizer_run(tokenizer_run.path), **job)
    again = encode_to_store(open_tokenizer_run(decoder_run.path), **job)
    assert made.made == 4 and again.made == 0
    assert decode_store(job["out"], open_tokenizer_run(decoder_run.path), str(tmp_path / "images")) == 40


def test_a_new_prior_finds_the_codes_that_were_stored(
    train_prior: Any, tokenizer_run: Run, decoder_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = train_prior(tmp_path / "before", tokenizer_run, training__steps="2")
    monkeypatch.setattr(code_cache, "_encoded", None)
    after = train_prior(tmp_path / "after", decoder_run, training__steps="2")
    assert after.model.read_bytes() == before.model.read_bytes()


def _stage(config: Any, init: Run) -> TokenizerStage:
    data = load_run_data(config.data, multiple_of=4)
    return TokenizerStage(config, data.train, data.validation, Engine.of(config.training), read_model(init.path))


def _grown(recipe: str, kind: str, num_codes: int) -> Any:
    at = "inner." if kind in ("residual", "grouped", "projected") else ""
    settings = {key.replace("__", "."): value for key, value in _settings(kind).items()}
    return load_config(recipe, "tokenizer", settings | {f"model.quantizer.{at}num_codes": str(num_codes)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_codebook_starts_with_the_codes_of_the_smaller_one(
    kind: str, train_tokenizer: Any, recipes: dict[str, str], tmp_path: Path
) -> None:
    old = train_tokenizer(tmp_path / "old", **_settings(kind) | {"training__steps": "6"})
    for num_codes in (20, 40):  # more than double: some codes are copied twice
        grown = _stage(_grown(recipes["tokenizer"], kind, num_codes), old).tokenizer.eval()
        assert grown.num_codes == num_codes
        assert torch.equal(grown.encode(IMAGES), load_tokenizer(old.path).encode(IMAGES))
        assert torch.equal(grown(IMAGES)[0], load_tokenizer(old.path)(IMAGES)[0])


@pytest.mark.parametrize("kind", ["ema", "vq"])
def test_a_larger_codebook_starts_at_the_old_nmse_and_ends_below_it(
    kind: str, train_tokenizer: Any, recipes: dict[str, str], tmp_path: Path
) -> None:
    settings = _settings(kind) | {"training__steps": "60", "training__evaluate_every": "60"}
    old = train_tokenizer(tmp_path / "old", **settings)
    more = settings | {"model__quantizer__num_codes": "32", "model__quantizer__revive_every": "0"}
    start = _stage(_grown(recipes["tokenizer"], kind, 32), old)
    start.tokenizer.eval()
    with torch.no_grad():
        assert start.evaluate()["nmse"] == pytest.approx(_nmse(old)[-1], rel=1e-6)
    new = train_tokenizer(tmp_path / "new", init=str(old.path), **more)
    assert _nmse(new)[-1] < _nmse(old)[-1]
    codes = load_tokenizer(new.path).encode(IMAGES)
    assert (codes >= 16).any()  # without revival: the copies have parted from their codes


def test_a_smaller_codebook_keeps_the_most_used_codes(
    tokenizer_run: Run, recipes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    old, config = load_tokenizer(tokenizer_run.path), _grown(recipes["tokenizer"], "ema", 8)
    stage = _stage(config, tokenizer_run)
    used = old.encode(images_from_pixels(stage.train.some(2048))).flatten().bincount(minlength=16)
    kept = used.argsort(descending=True, stable=True)[:8].sort().values
    assert torch.equal(stage.tokenizer.quantizer.codebook, old.quantizer.codebook[kept])
    assert "16 -> 8 codes (the most used are kept)" in capsys.readouterr().err


def test_codes_that_nobody_uses_are_not_copied() -> None:
    from vqvae.quantizers.resize import origins

    assert origins(torch.tensor([0, 5, 0, 7]), 9).tolist() == [0, 1, 2, 3, 3, 1, 3, 1, 3]
    assert origins(torch.tensor([0, 5, 0, 7]), 2).tolist() == [1, 3]
    assert origins(torch.tensor([3, 3, 3, 3]), 2).tolist() == [0, 1]


def test_other_data_sizes_and_losses_start_from_the_trained_weights(
    train_tokenizer: Any, tokenizer_run: Run, recipes: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    more = {"data.size": "16", "data.fit": "crop", "losses": "[{kind: l1}]", "model.quantizer.decay": "0.9"}
    stage = _stage(load_config(recipes["tokenizer"], "tokenizer", more), tokenizer_run)
    old = read_model(tokenizer_run.path).state
    for name, tensor in stage.tokenizer.state_dict().items():
        assert torch.equal(tensor, old[name]) != (name == "pixel_variance"), name
    assert f"starts from {tokenizer_run.model}, step 12: its weights are taken over" in capsys.readouterr().err
    settings = {key.replace(".", "__"): value for key, value in more.items()}
    tuned = train_tokenizer(tmp_path / "tuned", init=str(tokenizer_run.path), **settings)
    scratch = train_tokenizer(tmp_path / "scratch", **settings)
    assert tuned.read_config().init == str(tokenizer_run.model.resolve())
    assert _nmse(tuned)[-1] < _nmse(scratch)[-1]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model.width": "24"}, "its model.network.width is 16, not 24: its weights do not fit"),
        ({"model.factor": "8"}, "its model.network.factor is 4, not 8"),
        ({"model.quantizer.kind": "vq"}, "its model.quantizer.kind is ema, not vq"),
        ({"model.quantizer.dim": "8"}, "its model.quantizer.dim is 4, not 8"),
        ({"data.channels": "1"}, "for images of 3 channels, not 1: set --data.channels 3"),
        ({"freeze": "quantizer", "model.quantizer.num_codes": "32"}, "a frozen part stays as it is: set --model."),
        ({"freeze": "encoder,quantizer", "model.quantizer.decay": "0.5"}, "its model.quantizer.decay is 0.99"),
        ({"freeze": "encoder,quantizer,decoder"}, "no parameter is left to train"),
        ({"freeze": "encoder,decoder"}, "freeze encoder,decoder: no parameter is left to train"),
        ({"freeze": "encoder", "init": ""}, "only parts of a trained tokenizer can be frozen: add --init RUN"),
        ({"freeze": "codebook"}, "freeze.0: must be encoder, quantizer or decoder"),
        ({"init": "nowhere"}, "nowhere: no such run directory or model file"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_that_names_the_key(
    settings: dict[str, str], says: str, tokenizer_run: Run, recipes: dict[str, str], tmp_path: Path
) -> None:
    start = {"init": str(tokenizer_run.path)} | settings
    with pytest.raises(UserError) as error:
        train(load_config(recipes["tokenizer"], "tokenizer", start), out=str(tmp_path / "run"), name="small")
    assert says in str(error.value) and "\n" not in str(error.value)


def test_levels_of_a_quantizer_without_tensors_must_be_equal_too(train_tokenizer: Any, tmp_path: Path) -> None:
    fsq = {"model__quantizer__kind": "fsq", "training__steps": "1"}
    old = train_tokenizer(tmp_path / "old", **fsq, model__quantizer__levels="[8, 5]")
    with pytest.raises(UserError, match=r"its model\.quantizer\.levels is \[8, 5\], not \[5, 8\]"):
        train_tokenizer(tmp_path / "new", init=str(old.path), **fsq, model__quantizer__levels="[5, 8]")


def test_a_codebook_whose_copies_would_stay_equal_does_not_grow(train_tokenizer: Any, tmp_path: Path) -> None:
    simvq = {"model__quantizer__kind": "simvq", "training__steps": "1"}
    old = train_tokenizer(tmp_path / "old", **simvq)
    with pytest.raises(UserError, match="the codes of SimVQ cannot be copied: one map moves all of them alike"):
        train_tokenizer(tmp_path / "new", init=str(old.path), **simvq, model__quantizer__num_codes="32")


@pytest.mark.parametrize("how", [{"freeze": "encoder,quantizer"}, {"model__quantizer__num_codes": "24"}])
def test_a_run_that_started_from_another_ends_bit_identical_after_stops_anywhere(
    how: dict[str, str],
    train_tokenizer: Any,
    tokenizer_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / "source"
    shutil.copytree(tokenizer_run.path, source)
    whole = train_tokenizer(tmp_path / "whole", init=str(source), **how)
    stops, step = [1, 2, 7], Trainer._step

    def stopped(trainer: Trainer) -> Any:
        if stops and trainer.step + 1 == stops[0]:
            if stops.pop(0) == 1:
                raise KeyboardInterrupt  # as a kill would: no checkpoint is written
            signal.raise_signal(signal.SIGTERM)
        return step(trainer)

    monkeypatch.setattr(Trainer, "_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(tmp_path / "parts", init=str(source), **how)
    shutil.rmtree(source)  # a run holds what it started from
    for _ in range(2):
        with pytest.raises(Interrupted):
            resume(str(tmp_path / "parts"))
    parts = resume(str(tmp_path / "parts"))
    for of in (lambda run: run.model, lambda run: run.best, lambda run: checkpoint_path(run.checkpoints, 12)):
        assert of(parts).read_bytes() == of(whole).read_bytes()
    assert _nmse(parts) == _nmse(whole)


def test_neither_the_start_nor_what_is_frozen_changes_in_a_run_that_has_begun(tokenizer_run: Run) -> None:
    for key, value in (("init", str(tokenizer_run.path)), ("freeze", "encoder")):
        with pytest.raises(UserError, match=f"{key} cannot change in a run that has begun"):
            resume(str(tokenizer_run.path), {key: value})


def test_a_prior_starts_from_a_trained_prior_of_the_same_tokenizer(
    train_prior: Any, prior_run: Run, tokenizer_run: Run, decoder_run: Run, tmp_path: Path
) -> None:
    dropout = {"model__dropout": "0.0", "training__steps": "1", "training__learning_rate": "1e-12"}
    new = train_prior(tmp_path / "new", decoder_run, init=str(prior_run.path), **dropout)
    one, two = (vqvae.load_prior(run.path).state_dict() for run in (prior_run, new))
    torch.testing.assert_close(one, two)
    with pytest.raises(UserError, match=r"its model\.width is 8, not 16: its weights do not fit"):
        train_prior(tmp_path / "wide", tokenizer_run, init=str(prior_run.path), model__width="16")
    with pytest.raises(UserError, match="knows 8 classes, not 0: see --classes"):
        train_prior(tmp_path / "classes", tokenizer_run, init=str(prior_run.path), classes="false")


def test_a_prior_of_other_codes_is_no_start(
    train_tokenizer: Any, train_prior: Any, prior_run: Run, tmp_path: Path
) -> None:
    other = train_tokenizer(tmp_path / "other", training__steps="1")
    with pytest.raises(UserError, match="a prior of another tokenizer's codes"):
        train_prior(tmp_path / "new", other, init=str(prior_run.path))


def test_python_and_the_command_line_start_alike(
    tokenizer_run: Run, prior_run: Run, recipes: dict[str, str], tmp_path: Path
) -> None:
    flags = "--freeze encoder,quantizer --steps 2"
    main(f"train {recipes['tokenizer']} --init {tokenizer_run.path} --out {tmp_path}/a {flags}".split())
    freeze = ["encoder", "quantizer"]
    run = vqvae.train(recipes["tokenizer"], out=tmp_path / "b", init=tokenizer_run, freeze=freeze, steps=2)
    assert run.model.read_bytes() == Run(tmp_path / "a").model.read_bytes()
    more = {"out": tmp_path / "prior", "init": prior_run, "steps": 2}
    new = vqvae.train_prior(tokenizer_run, recipes["prior"], **more)
    assert new.read_config() == dataclasses.replace(
        prior_config(str(tokenizer_run.path), recipes["prior"], {"training.steps": 2}),
        init=str(prior_run.model.resolve()),
        tokenizer=str(tokenizer_run.model.resolve()),
        data=new.read_config().data,
        training=new.read_config().training,
    )


def test_after_more_steps_the_learning_rate_is_that_of_a_run_planned_so(
    train_tokenizer: Any, tmp_path: Path
) -> None:
    run = train_tokenizer(tmp_path / "run", training__steps="6")
    resume(str(run.path), {"training.steps": "12"})
    rates = [record["learning_rate"] for record in read_records(run.metrics) if record["split"] == "train"]
    planned = run.read_config().training
    short = dataclasses.replace(planned, steps=6)
    expected = [learning_rate(step, short if step < 6 else planned) for step in range(12)]
    assert rates == pytest.approx(expected)
