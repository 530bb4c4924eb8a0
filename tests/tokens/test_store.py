"""A store says what it is, shard by shard, and nothing in it is read that was not written."""

import json

import pytest
import torch

from vqvae.errors import UserError
from vqvae.tokens import Shard, Store, StoreHeader
from vqvae.tokens.store import read_shard


def _header(**changes) -> StoreHeader:
    fields = {
        "tokenizer": "ab" * 32,
        "shape": (2, 3, 1),
        "num_codes": 300,
        "image_shape": (3, 8, 12),
        "rows": 10,
        "rows_per_shard": 4,
        "classes": ("cat", "dog"),
        "labelled": True,
    }
    return StoreHeader(**{**fields, **changes})


def _shard(numbers, **changes) -> Shard:
    rows = torch.tensor(numbers)
    codes = torch.arange(len(rows) * 6).view(-1, 2, 3, 1) * 7 % 300
    fields = {"rows": rows, "codes": codes, "labels": rows % 2, "names": tuple(f"{row}\udc80.png" for row in rows)}
    return Shard(**{**fields, **changes})


@pytest.fixture
def store(tmp_path):
    made = Store.create(tmp_path / "store", _header())
    for number, rows in enumerate(([0, 1, 3], [4, 5, 6, 7], [9])):
        made.write(number, _shard(rows, bad=(("2.png", "truncated"),) if number == 0 else ()))
    return made


def test_what_was_written_is_read(store):
    found = list(Store.open(store.path).shards())
    assert [shard.rows.tolist() for shard in found] == [[0, 1, 3], [4, 5, 6, 7], [9]]
    expected = _shard([4, 5, 6, 7])
    assert torch.equal(found[1].codes.long(), expected.codes) and torch.equal(found[1].labels, expected.labels)
    assert found[1].names == expected.names
    assert found[0].bad == (("2.png", "truncated"),)


def test_a_shard_alone_is_understood(store):
    alone = read_shard(store.shard_file(1))
    assert torch.equal(alone.codes, store.read(1).codes)


@pytest.mark.parametrize(
    ("num_codes", "dtype"),
    [(256, torch.uint8), (257, torch.int16), (2**15, torch.int16), (2**15 + 1, torch.int32), (2**40, torch.int64)],
)
def test_codes_take_the_smallest_type_that_holds_them(tmp_path, num_codes, dtype):
    store = Store.create(tmp_path / "store", _header(num_codes=num_codes))
    codes = torch.full((4, 2, 3, 1), num_codes - 1)
    store.write(1, _shard([4, 5, 6, 7], codes=codes))
    assert store.read(1).codes.dtype == dtype
    assert torch.equal(store.read(1).codes.long(), codes)


def test_the_same_content_gives_the_same_bytes(store, tmp_path):
    again = Store.create(tmp_path / "again", _header())
    again.write(1, _shard([4, 5, 6, 7]))
    assert again.shard_file(1).read_bytes() == store.shard_file(1).read_bytes()
    assert (again.path / "store.json").read_bytes() == (store.path / "store.json").read_bytes()


def test_every_flipped_bit_of_a_shard_is_noticed(store):
    file = store.shard_file(2)
    whole = file.read_bytes()
    for place in range(0, len(whole) * 8, 13):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        file.write_bytes(content)
        assert not store.is_whole(2), place
    file.write_bytes(whole)
    assert store.is_whole(2)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": torch.tensor([4, 5, 5, 7])},
        {"rows": torch.tensor([3, 5, 6, 7])},
        {"rows": torch.tensor([4, 5, 6, 8])},
        {"rows": torch.tensor(4)},
        {"codes": torch.full((4, 2, 3, 1), 300)},
        {"codes": torch.zeros(4, 2, 3, 2)},
        {"codes": torch.zeros(3, 2, 3, 1)},
        {"labels": torch.tensor([0, 1, 2, 0])},
        {"labels": None},
        {"names": ("one",)},
    ],
)
def test_a_shard_that_does_not_fit_its_header_is_refused(store, changes):
    store.write(1, _shard([4, 5, 6, 7], **changes))
    with pytest.raises(UserError, match="damaged: its tensors do not fit its header"):
        store.read(1)


def test_a_shard_of_another_store_or_place_is_refused(store, tmp_path):
    other = Store.create(tmp_path / "other", _header(tokenizer="cd" * 32))
    other.write(0, _shard([0, 1]))
    store.shard_file(0).write_bytes(other.shard_file(0).read_bytes())
    with pytest.raises(UserError, match="not shard 0 of this store"):
        store.read(0)
    store.shard_file(1).rename(store.shard_file(2))
    with pytest.raises(UserError, match="not shard 2 of this store"):
        store.read(2)
    with pytest.raises(UserError, match="no such file"):
        store.read(1)


def test_a_store_is_gone_on_with_only_if_it_is_the_same(store, tmp_path):
    assert Store.create(store.path, _header()) == store
    with pytest.raises(UserError, match="holds other codes, its rows_per_shard is 4, not 5: choose another"):
        Store.create(store.path, _header(rows_per_shard=5))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="exists and is not a store of codes"):
        Store.create(tmp_path / "full", _header())
    with pytest.raises(UserError, match="not a code store"):
        Store.open(tmp_path / "full")


@pytest.mark.parametrize(
    ("key", "value"),
    [("rows", -1), ("rows", 10**18), ("shape", [2, 3]), ("shape", [2**40, 1, 1]), ("extra", 1), ("version", 9)],
)
def test_a_header_that_cannot_be_is_refused(store, key, value):
    file = store.path / "store.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    with pytest.raises(UserError, match=r"^[^\n]*store\.json: [^\n]*$"):
        Store.open(store.path)
