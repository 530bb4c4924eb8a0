import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqvae.data import BadFile, load
from vqvae.errors import UserError


def _write(path, images, *, image="img", names=None, **columns):
    """Write encoded images and further columns; class names go where the datasets library puts them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(images)], kind)
    table = pa.table({image: rows, **columns})
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=3)


@pytest.fixture
def encoded(picture, png):
    return [png(picture(key)) for key in range(40)]


@pytest.mark.parametrize("image", ["img", "image"])
@pytest.mark.parametrize("label", ["label", "labels", "fine_label", "class", "coarse_label"])
def test_columns_are_found_and_rows_round_trip(tmp_path, encoded, picture, image, label):
    _write(tmp_path / "train-00000-of-00002.parquet", encoded[:5], image=image, **{label: [0, 1, 2, 0, 1]})
    _write(tmp_path / "train-00001-of-00002.parquet", encoded[5:8], image=image, **{label: [2, 1, 0]})
    _write(tmp_path / "test.parquet", encoded[8:10], image=image, **{label: [3, 0]})
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    assert np.array_equal(train.pixels.permute(0, 2, 3, 1).numpy(), [picture(key) for key in range(8)])
    assert np.array_equal(test.pixels.permute(0, 2, 3, 1).numpy(), [picture(8), picture(9)])
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2, 1, 0]
    # Nobody named the classes, and only the test file uses the last one.
    assert train.classes == ("0", "1", "2")
    assert test.classes == ("0", "1", "2", "3")


def test_class_names_come_from_the_schema(tmp_path, encoded):
    _write(tmp_path / "train.parquet", encoded[:2], label=[1, 0], names=["cat", "dog", "owl"])
    _write(tmp_path / "test.parquet", encoded[2:4], label=[1, 0], names=["cat", "dog", "owl"])
    assert load(str(tmp_path), "train").classes == ("cat", "dog", "owl")


def test_fine_labels_are_preferred_and_strangers_ignored(tmp_path, encoded):
    _write(tmp_path / "train.parquet", encoded[:2], coarse_label=[5, 5], fine_label=[1, 0], note=["x", "y"])
    _write(tmp_path / "test.parquet", encoded[2:3], coarse_label=[5], fine_label=[1], note=["z"])
    assert load(str(tmp_path), "train").labels.tolist() == [1, 0]


@pytest.mark.parametrize("columns", [{}, {"width": [8, 8], "height": [8, 8]}, {"label": [-1, -1]}])
def test_unlabelled_sets(tmp_path, encoded, columns):
    for name in ("train", "test"):
        _write(tmp_path / f"{name}.parquet", encoded[:2], **columns)
    loaded = load(str(tmp_path), "train")
    assert loaded.labels is None
    assert loaded.classes == ()


@pytest.mark.parametrize("name", ["validation-00000-of-00001", "valid", "val"])
def test_validation_serves_as_test(tmp_path, encoded, picture, name):
    _write(tmp_path / "train.parquet", encoded[:2])
    _write(tmp_path / f"{name}.parquet", encoded[2:3])
    assert np.array_equal(load(str(tmp_path), "test").pixels[0].permute(1, 2, 0).numpy(), picture(2))


def test_without_test_files_rows_are_held_out(tmp_path, encoded):
    _write(tmp_path / "train.parquet", encoded, label=[0, 1] * 20)
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    assert (len(train), len(test)) == (38, 2)
    contents = [image.numpy().tobytes() for loaded in (train, test) for image in loaded.pixels]
    assert len(set(contents)) == 40
    assert load(str(tmp_path), "test").fingerprint == test.fingerprint


def test_bad_rows_are_named_and_their_labels_go_with_them(tmp_path, encoded, picture):
    broken = [*encoded[:4], None, b"", encoded[6][:60], encoded[7]]
    _write(tmp_path / "train.parquet", broken, label=list(range(8)))
    _write(tmp_path / "test.parquet", encoded[:1], label=[0])
    loaded = load(str(tmp_path), "train")
    assert [bad.path for bad in loaded.bad] == [f"train.parquet row {row}" for row in (4, 5, 6)]
    assert isinstance(loaded.bad[0], BadFile)
    assert loaded.labels.tolist() == [0, 1, 2, 3, 7]
    assert np.array_equal(loaded.pixels[4].permute(1, 2, 0).numpy(), picture(7))
    with pytest.raises(UserError, match=r"^cannot decode train\.parquet row 4: empty file"):
        load(str(tmp_path), "train", strict=True)


def test_a_file_cut_short(tmp_path, encoded):
    _write(tmp_path / "train.parquet", encoded)
    content = (tmp_path / "train.parquet").read_bytes()
    (tmp_path / "train.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"^cannot read train\.parquet at [^\n]*; download or write it again$"):
        load(str(tmp_path), "train")


def test_a_file_without_images(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"^train\.parquet has no image column, .*; its columns: text, n$"):
        load(str(tmp_path), "train")


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 7], r"label 7 in row 1 is not one of its 2 classes, 0 to 1$"), ([0, None], r"1 rows without a value")],
)
def test_labels_out_of_range_or_missing(tmp_path, encoded, labels, message):
    for name in ("train", "test"):
        _write(tmp_path / f"{name}.parquet", encoded[:2], label=pa.array(labels), names=["a", "b"])
    with pytest.raises(UserError, match=message):
        load(str(tmp_path), "train")


def test_a_folder_with_test_files_alone(tmp_path, encoded):
    _write(tmp_path / "test.parquet", encoded[:2])
    assert len(load(str(tmp_path), "test")) == 2
    with pytest.raises(UserError, match=r"has no parquet file for training: name one train\.parquet$"):
        load(str(tmp_path), "train")
