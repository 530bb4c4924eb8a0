import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vqvae.data import BadFile, load, open_stream
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


def test_files_without_a_split_beside_train_are_named(tmp_path, encoded):
    for name in ("train-0", "extra-1", "extra-2"):
        _write(tmp_path / f"{name}.parquet", encoded[:10])
    train = load(str(tmp_path), "train")
    assert len(train) < 10
    assert "extra-1.parquet and 1 more: no split in the name, unlike the files named train" in train.left_out


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
    names = ["row 4 (4.png)", "row 5 (5.png)", "row 6"]
    assert [bad.path for bad in loaded.bad] == [f"train.parquet {name}" for name in names]
    assert isinstance(loaded.bad[0], BadFile)
    assert loaded.labels.tolist() == [0, 1, 2, 3, 7]
    assert np.array_equal(loaded.pixels[4].permute(1, 2, 0).numpy(), picture(7))
    with pytest.raises(UserError, match=r"^cannot decode train\.parquet row 4 \(4\.png\): no such file"):
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
    with pytest.raises(UserError, match=r"has no parquet files for training: name one train\.parquet$"):
        load(str(tmp_path), "train")


def _binary(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=7)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes_are_images_where_they_are(tmp_path, encoded, picture, kind):
    images = pa.array(encoded, kind)
    embedding = pa.array([b"\0" * 16] * 40, pa.binary())
    _binary(tmp_path / "part-0.parquet", embedding=embedding, content=images, label=["dog", "cat"] * 20)
    loaded = load(str(tmp_path / "part-0.parquet"), "train")
    everything = [picture(key).tobytes() for key in range(40)]
    assert all(image.permute(1, 2, 0).numpy().tobytes() in everything for image in loaded.pixels)
    assert len(loaded) == 38
    assert loaded.classes == ("cat", "dog")


def test_several_columns_of_images(tmp_path, encoded, picture):
    _binary(tmp_path / "a" / "train.parquet", before=encoded[:20], after=encoded[20:])
    with pytest.raises(
        UserError, match=r"several columns of images \(before, after\): pass --data\.image COLUMN$"
    ):
        load(str(tmp_path / "a"))
    found = load(str(tmp_path / "a"), image="after", validation=2)
    assert np.array_equal(found.pixels[0].permute(1, 2, 0).numpy(), picture(20))
    with pytest.raises(UserError, match=r"--data\.image aftr: no such column of images; did you mean 'after'\?"):
        load(str(tmp_path / "a"), image="aftr")
    _binary(tmp_path / "b" / "train.parquet", mask=encoded[:20], image=encoded[20:])
    found = load(str(tmp_path / "b"), validation=2)
    assert np.array_equal(found.pixels[0].permute(1, 2, 0).numpy(), picture(20))
    assert "the images in mask (--data.image COLUMN takes them)" in found.left_out


@pytest.mark.parametrize("form", ["struct", "string"])
@pytest.mark.parametrize("base", ["", "data"])
def test_paths_lead_to_images_beside_the_table(tmp_path, picture, save, form, base):
    for key in range(6):
        save(tmp_path / base / "images" / f"{key}.png", picture(key))
    paths = [f"images/{key}.png" for key in range(6)] + ["images/missing.png"]
    rows = [{"bytes": None, "path": path} for path in paths]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array(rows, kind) if form == "struct" else pa.array(paths)
    for name in ("train", "test"):
        _binary(tmp_path / "data" / f"{name}.parquet", image=images, label=[0, 1, 2, 0, 1, 2, 0])
    loaded = load(str(tmp_path))
    assert loaded.left_out == ()  # the image files are those of the table
    assert np.array_equal(loaded.pixels.permute(0, 2, 3, 1).numpy(), [picture(key) for key in range(6)])
    assert loaded.labels.tolist() == [0, 1, 2, 0, 1, 2]
    [bad] = loaded.bad
    assert (bad.path, bad.reason) == ("data/train.parquet row 6 (images/missing.png)", "no such file")


@pytest.mark.parametrize("path", ["../outside.png", "{tmp}/outside.png"])
def test_a_path_that_leads_out_of_the_set_is_refused(tmp_path, picture, save, path):
    save(tmp_path / "outside.png", picture(0))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    row = {"bytes": None, "path": path.format(tmp=tmp_path)}
    _binary(tmp_path / "set" / "train.parquet", image=pa.array([row] * 3, kind))
    with pytest.raises(UserError, match=r"holds no image but the path .*, which leads out of the data set"):
        load(str(tmp_path / "set"), validation=1)


@pytest.mark.parametrize("way", ["a/b", "data", "default/train", "train", "cropped/train", "2024"])
def test_nested_folders(tmp_path, encoded, way):
    _write(tmp_path / way / "train-00000-of-00001.parquet", encoded)
    assert len(load(str(tmp_path))) == 38


def test_several_sets_in_one_folder_are_not_poured_together(tmp_path, encoded):
    for name in ("cropped", "full"):
        _write(tmp_path / name / "train.parquet", encoded[:10])
        _write(tmp_path / name / "test.parquet", encoded[10:12])
    with pytest.raises(
        UserError, match=r"several data sets \(cropped, full\): pass the folder of one of them, as in .*/cropped$"
    ):
        load(str(tmp_path))
    assert len(load(str(tmp_path / "full"))) == 10
    _write(tmp_path / "train.parquet", encoded[:20])
    _write(tmp_path / "test.parquet", encoded[:2])
    found = load(str(tmp_path))
    assert len(found) == 20
    assert found.left_out[0].startswith("other data sets (cropped, full)")


def test_files_whose_labels_differ_are_refused(tmp_path, encoded):
    _write(tmp_path / "train-0.parquet", encoded[:2], label=[0, 1], names=["cat", "dog"])
    _write(tmp_path / "train-1.parquet", encoded[2:4], label=[0, 1], names=["dog", "cat"])
    with pytest.raises(UserError, match=r"label: cat, dog\) and of train-1\.parquet \(label: dog, cat\) are not"):
        load(str(tmp_path))
    _write(tmp_path / "train-1.parquet", encoded[2:4])
    with pytest.raises(UserError, match=r"of train-1\.parquet \(none\) are not the same"):
        load(str(tmp_path))


def test_a_table_beside_image_files_is_no_set_of_images(tmp_path, picture, save):
    for key in range(40):
        save(tmp_path / "ab"[key % 2] / f"{key}.png", picture(key))
    _binary(tmp_path / "captions.parquet", caption=["x"] * 40, width=[8] * 40)
    assert load(str(tmp_path)).classes == ("a", "b")


def test_other_files_beside_the_tables_are_said(tmp_path, encoded, picture, save):
    _write(tmp_path / "data" / "train.parquet", encoded)
    save(tmp_path / "preview.png", picture(0))
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "more.h5").write_text("x")
    said = ("the image files beside them", "1 file of other kinds beside them (.h5 1)")
    assert load(str(tmp_path)).left_out == said


def test_a_git_lfs_pointer_is_called_one(tmp_path):
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(
        UserError, match=r"^cannot read train\.parquet at .*: a Git LFS pointer.*run git lfs pull$"
    ):
        load(str(tmp_path))


def test_a_stream_reads_plain_bytes_too(tmp_path, encoded):
    _binary(tmp_path / "train.parquet", jpg=encoded, caption=["a"] * 40)
    stream, whole = open_stream(str(tmp_path)), load(str(tmp_path))
    assert np.array_equal(np.concatenate([pixels for _, pixels in stream.iter_batches()]), whole.pixels)


def test_hidden_labels_and_empty_tables_are_said(tmp_path, encoded):
    _write(tmp_path / "hidden" / "train.parquet", encoded, label=[-1] * 40)
    images = load(str(tmp_path / "hidden"))
    assert images.labels is None
    assert images.left_out == ("the labels in label, all of which are hidden (-1)",)
    _write(tmp_path / "empty" / "train.parquet", [])
    with pytest.raises(UserError, match=r"^.*empty: no rows in train\.parquet: download or write"):
        load(str(tmp_path / "empty"))
