"""IDX files, as MNIST, Fashion-MNIST, KMNIST and EMNIST are distributed."""

import gzip
import struct

import numpy as np
import pytest

from vqvae.data import describe, load, open_stream
from vqvae.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 12), dtype=np.uint8)
LABELS = (np.arange(40) % 10).astype(np.uint8)
MNIST = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
ROWS = {"train": slice(30), "test": slice(30, 40)}


def idx(values, kind=8):
    return struct.pack(f">HBB{values.ndim}I", 0, kind, values.ndim, *values.shape) + values.tobytes()


def write(folder, files=MNIST, *, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in files.items():
        for name, values in ((images, PIXELS), (labels, LABELS)):
            content = idx(values[ROWS[split]])
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)


def same(spec):
    for split, rows in ROWS.items():
        images = load(str(spec), split)
        assert np.array_equal(images.pixels[:, 0], PIXELS[rows])
        assert images.labels.tolist() == LABELS[rows].tolist()
        assert images.classes == tuple("0123456789")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("way", ["", "MNIST/raw"])
def test_mnist_as_distributed(tmp_path, packed, way):
    write(tmp_path / way, packed=packed)
    same(tmp_path)
    name = "t10k-labels-idx1-ubyte" + ".gz" * packed
    same(tmp_path / way / name)  # a file stands for its set
    assert "the images of " in describe(load(str(tmp_path)))


def test_both_forms_and_windows_names(tmp_path):
    write(tmp_path / "both", packed=True)
    write(tmp_path / "both")
    same(tmp_path / "both")
    points = {split: tuple(name.replace("-idx", ".idx") for name in names) for split, names in MNIST.items()}
    write(tmp_path / "points", points)
    same(tmp_path / "points")
    for names in MNIST.values():
        for name in names:
            folder = tmp_path / "kaggle" / name
            folder.mkdir(parents=True)
            (folder / name).write_bytes((tmp_path / "both" / name).read_bytes())
    same(tmp_path / "kaggle")


def test_an_unpacked_file_is_mapped(tmp_path):
    write(tmp_path)
    stream = open_stream(str(tmp_path))
    assert isinstance(next(iter(stream.source.items(np.arange(1)))).content, np.memmap)


def test_several_sets_in_one_folder(tmp_path):
    for name in ("balanced", "letters"):
        write(
            tmp_path,
            {s: tuple(f"emnist-{name}-{f.replace('t10k', 'test')}" for f in files) for s, files in MNIST.items()},
        )
    with pytest.raises(
        UserError, match=r"several data sets \(emnist-balanced, emnist-letters\): pass a file of one"
    ):
        load(str(tmp_path))
    same(tmp_path / "emnist-letters-train-images-idx3-ubyte")


def test_image_files_beside_are_said(tmp_path, picture, save):
    write(tmp_path)
    write(tmp_path, packed=True)
    assert load(str(tmp_path)).left_out == ()
    save(tmp_path / "shown" / "first.png", picture(0))
    assert load(str(tmp_path)).left_out == ("the image files beside them",)


def test_without_labels(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    images = load(str(tmp_path))
    assert images.labels is None
    assert images.left_out == ("labels: no such file beside the images",)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (idx(PIXELS)[:-1], r"3839 bytes of values in place of 3840|cut short"),
        (idx(PIXELS) + b"x", r"384[01] bytes of values in place of 3840"),
        (idx(PIXELS)[:9], r"a header that is cut short"),
        (b"", r"not an IDX file|cannot read"),
        (b"<!DOCTYPE html><html>", r"an HTML page|not an IDX file"),
        (idx(PIXELS.astype(">f4"), 13), r"values of type 0x0d; only unsigned bytes"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31), r"bytes of values in place of"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, packed, content, says):
    write(tmp_path, packed=packed)
    name = "train-images-idx3-ubyte" + ".gz" * packed
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match=rf"^cannot read {name} at [^\n]*({says})"):
        load(str(tmp_path))


def test_gzip_that_is_cut_short_and_labels_that_do_not_fit(tmp_path):
    write(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"^cannot read train-images-idx3-ubyte\.gz at [^\n]*; download"):
        load(str(tmp_path))
    path.write_bytes(whole)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    with pytest.raises(UserError, match=r"has labels \[40\] for the 30 images of"):
        load(str(tmp_path))
