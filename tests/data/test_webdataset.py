import io
import tarfile

import pytest
import torch

from vqvae.data import load
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
        ({"a.png": b"", "a.cls": b"cat"}, "a.cls is 'cat', not a class's number"),
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
