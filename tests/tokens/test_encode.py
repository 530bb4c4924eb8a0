"""Whatever happens on the way, the store is the one that is made in one go, and it holds the tokenizer's codes."""

import dataclasses
import json
import os
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from tests.torture.processes import contents, end, kill_at_random, start

from vqvae.cli import main
from vqvae.commands.decode import decode_store
from vqvae.commands.encode import encode_to_store
from vqvae.commands.resolve import TokenizerRun, open_tokenizer_run
from vqvae.commands.sample_to_store import sample_to_store
from vqvae.data import ImageStream, load
from vqvae.errors import UserError
from vqvae.model_io import load_prior, load_tokenizer, open_prior, read_model
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.tokens import Store, write_codes
from vqvae.training import Run


def opened(run: Run) -> TokenizerRun:
    return open_tokenizer_run(run.path)


def test_the_store_holds_the_codes_labels_rows_and_names(
    tokenizer_run: Run, pictures: Path, tmp_path: Path
) -> None:
    done = encode_to_store(opened(tokenizer_run), str(pictures), str(tmp_path / "store"), shard_rows=16)
    images, tokenizer = load(str(pictures), "train"), load_tokenizer(tokenizer_run.path)
    shards = list(done.store.shards())
    assert torch.equal(
        torch.cat([shard.codes for shard in shards]).long(),
        tokenizer.encode(images_from_pixels(images.pixels), exact=True),
    )
    assert torch.equal(torch.cat([shard.labels for shard in shards]), images.labels)
    assert torch.cat([shard.rows for shard in shards]).tolist() == sorted(set(range(42)) - {3, 4, 41})
    assert [name for shard in shards for name in shard.names][:4] == [
        f"train/cats/{i:02}.png" for i in (0, 1, 2, 5)
    ]
    header = done.store.header
    assert header.tokenizer == read_model(tokenizer_run.path).card.identity
    assert (header.shape, header.image_shape, header.rows, header.num_shards) == ((4, 4, 1), (3, 16, 16), 42, 3)
    assert header.classes == ("cats", "dogs")


def test_bad_images_are_listed_by_path(tokenizer_run: Run, pictures: Path, tmp_path: Path) -> None:
    done = encode_to_store(opened(tokenizer_run), str(pictures), str(tmp_path / "store"), shard_rows=16)
    assert [name for name, _ in done.bad] == ["train/cats/03.png", "train/cats/04.png", "train/dogs/41.png"]
    listed = json.loads((tmp_path / "store" / "bad.json").read_text())
    assert listed[0] == {"path": "train/cats/03.png", "reason": "not an image of a known format"}


def test_killed_at_random_and_shared_by_processes_it_is_the_store_of_one_go(
    tokenizer_run: Run, pictures: Path, tmp_path: Path
) -> None:
    job = partial(encode_to_store, opened(tokenizer_run), str(pictures), shard_rows=2)
    job(out=str(tmp_path / "whole"))
    again = partial(job, out=str(tmp_path / "killed"))
    for seed in range(6):
        kill_at_random(again, seed=seed, longest=0.4)
    assert [end(child) for child in [start(again) for _ in range(3)]] == [0, 0, 0]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_what_is_whole_is_not_made_again_and_what_is_damaged_is(
    tokenizer_run: Run, pictures: Path, tmp_path: Path
) -> None:
    job = partial(
        encode_to_store,
        opened(tokenizer_run),
        str(pictures),
        str(tmp_path / "store"),
        shard_rows=16,
    )
    assert job().made == 3
    before = contents(tmp_path / "store")
    assert job().made == 0
    file = tmp_path / "store" / "codes-00001-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert job().made == 1
    assert contents(tmp_path / "store") == before


def test_other_data_or_another_tokenizer_do_not_mix(tokenizer_run: Run, pictures: Path, tmp_path: Path) -> None:
    job = partial(encode_to_store, opened(tokenizer_run), str(pictures), str(tmp_path / "store"))
    job()
    (pictures / "train" / "cats" / "00.png").write_bytes(b"changed")
    with pytest.raises(UserError, match="holds other codes, its origin is"):
        job()


def test_shards_of_any_size_hold_the_same_codes(tokenizer_run: Run, pictures: Path, tmp_path: Path) -> None:
    found = []
    for size in (1, 7, 64):
        done = encode_to_store(opened(tokenizer_run), str(pictures), str(tmp_path / f"of-{size}"), shard_rows=size)
        found.append(torch.cat([shard.codes for shard in done.store.shards()]))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_decode_makes_a_folder_of_the_reconstructions(tokenizer_run: Run, pictures: Path, tmp_path: Path) -> None:
    main(["encode", str(tokenizer_run.path), "--data", str(pictures), "--out", str(tmp_path / "store")])
    images, tokenizer = load(str(pictures), "train"), load_tokenizer(tokenizer_run.path)
    job = partial(decode_store, str(tmp_path / "store"), opened(tokenizer_run))
    assert job(str(tmp_path / "images")) == 39
    (tmp_path / "images" / "test").mkdir()  # so that nothing is held out
    (tmp_path / "images" / "train").mkdir()
    for name in ("cats", "dogs"):
        (tmp_path / "images" / name).rename(tmp_path / "images" / "train" / name)
    expected = pixels_from_images(
        tokenizer.decode(tokenizer.encode(images_from_pixels(images.pixels), exact=True))
    )
    found = load(str(tmp_path / "images"), "train")
    assert found.classes == ("cats", "dogs") and torch.equal(found.labels, images.labels)
    assert (found.pixels.int() - expected.int()).abs().max() <= 1  # a last bit may round otherwise
    for seed in range(4):
        kill_at_random(partial(job, str(tmp_path / "killed")), seed=seed, longest=0.3)
    job(str(tmp_path / "killed"))
    job(str(tmp_path / "whole"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_samples_of_a_store_are_those_of_the_sampler(prior_run: Run, tmp_path: Path) -> None:
    job = partial(sample_to_store, open_prior(prior_run.path), num=20, shard_rows=8, seed=3)
    store = job(str(tmp_path / "store"))
    labels = torch.arange(20) // 8 % 8
    expected = load_prior(prior_run.path).sample(20, seed=3, labels=labels)
    found = list(store.shards())
    assert torch.equal(torch.cat([shard.codes for shard in found]).long(), expected)
    assert torch.equal(torch.cat([shard.labels for shard in found]), labels)
    for seed in range(3):
        kill_at_random(partial(job, str(tmp_path / "killed")), seed=seed, longest=0.5)
    job(str(tmp_path / "killed"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "store")
    assert decode_store(str(store.path), opened(prior_run), str(tmp_path / "images")) == 20
    with pytest.raises(UserError, match="holds other codes, its origin"):
        job(str(store.path), seed=4)


def test_a_store_of_another_tokenizer_is_not_decoded(tokenizer_run: Run, pictures: Path, tmp_path: Path) -> None:
    encode_to_store(opened(tokenizer_run), str(pictures), str(tmp_path / "store"))
    file = tmp_path / "store" / "store.json"
    name = read_model(tokenizer_run.path).card.identity
    file.write_text(file.read_text().replace(name, "0" * 64))
    with pytest.raises(UserError, match="not the tokenizer whose codes"):
        decode_store(str(tmp_path / "store"), opened(tokenizer_run), str(tmp_path / "images"))


def test_a_folder_of_images_has_one_decoder(
    tokenizer_run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode_to_store(opened(tokenizer_run), str(pictures), str(tmp_path / "store"))
    monkeypatch.delattr(os, "sync")  # as on Windows
    job = partial(decode_store, str(tmp_path / "store"), out=str(tmp_path / "images"))
    run = opened(tokenizer_run)
    assert job(run=run) == job(run=run) == 39
    other = dataclasses.replace(run, tokenizer=dataclasses.replace(run.tokenizer, hash="0" * 64))
    with pytest.raises(UserError, match="holds images of another store, decoder or --tile"):
        job(run=other)


def test_a_store_of_too_many_shards_is_refused(prior_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="are more than 1,000,000 shards: make fewer images, or larger shards"):
        sample_to_store(open_prior(prior_run.path), str(tmp_path / "store"), num=5 * 10**9)


@pytest.mark.parametrize(("size", "says"), [(0, "shard_rows 0: must be 1 or more")])
def test_shards_have_rows(tokenizer_run: Run, pictures: Path, tmp_path: Path, size: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        encode_to_store(opened(tokenizer_run), str(pictures), str(tmp_path / "store"), shard_rows=size)


def test_classes_that_cannot_name_folders_are_decoded_into_numbered_folders_and_one_line_says_so(
    tokenizer_run, tmp_path, capsys
):
    codes = torch.zeros(4, 4, 4, 1, dtype=torch.int64)
    for name, classes, says in (
        ("slash", ("cat", "a/b"), "called by number, 00000 and up: 'a/b' cannot name a folder"),
        ("same", ("cat", "cat"), "two classes have one name"),
        ("fit", ("cat", "dog"), None),
    ):
        identity = open_tokenizer_run(tokenizer_run.path).tokenizer.card.identity
        about = {"num_codes": 16, "image_shape": (3, 16, 16), "tokenizer": identity}
        write_codes(tmp_path / name, codes, labels=torch.tensor([0, 1, 1, 0]), classes=classes, **about)
        decode_store(
            str(tmp_path / name), open_tokenizer_run(tokenizer_run.path), str(tmp_path / f"{name}-images")
        )
        said = capsys.readouterr().err
        folders = {path.parent.name for path in (tmp_path / f"{name}-images").glob("*/*.png")}
        assert folders == ({"cat", "dog"} if says is None else {"00000", "00001"})
        assert (says or "") in said and ("called by number" in said) == (says is not None)


def test_errors_of_reading_and_of_writing_are_told_apart(
    tokenizer_run: Run,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["encode", str(tokenizer_run.path), "--data", str(pictures), "--out", str(tmp_path / "store")]
    for owner, name, error, says in (
        (ImageStream, "batches", OSError(5, "Input/output error", "set.tar"), "set.tar: Input/output error"),
        (
            Store,
            "write",
            OSError("no room"),
            f"{tmp_path}/store: cannot write the store: no room; finished shards are kept",
        ),
    ):
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
            patch.setattr(owner, name, Mock(side_effect=error))
            main(words)
        assert stop.value.code == 2 and capsys.readouterr().err.splitlines()[-1] == f"vqvae: {says}"
