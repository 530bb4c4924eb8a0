import os

import numpy as np
import pytest
import torch

from vqvae.data import load
from vqvae.errors import UserError


def _contents(loaded) -> set[bytes]:
    return {image.numpy().tobytes() for image in loaded.pixels}


@pytest.fixture
def animals(tmp_path, picture, save):
    """120 images in three classes, the pixels numbered by path order."""
    for index in range(120):
        save(tmp_path / ("cats", "dogs", "owls")[index // 40] / f"{index:03}.png", picture(index))
    return tmp_path


def test_sub_folders_are_classes_and_paths_give_the_order(animals, picture):
    train, test = load(str(animals), "train"), load(str(animals), "test")
    assert train.classes == test.classes == ("cats", "dogs", "owls")
    assert len(train) == 114
    assert len(test) == 6
    index_of = {picture(index).transpose(2, 0, 1).tobytes(): index for index in range(120)}
    for loaded in (train, test):
        indices = [index_of[image.numpy().tobytes()] for image in loaded.pixels]
        assert indices == sorted(indices)
        assert loaded.labels.dtype == torch.int64
        assert loaded.labels.tolist() == [index // 40 for index in indices]


def test_held_out_images_are_disjoint_complete_and_stable(animals):
    train, test = load(str(animals), "train"), load(str(animals), "test")
    assert not _contents(train) & _contents(test)
    assert len(_contents(train) | _contents(test)) == 120
    assert load(str(animals), "test").fingerprint == test.fingerprint


def test_the_choice_does_not_depend_on_where_the_folder_lies(animals, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    test = load(str(animals), "test")
    animals.rename(elsewhere)
    assert load(str(elsewhere), "test").fingerprint == test.fingerprint


def test_adding_images_keeps_nearly_all_choices(animals, picture, save):
    before = _contents(load(str(animals), "test"))
    save(animals / "owls/new.png", picture(999))
    assert len(before & _contents(load(str(animals), "test"))) >= len(before) - 1


def test_a_flat_folder_has_no_labels(tmp_path, picture, save):
    for index in range(4):
        save(tmp_path / f"{index}.png", picture(index))
    (tmp_path / "notes.txt").write_text("not an image")
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    assert (len(train), len(test)) == (3, 1)
    assert train.labels is test.labels is None
    assert train.classes == ()


def test_images_beside_sub_folders_make_the_set_unlabelled(animals, picture, save):
    save(animals / "stray.png", picture(500))
    train, test = load(str(animals), "train"), load(str(animals), "test")
    assert len(train) + len(test) == 121
    assert train.labels is None
    assert train.classes == ()


@pytest.mark.parametrize("test_name", ["test", "val", "valid", "validation"])
def test_train_and_test_folders_are_the_splits(tmp_path, picture, save, test_name):
    for index, path in enumerate(["train/b/x.png", "train/a/deep/er/x.PNG", f"{test_name}/c/x.png"]):
        save(tmp_path / path, picture(index))
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    # One numbering for both splits; "c" is in the test split alone, and training does not know of it.
    assert train.classes == ("a", "b")
    assert test.classes == ("a", "b", "c")
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [2]
    assert np.array_equal(train.pixels[0].permute(1, 2, 0).numpy(), picture(1))


def test_hidden_files_are_left_out(tmp_path, picture, save):
    for path in ("a/1.png", "a/2.png", ".trash/3.png", "a/._1.png"):
        save(tmp_path / path, picture(0))
    train = load(str(tmp_path), "train")
    assert len(train) == 1
    assert train.classes == ("a",)


def test_a_link_back_up_ends(tmp_path, picture, save):
    for index in range(3):
        save(tmp_path / f"a/{index}.png", picture(index))
    os.symlink(tmp_path, tmp_path / "a/up", target_is_directory=True)
    assert len(load(str(tmp_path), "train")) == 2


def test_a_single_image_is_for_training(tmp_path, picture, save):
    save(tmp_path / "1.png", picture(0))
    assert len(load(str(tmp_path), "train")) == 1
    with pytest.raises(UserError, match=r"holds a single image, which is for training: .* train/ and test/$"):
        load(str(tmp_path), "test")


def test_an_empty_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(
        UserError, match=rf"^no images in {tmp_path}: it holds .txt 1; looked for png, jpg, .* in it and below$"
    ):
        load(str(tmp_path), "train")


def test_an_empty_split_folder(tmp_path, picture, save):
    save(tmp_path / "train/1.png", picture(0))
    (tmp_path / "test").mkdir()
    with pytest.raises(UserError, match=rf"^no images in {tmp_path}/test: "):
        load(str(tmp_path), "test")
