"""Shards as parquet: the store of the same codes, for other programs; and codes that other programs made."""

import io
import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tests.torture.processes import contents, end, kill_at_random, start

from vqvae.cli import main
from vqvae.commands.decode import decode_store
from vqvae.commands.encode import encode_to_store
from vqvae.commands.resolve import TokenizerRun, open_tokenizer_run
from vqvae.errors import UserError
from vqvae.tokens import Shard, Store, StoreHeader
from vqvae.tokens.store import read_shard
from vqvae.training import Run


@pytest.fixture
def opened(tokenizer_run: Run) -> TokenizerRun:
    return open_tokenizer_run(tokenizer_run.path)


def test_both_formats_hold_the_same_rows(opened: TokenizerRun, pictures: Path, tmp_path: Path) -> None:
    encode = partial(encode_to_store, opened, str(pictures), shard_rows=16)
    plain = encode(str(tmp_path / "plain")).store
    parquet = encode(str(tmp_path / "parquet"), format="parquet").store
    assert [file.name for file in sorted(parquet.path.glob("codes-*"))] == [
        f"codes-0000{k}-of-00003.parquet" for k in range(3)
    ]
    for one, other in zip(plain.shards(), parquet.shards(), strict=True):
        assert torch.equal(one.rows, other.rows) and torch.equal(one.codes, other.codes)
        assert one.codes.dtype == other.codes.dtype
        assert torch.equal(one.labels, other.labels) and (one.names, one.bad) == (other.names, other.bad)
    assert Store.open(parquet.path).header == parquet.header
    with pytest.raises(UserError, match="holds other codes, its format is 'parquet', not None"):
        encode(str(tmp_path / "parquet"))


def test_the_metadata_name_grid_k_and_tokenizer(opened: TokenizerRun, pictures: Path, tmp_path: Path) -> None:
    store = encode_to_store(opened, str(pictures), str(tmp_path / "store"), format="parquet").store
    table = pq.read_table(store.shard_file(0))
    assert table.column_names == ["codes", "row", "label", "name"]
    said = json.loads(table.schema.metadata[b"vqvae"])["store"]
    assert (said["shape"], said["num_codes"]) == ([4, 4, 1], 16)
    assert said["tokenizer"] == opened.tokenizer.card.identity
    first = np.array(table["codes"][0].as_py())
    assert torch.equal(torch.tensor(first), store.read(0).codes[0].long())


def test_killed_and_shared_it_is_the_store_of_one_go(opened: TokenizerRun, pictures: Path, tmp_path: Path) -> None:
    job = partial(encode_to_store, opened, str(pictures), shard_rows=4, format="parquet")
    job(out=str(tmp_path / "whole"))
    again = partial(job, out=str(tmp_path / "killed"))
    for seed in range(4):
        kill_at_random(again, seed=seed, longest=0.4)
    assert [end(child) for child in [start(again) for _ in range(2)]] == [0, 0]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def _store(path: Path) -> Store:
    header = StoreHeader(
        tokenizer="ab" * 32, shape=(2, 3, 2), num_codes=300, image_shape=(3, 8, 12), rows=5, rows_per_shard=5,
        classes=("cat", "dog"), labelled=True, format="parquet",
    )  # fmt: skip
    store = Store.create(path, header)
    codes = torch.arange(60).view(5, 2, 3, 2) * 5
    store.write(0, Shard(torch.arange(5), codes, torch.arange(5) % 2, tuple(f"{i}\udc80.png" for i in range(5))))
    return store


def test_no_flipped_bit_changes_a_row_unnoticed(tmp_path: Path) -> None:
    store = _store(tmp_path / "store")
    file, before = store.shard_file(0), store.read(0)
    assert torch.equal(before.codes.long(), torch.arange(60).view(5, 2, 3, 2) * 5)
    assert before.names[0] == r"0\x80.png"
    whole, noticed = file.read_bytes(), 0
    places = range(0, len(whole) * 8, 131)
    for place in places:
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
        try:
            found = store.read(0)
        except UserError:
            noticed += 1
            continue
        assert torch.equal(found.codes, before.codes) and torch.equal(found.rows, before.rows)
        assert torch.equal(found.labels, before.labels) and found.names == before.names
    assert noticed > 0.5 * len(places)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 9, b"text"])
def test_what_is_no_shard_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "codes.parquet"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"^[^\n]*codes\.parquet: damaged or not parquet: [^\n]*$"):
        read_shard(file)


def test_a_prior_is_trained_on_it_as_on_a_store(
    tokenizer_run: Run, opened: TokenizerRun, train_prior, tmp_path: Path
) -> None:
    for name in ("safetensors", "parquet"):
        encode_to_store(opened, "shapes:80", str(tmp_path / name), split="train", format=name)
        train_prior(
            tmp_path / f"run-{name}", tokenizer_run, data__spec=str(tmp_path / name), data__flip="false",
            training__steps="4",
        )  # fmt: skip
    files = [(tmp_path / f"run-{name}" / "model.safetensors").read_bytes() for name in ("safetensors", "parquet")]
    assert files[0] == files[1]


def test_datasets_reads_it_in_one_line(opened: TokenizerRun, pictures: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the package datasets: pip install datasets")
    store = encode_to_store(opened, str(pictures), str(tmp_path / "store"), shard_rows=16, format="parquet").store
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset("parquet", data_files=f"{store.path}/*.parquet", split="train", cache_dir=cache)
    assert len(rows) == 39 and rows.features["label"].names == ["cats", "dogs"]
    codes = torch.cat([shard.codes for shard in store.shards()])
    assert np.array_equal(np.array(rows.with_format("numpy")[:]["codes"]), codes.numpy())
    assert rows[0]["name"] == "train/cats/00.png"


def _images(folder: Path) -> list[bytes]:
    return [_opened(file).tobytes() for file in sorted(folder.rglob("*.png"))]


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.copy()


def test_codes_of_another_program_are_decoded_in_one_line(
    tokenizer_run: Run, opened: TokenizerRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = np.random.default_rng(0).integers(0, 16, (6, 4, 4), np.int64)
    np.save(tmp_path / "three.npy", codes)
    np.save(tmp_path / "four.npy", codes[..., None].astype(np.uint8))
    np.savez(tmp_path / "named.npz", labels=np.zeros(6), codes=codes)
    np.savez(tmp_path / "only.npz", codes.astype(np.int32))
    pq.write_table(pa.table({"codes": codes.tolist(), "text": ["a"] * 6}), tmp_path / "lists.parquet")
    shutil.copy(tmp_path / "lists.parquet", tmp_path / "UPPER.PARQUET")
    shutil.copy(tmp_path / "only.npz", tmp_path / "UPPER.NPZ")
    names = ("three.npy", "four.npy", "named.npz", "only.npz", "lists.parquet", "UPPER.PARQUET", "UPPER.NPZ")
    for name in names:
        out = tmp_path / f"{name}-images"
        main(["decode", str(tmp_path / name), str(tokenizer_run.path), "--out", str(out)])
        said = capsys.readouterr()
        assert "does not say which tokenizer made its codes" in said.err and "6 images" in said.out
    found = [_images(tmp_path / f"{name}-images") for name in names]
    assert len(found[0]) == 6 and all(images == found[0] for images in found)
    np.save(tmp_path / "wide.npy", np.zeros((2, 4, 8), np.int64))  # another grid is an image of another size
    decode_store(str(tmp_path / "wide.npy"), opened, str(tmp_path / "wide"))
    assert _opened(tmp_path / "wide" / "00000000.png").size == (32, 16)


def test_one_shard_is_decoded_by_itself(opened: TokenizerRun, pictures: Path, tmp_path: Path) -> None:
    for name in ("safetensors", "parquet"):
        store = encode_to_store(opened, str(pictures), str(tmp_path / name), shard_rows=16, format=name).store
        assert decode_store(str(store.shard_file(1)), opened, str(tmp_path / f"{name}-images")) == 16
    assert _images(tmp_path / "safetensors-images") == _images(tmp_path / "parquet-images")
    upper = shutil.copy(Store.open(tmp_path / "safetensors").shard_file(1), tmp_path / "ONE.SAFETENSORS")
    assert decode_store(str(upper), opened, str(tmp_path / "upper-images")) == 16
    assert (tmp_path / "parquet-images" / "dogs" / "00000020.png").is_file()


def _npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (np.full((2, 4, 4), 16), "codes from 16 to 16: the tokenizer has the codes 0 to 15"),
        (np.full((2, 4, 4), -1), "codes from -1 to -1"),
        (
            np.zeros((2, 16), np.int64),
            r"shape \[2, 16\]: the tokenizer needs codes \[N, h, w, 1\], or \[N, h, w\]",
        ),
        (np.zeros((2, 4, 4, 2), np.int64), r"shape \[2, 4, 4, 2\]"),
        (np.zeros((0, 4, 4), np.int64), r"shape \[0, 4, 4, 1\]"),
        (np.zeros((2, 4, 4)), "float64: codes are whole numbers"),
    ],
)
def test_codes_that_do_not_fit_are_refused(
    opened: TokenizerRun, tmp_path: Path, codes: np.ndarray, says: str
) -> None:
    np.save(tmp_path / "codes.npy", codes)
    with pytest.raises(UserError, match=says):
        decode_store(str(tmp_path / "codes.npy"), opened, str(tmp_path / "images"))
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npy", b"no array", "a.npy: cannot be read: "),
        ("a.npz", b"no archive", "a.npz: cannot be read: "),
        ("a.npz", _npz(x=np.zeros(1), y=np.zeros(1)), "name the array of codes 'codes'"),
        ("a.parquet", b"no table", "a.parquet: damaged or not parquet: "),
        ("none.npy", None, "none.npy: no such file"),
        ("none.parquet", None, "none.parquet: no such file"),
        ("folder", None, "folder: not a code store; vqvae encode makes one"),
    ],
)
def test_files_that_hold_no_codes_are_refused_in_one_line(
    opened: TokenizerRun, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        decode_store(str(tmp_path / name), opened, str(tmp_path / "images"))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_table_whose_codes_are_no_grid_is_refused(opened: TokenizerRun, tmp_path: Path) -> None:
    for column, says in (
        ([[[1, 2], [3, 4]], [[1], [2, 3]]], "rows of other shapes"),
        (["1 2", "3 4"], "not whole numbers in nested lists"),
        ([[[1, None]], [[1, 2]]], "not whole numbers"),
    ):
        pq.write_table(pa.table({"codes": column}), tmp_path / "codes.parquet")
        with pytest.raises(UserError, match=says):
            decode_store(str(tmp_path / "codes.parquet"), opened, str(tmp_path / "images"))
