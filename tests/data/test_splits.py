"""Train, validation and test: disjoint, complete, by one rule, and every split says where it comes from."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vqvae.config import DataConfig
from vqvae.data import describe, load, open_stream
from vqvae.errors import UserError


def contents(images):
    return [image.numpy().tobytes() for image in images.pixels]


@pytest.fixture
def folder(tmp_path, picture, save):
    """Write images at some paths, their pixels numbered by position; return the folder."""

    def make(*paths):
        for key, path in enumerate(paths):
            save(tmp_path / path, picture(key))
        return str(tmp_path)

    return make


def flat(count, prefix=""):
    return [f"{prefix}{key:03d}.png" for key in range(count)]


def test_validation_is_the_end_of_the_training_split():
    whole = load("shapes:200", "train")
    for held_out, count in ((30, 30), (0.1, 20), ("auto", 10)):
        train = load("shapes:200", "train", validation=held_out)
        validation = load("shapes:200", "validation", validation=held_out)
        assert torch.equal(train.pixels, whole.pixels[:-count])
        assert torch.equal(validation.pixels, whole.pixels[-count:])
        assert torch.equal(validation.labels, whole.labels[-count:])
    assert load("shapes:200", "train", validation=0).fingerprint == whole.fingerprint


def test_the_default_is_5000_rows_or_5_percent_whichever_is_less():
    assert (
        len(DataConfig(spec="shapes:150000", size=(1, 1), fit="crop", stream=True).training_images(1)) == 145_000
    )
    assert len(DataConfig(spec="shapes:60").validation_images(4, train=load("shapes", "test", limit=1))) == 3
    assert len(load("shapes:3", "validation", validation="auto")) == 1


def test_without_a_test_split_three_parts_are_disjoint_and_complete(folder):
    spec = folder(*flat(100))
    parts = [contents(load(spec, split, validation=12)) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [83, 12, 5]
    assert len(set().union(*parts)) == 100
    assert parts[2] == contents(load(spec, "test"))  # the same whatever is held out for validation
    assert parts[0] + parts[1] == contents(load(spec, "train"))


def test_where_rows_lie_class_by_class_it_is_the_end_of_each_class(folder):
    spec = folder(*flat(40, "train/cat/"), *flat(20, "train/dog/"), *flat(20, "train/owl/"), "test/cat/1.png")
    whole, validation = load(spec, "train"), load(spec, "validation", validation=0.1)
    assert validation.labels.tolist() == [0] * 4 + [1] * 2 + [2] * 2
    assert torch.equal(validation.pixels, whole.pixels[[36, 37, 38, 39, 58, 59, 78, 79]])
    assert not set(contents(validation)) & set(contents(load(spec, "train", validation=0.1)))
    for count in (1, 7, 53, 79):
        assert len(load(spec, "validation", validation=count)) == count
        assert len(load(spec, "train", validation=count)) == 80 - count


def test_a_validation_split_beside_a_test_split_is_used_as_it_is(folder):
    spec = folder(*flat(20, "train/"), *flat(4, "val/"), *flat(3, "test/"))
    for held_out in ("auto", 0):
        assert contents(load(spec, "train", validation=held_out)) == contents(load(spec, "train"))
        validation = load(spec, "validation", validation=held_out)
        assert len(validation) == 4
        assert "val/" in validation.origin
    assert len(load(spec, "test")) == 3
    asked = load(spec, "validation", validation=2)
    assert contents(asked) == contents(load(spec, "train"))[-2:]
    assert "in place of the set's own validation split" in asked.origin


def test_of_train_and_validation_alone_validation_is_the_test_split(folder):
    spec = folder(*flat(20, "train/"), *flat(4, "valid/"))
    test = load(spec, "test")
    assert len(test) == 4
    assert "validation serves as test" in test.origin
    validation = load(spec, "validation", validation="auto")
    assert contents(validation) == contents(load(spec, "train"))[-1:]


def test_training_opens_no_test_file(tmp_path, picture, png):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for name, count in (("train", 40), ("test", 5)):
        images = pa.array([{"bytes": png(picture(key)), "path": None} for key in range(count)], kind)
        pq.write_table(
            pa.table({"image": images, "label": [key % 3 for key in range(count)]}), tmp_path / f"{name}.parquet"
        )
    (tmp_path / "test.parquet").write_bytes(b"damaged")
    data = DataConfig(spec=str(tmp_path))
    train = data.training_images(4)
    assert (len(train), len(data.validation_images(4, train=train))) == (38, 2)
    with pytest.raises(UserError, match=r"cannot read test\.parquet"):
        data.load("test", multiple_of=4)


def test_a_stream_has_the_rows_of_the_set_in_memory(folder):
    spec = folder(*flat(30, "a/"), *flat(30, "b/"))
    for split in ("train", "validation", "test"):
        held, stream = load(spec, split, validation=8), open_stream(spec, split, validation=8)
        assert torch.equal(torch.cat([pixels for _, pixels in stream.iter_batches()]), held.pixels)
        assert torch.equal(stream.labels, held.labels)
        assert stream.origin == held.origin


def test_fingerprints_are_of_the_rows_that_are_used(folder, picture, save, tmp_path):
    spec = folder(*flat(40), "test/1.png")
    (tmp_path / "train").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "train" / path.name)
    prints = {opened(spec, "train", validation=n).fingerprint for opened in (load, open_stream) for n in (0, 5, 6)}
    assert len(prints) == 6
    before = [opened(spec, "train", validation=5).fingerprint for opened in (load, open_stream)]
    save(tmp_path / "train/039.png", picture(99, 16, 16))  # a validation image
    assert [opened(spec, "train", validation=5).fingerprint for opened in (load, open_stream)] == before


def test_with_nothing_held_out_the_training_images_are_measured():
    data = DataConfig(spec="shapes:20", validation=0)
    train = data.training_images(4)
    validation = data.validation_images(4, train=train)
    assert validation.fingerprint == train.fingerprint == load("shapes:20", "train").fingerprint
    assert (validation.split, validation.origin) == (
        "validation",
        "the training images themselves, drawn from a seed",
    )


def test_one_image_trains_when_nothing_is_held_out(folder):
    spec = folder("1.png")
    with pytest.raises(
        UserError, match=r"1 of 1 training images for validation leave none .* --data.validation 0"
    ):
        DataConfig(spec=spec).training_images(4)
    assert len(replace(DataConfig(spec=spec), validation=0).training_images(4)) == 1


@pytest.mark.parametrize("wrong", [20, 21])
def test_too_many_rows_for_validation(wrong):
    with pytest.raises(UserError, match=f"^shapes: {wrong} of 20 training images for validation leave none"):
        load("shapes:20", "train", validation=wrong)


def test_a_set_without_a_validation_split_asks_for_a_number():
    with pytest.raises(UserError, match="no validation split beside a test split: say how many rows"):
        load("shapes", "validation")


def test_size_and_channels_are_those_of_the_training_images(tmp_path, picture, save):
    for key in range(38):
        save(tmp_path / f"train/{key:02d}.png", picture(key, 12, 12))
    for key in range(38, 40):
        save(tmp_path / f"train/{key:02d}.png", picture(key, 16, 8, grey=True))
    data = DataConfig(spec=str(tmp_path), fit="crop", validation=2)
    train = data.training_images(4)
    assert train.shape == data.validation_images(4, train=train).shape == (3, 12, 12)
    assert (data.as_read(train).size, data.as_read(train).channels) == ((12, 12), 3)


def test_every_split_says_in_one_line_where_it_comes_from(folder):
    spec = folder(*flat(30, "cat/"), *flat(30, "dog/"))
    lines = [describe(load(spec, split, validation=6)) for split in ("train", "validation", "test")]
    assert lines == [
        "train: 51 colour images of 8x8, 2 classes (cat, dog); the files in it and below; 3 of 60 are held out "
        "for test; the last rows of each class, 6 of 57, are held out for validation",
        "validation: 6 colour images of 8x8, 2 classes (cat, dog); the last rows of each class, 6 of 57, of the "
        "training split: the files in it and below; 3 of 60 are held out for test",
        "test: 3 colour images of 8x8, 2 classes (cat, dog); 3 of 60, held out by a hash of their names",
    ]
    assert np.array_equal(load(spec, "train").labels.unique(), [0, 1])
