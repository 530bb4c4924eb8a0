import io
import json
import tarfile

import pytest
import torch

from vqvae.data import load, open_stream
from vqvae.errors import UserError


def write(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def samples(picture, png):
    """Return a tar file's content: images ``first`` to ``last - 1``, class i % 3, and text beside them."""

    def make(first, last, *, labelled=True):
        files = {}
        for key in range(first, last):
            files[f"pics/{key:04d}.png"] = png(picture(key))
            files[f"pics/{key:04d}.txt"] = b"a caption"
            if labelled:
                files[f"pics/{key:04d}.cls"] = str(key % 3).encode()
        return files

    return make


def test_samples_come_in_the_order_of_the_files(tmp_path, samples, picture):
    write(tmp_path / "train-000.tar", samples(0, 10))
    write(tmp_path / "train-001.tar", samples(10, 15))
    write(tmp_path / "val-000.tar", samples(15, 19))
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    for images, keys in ((train, range(15)), (test, range(15, 19))):
        expected = torch.stack([torch.as_tensor(picture(key)).permute(2, 0, 1) for key in keys])
        assert torch.equal(images.pixels, expected)
        assert images.labels.tolist() == [key % 3 for key in keys]
        assert images.classes == ("0", "1", "2")


def test_without_test_files_some_samples_are_held_out(tmp_path, samples):
    write(tmp_path / "a.tar", samples(0, 100, labelled=False))
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    assert (len(train), len(test)) == (95, 5)
    assert train.labels is None
    assert train.classes == ()


def test_a_broken_sample_is_listed_by_shard_and_key(tmp_path, samples):
    write(tmp_path / "train.tar", samples(0, 5) | {"pics/0002.png": b"no image"})
    write(tmp_path / "test.tar", samples(5, 6))
    images = load(str(tmp_path), "train")
    assert len(images) == 4
    assert [bad.path for bad in images.bad] == ["train.tar pics/0002"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": b"no picture"}, "has no image: a sample is KEY.jpg"),
        ({"a.png": b"", "b.png": b"", "b.cls": b"1"}, "a has no .cls, but others have; label all or none"),
        ({"a.png": b"", "a.cls": b" "}, "a.cls is empty: expected the number or the name of a class"),
        (
            {"a.png": b"", "a.cls": b"-1", "b.png": b"", "b.cls": b"0"},
            "label -1 in row 0 is not one of its 1 classes",
        ),
    ],
)
def test_what_is_no_set_of_samples(tmp_path, files, message):
    write(tmp_path / "train.tar", files)
    with pytest.raises(UserError, match=message):
        load(str(tmp_path), "train")


@pytest.mark.parametrize("cut", [0, 700, 100_000])
def test_a_damaged_tar_is_one_line(tmp_path, samples, cut):
    write(tmp_path / "train.tar", samples(0, 100))
    whole = (tmp_path / "train.tar").read_bytes()
    assert cut < len(whole)
    (tmp_path / "train.tar").write_bytes(whole[:cut])
    with pytest.raises(UserError, match=r"train\.tar"):
        load(str(tmp_path), "train", strict=True)


def test_a_compressed_tar_is_one_line(tmp_path):
    with tarfile.open(tmp_path / "train.tar", "w:gz"):
        pass
    with pytest.raises(UserError, match="uncompressed"):
        load(str(tmp_path), "train")


def named(png, picture, names):
    """Return a tar file's content: an image for each name."""
    return {name: png(picture(key)) for key, name in enumerate(names)}


def test_img2dataset_leaves_a_table_of_addresses_beside(tmp_path, picture, png):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in range(2):
        files = {}
        for key in range(20):
            name = f"{shard:05d}{key:04d}"
            record = {
                "caption": "a",
                "url": "u",
                "key": name,
                "status": "success",
                "width": 8,
                "height": 8,
                "exif": "{}",
            }
            files |= {f"{name}.jpg": png(picture(20 * shard + key)), f"{name}.txt": b"a"}
            files[f"{name}.json"] = json.dumps(record).encode()
        write(tmp_path / f"{shard:05d}.tar", files)
        pq.write_table(pa.table({"url": ["u"] * 20, "width": [8] * 20}), tmp_path / f"{shard:05d}.parquet")
        (tmp_path / f"{shard:05d}_stats.json").write_text("{}")
    images = load(str(tmp_path))
    assert len(images) == 38
    assert images.labels is None
    assert images.left_out[0].startswith("the columns caption, url, key, status, width")
    assert images.left_out[1] == "2 files of other kinds beside them (.parquet 2)"
    assert load(str(tmp_path), label="status").classes == ("success",)


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ([f"{key:03d}.image.jpg" for key in range(40)], ["000", "001"]),
        ([f"img v1.{key:03d}.jpg" for key in range(40)], ["img v1.000", "img v1.001"]),
        ([f"./a.b/2024.01.{key:02d}.jpg" for key in range(40)], ["a.b/2024.01.00", "a.b/2024.01.01"]),
        ([f"._{key}.jpg" for key in range(3)] + [f"{key}.JPEG" for key in range(3, 43)], ["3", "4"]),
    ],
)
def test_names_as_tools_write_them(tmp_path, picture, png, names, keys):
    write(tmp_path / "train.tar", named(png, picture, names))
    write(tmp_path / "test.tar", {"a.png": png(picture(0))})
    assert len(load(str(tmp_path))) == 40
    assert list(open_stream(str(tmp_path)).source.names())[:2] == [f"train.tar {key}" for key in keys]


def test_several_images_in_a_sample(tmp_path, picture, png):
    files = {}
    for key in range(20):
        files |= {f"{key}.seg.png": png(picture(100 + key)), f"{key}.image.png": png(picture(key))}
    write(tmp_path / "a" / "train.tar", files)
    images = load(str(tmp_path / "a"), validation=2)
    assert torch.equal(images.pixels[0], torch.as_tensor(picture(0)).permute(2, 0, 1))
    assert images.left_out == ("the images KEY.seg (--data.image takes them)",)
    masks = load(str(tmp_path / "a"), validation=2, image="seg")
    assert torch.equal(masks.pixels[0], torch.as_tensor(picture(100)).permute(2, 0, 1))
    with pytest.raises(UserError, match=r"--data\.image sog: no such column of images; did you mean 'seg'\?"):
        load(str(tmp_path / "a"), image="sog")
    write(
        tmp_path / "b" / "train.tar", {f"{key}.{side}.png": png(picture(key)) for key in range(9) for side in "lr"}
    )
    with pytest.raises(UserError, match=r"several images \(KEY\.l, KEY\.r\): pass --data\.image NAME, such as l$"):
        load(str(tmp_path / "b"))


def test_labels_in_json_by_the_rule_of_columns(tmp_path, picture, png):
    files = {}
    for key in range(40):
        files |= {f"{key}.png": png(picture(key)), f"{key}.json": b"", f"{key}.txt": b""}
        files[f"{key}.json"] = json.dumps({"label": ["cat", "dog"][key % 2], "width": 8, "kind": key % 3}).encode()
    write(tmp_path / "train.tar", files)
    assert load(str(tmp_path)).classes == ("cat", "dog")
    assert "labels from label in KEY.json" in load(str(tmp_path)).origin
    assert load(str(tmp_path), label="kind").classes == ("0", "1", "2")
    with pytest.raises(UserError, match=r"--data\.label kin: no such column of labels; did you mean 'kind'\?"):
        load(str(tmp_path), label="kin")
    write(tmp_path / "train.tar", files | {"7.json": b'{"width": 8}'})
    with pytest.raises(UserError, match=r"train\.tar: 7\.json has no label: its label is null"):
        load(str(tmp_path))


def test_names_of_classes_in_cls(tmp_path, picture, png):
    files = {}
    for key, name in enumerate(["dog", "cat", "10"] * 10):
        files |= {f"{key}.png": png(picture(key)), f"{key}.cls": name.encode()}
    write(tmp_path / "train.tar", files)
    write(tmp_path / "test.tar", files)
    images = load(str(tmp_path))
    assert images.classes == ("10", "cat", "dog")
    assert images.labels[:3].tolist() == [2, 1, 0]


def test_folders_in_a_tar_are_classes(tmp_path, picture, png):
    names = [f"./all/{'cat' if key % 2 else 'dog'}/sub/{key}.png" for key in range(40)]
    write(tmp_path / "train.tar", named(png, picture, names))
    images = load(str(tmp_path / "train.tar"))
    assert images.classes == ("cat", "dog")
    assert "classes by the folders in it" in images.origin


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([f"{key % 2}/{key}.png" for key in range(20)] + ["top.png"], "since 1 images lie beside the folders"),
        ([f"{key}/image.png" for key in range(20)], "since each image has a folder of its own"),
    ],
)
def test_folders_that_are_no_classes_are_said(tmp_path, picture, png, names, says):
    write(tmp_path / "train.tar", named(png, picture, names))
    images = load(str(tmp_path))
    assert images.labels is None
    assert any(says in words for words in images.left_out)


def test_what_must_be_unpacked_first(tmp_path, picture, png):
    write(
        tmp_path / "a" / "set.tar", named(png, picture, ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"])
    )
    with pytest.raises(UserError, match=r"holds test/, train/, which are splits: unpack it and pass the folder"):
        load(str(tmp_path / "a"))
    write(tmp_path / "b" / "set.tar", {"n01440764.tar": b"x" * 100})
    with pytest.raises(UserError, match=r"holds other tar files, such as n01440764\.tar: unpack it first"):
        load(str(tmp_path / "b"))
    for name, tool in (
        ("train.tar.gz", "gunzip"),
        ("00000.tgz", "gunzip"),
        ("x.tar.zst", "unzstd"),
        ("x.tar.xz", "unxz"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(b"")
        for spec in (folder, folder / name):
            with pytest.raises(
                UserError, match=rf"{name} is compressed: unpack it .* run {tool} on it and pass the same folder"
            ):
                load(str(spec))


def test_a_packed_copy_beside_image_files_changes_nothing(tmp_path, picture, save):
    for key in range(40):
        save(tmp_path / "ab"[key % 2] / f"{key}.png", picture(key))
    (tmp_path / "all.tar.gz").write_bytes(b"")
    assert load(str(tmp_path)).classes == ("a", "b")


def test_an_unpacked_copy_beside_a_tar_file_is_said(tmp_path, picture, png, save):
    write(tmp_path / "all.tar", named(png, picture, [f"{key}.png" for key in range(40)]))
    for key in range(40):
        save(tmp_path / "ab"[key % 2] / f"{key}.png", picture(key))
    assert load(str(tmp_path)).left_out == ("the image files beside them",)
    assert len(load(str(tmp_path / "all.tar"))) == 38


def test_several_sets_of_tar_files(tmp_path, samples):
    for name in ("256", "512"):
        write(tmp_path / name / "00000.tar", samples(0, 10))
    with pytest.raises(UserError, match=r"several data sets \(256, 512\): pass the folder of one of them"):
        load(str(tmp_path))


def test_labels_that_are_all_hidden_are_said(tmp_path, picture, png):
    files = named(png, picture, [f"{key}.png" for key in range(40)])
    write(tmp_path / "train.tar", files | {f"{key}.cls": b"-1" for key in range(40)})
    images = load(str(tmp_path))
    assert images.labels is None
    assert images.left_out == ("the labels, all of which are hidden (-1)",)
