"""A prior of codes alone: a store is enough to train, to measure and to draw; images need the tokenizer."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import vqvae
from vqvae.cli import main
from vqvae.commands.encode import encode_to_store
from vqvae.commands.resolve import open_tokenizer_run
from vqvae.errors import UserError
from vqvae.model_io import open_prior, read_model
from vqvae.tokens import Store, write_codes
from vqvae.training import Run, prior_config, resume, train

STEPS = {"training.steps": "4", "data.limit": "null"}


@pytest.fixture(scope="module")
def store(tokenizer_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of 60 images."""
    out = tmp_path_factory.mktemp("codes") / "store"
    encode_to_store(open_tokenizer_run(tokenizer_run.path), "shapes:60", str(out), shard_rows=25)
    return out


@pytest.fixture(scope="module")
def alone(store: Path, recipes: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a prior of these codes, trained without their tokenizer; not to be changed."""
    config = prior_config(None, recipes["prior"], {**STEPS, "data.spec": str(store)})
    return train(config, out=str(tmp_path_factory.mktemp("runs") / "alone"), name="alone")


def _fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1, error
    return error


def test_it_is_the_prior_that_is_trained_beside_its_tokenizer_bit_for_bit(
    alone: Run, store: Path, tokenizer_run: Run, recipes: dict[str, str], tmp_path: Path
) -> None:
    settings = {**STEPS, "data.spec": str(store), "data.flip": "false"}
    beside = train(
        prior_config(str(tokenizer_run.path), recipes["prior"], settings), out=str(tmp_path / "p"), name="p"
    )
    one, other = read_model(alone.path), read_model(beside.path)
    assert one.card == other.card and one.card.tokenizer == read_model(tokenizer_run.path).card.identity
    assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)
    assert not alone.tokenizer.exists() and not list(alone.samples.iterdir())


def test_it_is_resumed_from_a_moved_store_to_the_same_bytes(
    alone: Run, store: Path, recipes: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(store, tmp_path / "store")
    half = {**STEPS, "training.steps": "4", "data.spec": str(tmp_path / "store")}
    run = train(prior_config(None, recipes["prior"], half), out=str(tmp_path / "p"), name="p")
    (tmp_path / "store").rename(tmp_path / "moved")
    resume(str(run.path), {"data.spec": str(tmp_path / "moved"), "training.steps": "6"})
    assert read_model(run.path).card.step == 6
    with pytest.raises(UserError, match="shapes: not a store of codes"):
        resume(str(run.path), {"data.spec": "shapes", "training.steps": "8"})


def test_the_likelihood_of_a_store_is_that_of_its_codes(
    alone: Run, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["likelihood", str(alone.path), str(store), "--data", str(store), "--json"])
    found = json.loads(capsys.readouterr().out)
    shards = list(Store.open(store).shards())
    codes = torch.cat([shard.codes for shard in shards]).long()
    labels = torch.cat([shard.labels for shard in shards if shard.labels is not None])
    with torch.no_grad():
        nats = -open_prior(alone.path).model.log_prob(codes, labels).double()
    assert found["images"] == 60 and found["classes"] and found["reference"] == str(store)
    torch.testing.assert_close(torch.tensor(found["nats"], dtype=torch.float64), nats, rtol=1e-5, atol=1e-4)
    per_code = float(nats.mean()) / torch.tensor(2.0).log().item() / codes[0].numel()
    assert found["bits_per_code_prior"] == pytest.approx(per_code, rel=1e-5)
    assert found["bits_per_code_uniform"] == 4.0
    assert max(found["typicality"]) == 1.0 and min(found["typicality"]) == pytest.approx(2 / 61)
    main(["likelihood", str(alone.path), str(store), "--label", "0"])
    assert "60 images" in capsys.readouterr().out


def test_samples_go_to_a_store_and_the_tokenizer_decodes_them_later(
    alone: Run, tokenizer_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["sample", str(alone.path), "--num", "10", "--store", str(tmp_path / "drawn")])
    assert f"vqvae decode {tmp_path / 'drawn'} TOKENIZER --out DIR" in capsys.readouterr().out
    main(["decode", str(tmp_path / "drawn"), str(tokenizer_run.path), "--out", str(tmp_path / "images")])
    assert len(list((tmp_path / "images").rglob("*.png"))) == 10
    main(["likelihood", str(alone.path), str(tmp_path / "drawn")])
    main(
        [
            "sample",
            str(alone.path),
            "--tokenizer",
            str(tokenizer_run.path),
            "--num",
            "4",
            "--out",
            f"{tmp_path}/a.png",
        ]
    )
    main(["evaluate", str(alone.path), "--tokenizer", str(tokenizer_run.path), "--data", "shapes:60", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["bits_per_code_prior"] > 0


def test_what_needs_images_says_so_in_one_line(
    alone: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "a.png")
    for words in (
        ("sample", str(alone.path), "--out", out),
        ("inpaint", str(alone.path), out, "--box", "0,0,8,8", "--out", out),
        ("evaluate", str(alone.path), "--data", "shapes:60"),
        ("likelihood", str(alone.path), "shapes:60", "--out", out),
        ("compare", "shapes:60", str(alone.path)),
    ):
        assert "a prior without its tokenizer: pass --tokenizer RUN" in _fails(capsys, *words)
    assert "a prior, not a tokenizer" in _fails(capsys, "reconstruct", str(alone.path), "shapes:60", "--out", out)
    main(["report", str(alone.path)])
    main(["info", str(alone.path)])


def test_words_that_do_not_fit_are_one_line(
    alone: Run, store: Path, tokenizer_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t, s, out = str(tokenizer_run.path), str(store), str(tmp_path / "x")
    assert "no TOKENIZER: give its run, or --codes-only --data STORE" in _fails(capsys, "prior")
    assert "pass --data STORE" in _fails(capsys, "prior", "shapes-prior", "--codes-only")
    assert "leave out" in _fails(capsys, "prior", t, "shapes-prior", "--codes-only", "--data", s)
    said = _fails(capsys, "prior", "shapes-prior", "--codes-only", "--data", "shapes", "--out", out)
    assert "shapes: not a store of codes" in said
    assert "--out: for images" in _fails(capsys, "likelihood", str(alone.path), s, "--out", out)
    assert "--data.size: for images" in _fails(capsys, "likelihood", str(alone.path), s, "--data.size", "8")
    assert "no --out PNG" in _fails(capsys, "likelihood", str(alone.path), "shapes:60")
    assert "is a tokenizer itself" in _fails(capsys, "evaluate", t, "--tokenizer", t, "--data", "shapes:60")
    with pytest.raises(UserError, match="object in Python: not a store"):
        vqvae.train_prior(None, "shapes-prior", data=torch.zeros(8, 3, 16, 16), out=out)


def test_codes_of_another_program_train_a_prior(
    recipes: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = torch.randint(0, 300, (50, 6, 5), generator=torch.Generator().manual_seed(0)).to(torch.int16)
    labels = torch.arange(50) % 2
    where, out = tmp_path / "codes", tmp_path / "p"
    about = {"num_codes": 300, "image_shape": (3, 96, 80), "tokenizer": "somebody's VQGAN"}
    write_codes(where, codes, labels=labels, classes=("cat", "dog"), **about)
    main(["prior", recipes["prior"], "--codes-only", "--data", str(where), "--steps", "4", "--out", str(out)])
    assert f"vqvae likelihood {out} STORE" in capsys.readouterr().out
    prior = open_prior(out)
    assert prior.card.classes == ("cat", "dog") and prior.card.image_shape == (3, 96, 80)
    assert (prior.model.spec.shape, prior.model.spec.num_codes) == ((6, 5, 1), 300)
    main(["sample", str(out), "--label", "dog", "--num", "3", "--store", str(tmp_path / "drawn")])
    assert Store.open(tmp_path / "drawn").header.tokenizer == "somebody's VQGAN"
    other = write_codes(tmp_path / "other", codes, **{**about, "tokenizer": "another"})
    assert "codes of another tokenizer" in _fails(capsys, "likelihood", str(out), str(other.path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"codes": torch.zeros(4, 2)}, "codes"),
        ({"codes": torch.full((4, 2, 2), 9)}, "9"),
        ({"tokenizer": ""}, "expected a name"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"expected \[4\]"),
        ({"labels": torch.tensor([0, 1, 2, 5]), "classes": ("a", "b")}, r"labels 0..5: expected 0..1"),
    ],
)
def test_codes_that_do_not_fit_are_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    given = {"codes": torch.zeros(4, 2, 2, dtype=torch.uint8), "tokenizer": "x", "labels": None, **change}
    with pytest.raises(ValueError, match=says):
        write_codes(tmp_path / "s", given.pop("codes"), num_codes=8, image_shape=(1, 8, 8), **given)
