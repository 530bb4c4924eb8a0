"""Splits, classes and files of a folder are understood or refused; what is left out is said."""

import unicodedata

import pytest

from vqvae.data import describe, load
from vqvae.errors import UserError

METADATA = "".join(
    f'{{"file_name": "{key}.png", "label": "{label}"}}\n' for key, label in enumerate(["dog", "cat"] * 2, 1)
)


@pytest.fixture
def folder(tmp_path, picture, save):
    """Write images at some paths, their pixels numbered by position; return the folder."""

    def make(*paths):
        for key, path in enumerate(paths):
            save(tmp_path / path, picture(key))
        return str(tmp_path)

    return make


@pytest.mark.parametrize("train", ["Train", "training", "TRAINING", "train2017", "train_images"])
def test_split_folders_are_known_by_their_usual_names(folder, train):
    test = {"train2017": "val2017", "train_images": "test_images"}.get(train, "Testing")
    spec = folder(f"{train}/cat/1.png", f"{train}/dog/1.png", f"{test}/cat/1.png")
    assert (len(load(spec, "train")), len(load(spec, "test"))) == (2, 1)
    assert load(spec, "train").classes == ("cat", "dog")


def test_a_train_folder_alone_is_the_training_split(folder):
    spec = folder(*(f"train/{name}/{key}.png" for name in ("cat", "dog") for key in range(10)))
    assert load(spec, "train").classes == ("cat", "dog")
    assert len(load(spec, "train")) == 19
    assert "held out for test" in load(spec, "train").origin


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/1.png", "training/1.png"], "train/ and training/ are both for train: rename one"),
        (["trainA/1.png", "trainB/1.png"], "trainA/ and trainB/ are both for train"),
        (["train/1.png", "bus/1.png", "car/1.png"], "is train/ a split or a class, beside bus, car"),
        (["test/cat/1.png"], "has no images for training: put them into train/"),
    ],
)
def test_what_may_mean_two_things_is_refused(folder, paths, message):
    spec = folder(*paths)
    with pytest.raises(UserError, match=message):
        load(spec, "train")


@pytest.mark.parametrize("wrap", ["", "all/"])
def test_a_run_beside_the_splits_changes_nothing(folder, tmp_path, wrap):
    paths = [f"{wrap}train/{name}/{key}.png" for name in ("cat", "dog") for key in range(2)]
    spec = folder(*paths)
    before = load(spec, "train")
    folder(*paths, "runs/shapes/samples/1.png")
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / "runs/shapes" / name).write_text("")
    after = load(spec, "train")
    assert (after.fingerprint, after.classes) == (before.fingerprint, ("cat", "dog"))


def test_folders_without_images_are_neither_splits_nor_classes(folder, tmp_path):
    spec = folder("train2017/1.png", "train2017/2.png", "val2017/1.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances.json").write_text("{}")
    assert (len(load(spec, "train")), load(spec, "train").classes) == (2, ())


def test_splits_inside_the_classes_are_refused(folder):
    spec = folder("bottle/train/good/1.png", "bottle/test/broken/1.png", "cable/train/good/1.png")
    with pytest.raises(UserError, match=r"bottle/test/ and bottle/train/ are splits inside a folder"):
        load(spec, "train")


def test_classes_two_deep_are_the_top_folders_and_it_is_said(folder):
    images = load(folder("a/abbey/1.png", "a/airport/1.png", "b/beach/1.png"), "train")
    assert images.classes == ("a", "b")
    assert "classes by the top folders" in images.origin


def test_a_class_whose_name_begins_like_a_split_is_a_class(folder):
    spec = folder("train_station/1.png", "airport/1.png", "beach/1.png")
    assert load(spec, "train").classes == ("airport", "beach", "train_station")


@pytest.mark.parametrize("way", ["archive", "archive/images", "Images"])
def test_a_folder_around_all_is_passed_through(folder, way):
    spec = folder(*(f"{way}/{name}/{key}.png" for name in ("cat", "dog") for key in range(4)))
    assert load(spec, "train").classes == ("cat", "dog")
    assert f"{way}/" in load(spec, "train").origin


def test_one_class_is_a_class_and_images_is_none(folder):
    assert load(folder("cat/1.png", "cat/2.png"), "train").classes == ("cat",)


def test_a_folder_called_images_is_no_class(folder):
    assert load(folder("train/cat/1.png", "test/images/1.png"), "test").labels is None


def test_two_forms_of_a_name_are_one_class(folder):
    name = "caf\u00e9"
    spec = folder(f"train/{unicodedata.normalize('NFD', name)}/1.png", "train/tea/1.png", f"test/{name}/1.png")
    assert load(spec, "train").classes == load(spec, "test").classes == (name, "tea")


def test_what_is_left_out_is_counted(folder, tmp_path):
    spec = folder(*(f"{key}.png" for key in range(5)))
    for name in ("a.tga", "b.tga", "noname", "Thumbs.db", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    line = describe(load(spec, "train"))
    assert "left out: 3 files of other kinds (.tga 2, no suffix 1)" in line


def test_a_runs_own_files_are_no_data(folder, tmp_path):
    spec = folder("a/1.png", "a/2.png", "b/1.png", "runs/shapes/samples/1.png")
    for name in ("config.yaml", "metrics.jsonl"):
        (tmp_path / "runs/shapes" / name).write_text("")
    images = load(spec, "train")
    assert images.classes == ("a", "b")
    assert "what runs and decode wrote (runs/shapes/)" in images.left_out


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("labels.csv", "file_name,label,width\n1.png,dog,8\n2.png,cat,8\n3.png,dog,8\n4.png,cat,8\n"),
        ("train.csv", "id;class\n1;dog\n2;cat\n3;dog\n4;cat\n"),
        ("metadata.jsonl", METADATA),
        ("val_annotations.txt", "1.png\tdog\t0\n2.png\tcat\t0\n3.png\tdog\t0\n4.png\tcat\t0\n"),
    ],
)
def test_labels_come_from_a_table_beside_the_images(folder, tmp_path, name, table):
    split = "test" if name.startswith("val") else "train"
    spec = folder(*(f"{where}/images/{key}.png" for where in ("train", "val") for key in range(1, 5)))
    (tmp_path / ("train" if split == "train" else "val") / name).write_text(table)
    images = load(spec, split)
    assert [images.classes[label] for label in images.labels] == ["dog", "cat", "dog", "cat"]
    assert f"labels from {name}" in images.origin


def test_a_table_that_labels_some_images_only_is_refused(folder, tmp_path):
    spec = folder("1.png", "2.png", "3.png")
    (tmp_path / "labels.csv").write_text("file_name,label\n1.png,dog\n2.png,cat\n")
    with pytest.raises(UserError, match=r"labels\.csv labels 2 of 3 images; 3\.png is not in it"):
        load(spec, "train")


def test_a_column_of_a_table_is_named(folder, tmp_path):
    spec = folder("1.png", "2.png", "3.png")
    (tmp_path / "pets.csv").write_text("file_name,breed,age\n1.png,pug,10\n2.png,tabby,9\n3.png,pug,2\n")
    assert load(spec, "train").labels is None
    assert load(spec, "train", label="breed").classes == ("pug", "tabby")
    assert load(spec, "train", label="age").classes == ("2", "9", "10")


def test_a_table_is_found_by_the_images_that_it_names_not_by_its_first_row(folder, tmp_path):
    spec = folder("1.png", "2.png", "3.png")
    (tmp_path / "labels.csv").write_text("label,file\n9,gone.png\n1,1.png\n2,2.png\n1,3.png\n")
    images = load(spec, "all")
    assert [images.classes[label] for label in images.labels] == ["1", "2", "1"]
    assert "1 rows of labels.csv that name no image here" in images.left_out


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1.png,dog\n2.png,cat\n1.png,cat\n3.png,dog\n", r"gives 1\.png the labels 'dog' and 'cat'"),
        ("1.png,dog\n2.png,\n3.png,dog\n", r"labels 2 of 3 images; 2\.png is not in it"),
    ],
)
def test_an_image_has_one_label(folder, tmp_path, rows, message):
    spec = folder("1.png", "2.png", "3.png")
    (tmp_path / "labels.csv").write_text(f"file_name,label\n{rows}")
    with pytest.raises(UserError, match=message):
        load(spec, "train")


def test_labels_that_a_table_hides_are_no_classes(folder, tmp_path):
    spec = folder("train/1.png", "train/2.png", "test/1.png", "test/2.png")
    (tmp_path / "train/labels.csv").write_text("file_name,label\n1.png,dog\n2.png,cat\n")
    (tmp_path / "test/labels.csv").write_text("file_name,label\n1.png,-1\n2.png,-1\n")
    test = load(spec, "test")
    assert test.labels is None and load(spec, "train").classes == ("cat", "dog")
    assert any("classes, which train has" in said for said in test.left_out)


def test_a_test_split_without_classes_says_so_and_train_keeps_its_own(folder):
    spec = folder("train/cat/1.png", "train/dog/1.png", "test/1.png", "test/2.png")
    assert load(spec, "train").classes == ("cat", "dog")
    line = describe(load(spec, "test"))
    assert "no classes" in line and "left out: classes, which train has" in line


def test_a_folder_of_files_that_are_no_images_is_named(folder, tmp_path):
    spec = folder("cat/1.png", "cat/2.png", "dog/1.png")
    (tmp_path / "bird").mkdir()
    (tmp_path / "bird/1.tga").write_bytes(b"")
    images = load(spec, "train")
    assert images.classes == ("cat", "dog")
    assert "folders without images (bird/)" in images.left_out


def test_a_link_to_a_folder_that_is_listed_is_named(folder, tmp_path):
    spec = folder("cat/1.png", "cat/2.png", "dog/1.png")
    (tmp_path / "kitty").symlink_to(tmp_path / "cat")
    images = load(spec, "train")
    assert images.classes == ("cat", "dog")
    assert "links to folders that are listed (kitty/)" in images.left_out


def test_images_that_decode_wrote_into_the_folder_are_no_data(folder, tmp_path):
    spec = folder("cat/1.png", "cat/2.png", "dog/1.png", "decoded/cat/1.png")
    (tmp_path / "decoded/.decoded").mkdir()
    assert load(spec, "train").classes == ("cat", "dog")
    assert load(f"{spec}/decoded", "train").classes == ("cat",)


def test_all_is_every_image_of_a_set_without_splits(folder):
    spec = folder(*(f"{key:02}.png" for key in range(40)))
    assert [len(load(spec, split)) for split in ("train", "test", "all", "auto")] == [38, 2, 40, 40]
    assert load(spec, "auto").split == "all"


def test_auto_names_the_splits_that_it_leaves_out(folder):
    spec = folder("train/1.png", "train/2.png", "val/1.png", "test/1.png")
    images = load(spec, "auto")
    assert (images.split, len(images)) == ("train", 2)
    assert "the splits validation and test (--split validation or --split test)" in images.left_out
    with pytest.raises(UserError, match="has splits of its own: name one of them: train, validation, test"):
        load(spec, "all")
