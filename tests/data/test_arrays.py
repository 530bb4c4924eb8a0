"""Arrays in .npz and .npy files: what each array is follows from its words, and nothing is guessed in silence."""

import pickle
import zipfile

import numpy as np
import pytest

from vqvae.data import describe, load, open_stream
from vqvae.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 12, 3), dtype=np.uint8)
LABELS = np.arange(40) % 3


def same(images, rows=slice(None), labels=None):
    assert np.array_equal(images.pixels.permute(0, 2, 3, 1).numpy(), PIXELS[rows])
    assert labels is None or images.labels.tolist() == list(labels)


def npz(folder, name="set.npz", **arrays):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / name, **arrays)
    return folder / name


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "targets_train", "X_val", "targets_val"),
        ("train/data", "train/fine_labels", "test/data", "test/fine_labels"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_the_words_of_a_key_say_which_split_and_which_labels(tmp_path, names, whole):
    values = (PIXELS[:30], LABELS[:30], PIXELS[30:], LABELS[30:, None])
    file = npz(tmp_path, **dict(zip(names, values, strict=True)))
    spec = str(tmp_path if whole else file)
    same(load(spec), slice(30), LABELS[:30])
    same(load(spec, "test"), slice(30, 40), LABELS[30:])
    assert load(spec).classes == ("0", "1", "2")


def test_files_of_one_array_each(tmp_path):
    for split, rows in (("train", slice(30)), ("test", slice(30, 40))):
        npz(tmp_path / "kuzushiji", f"kmnist-{split}-imgs.npz", arr_0=PIXELS[rows])
        npz(tmp_path / "kuzushiji", f"kmnist-{split}-labels.npz", arr_0=LABELS[rows])
        folder = tmp_path / "plain" / split
        folder.mkdir(parents=True)
        np.save(folder / "images.npy", PIXELS[rows])
        np.save(folder / "labels.npy", np.array(["ant", "bee", "cat"])[LABELS[rows]])
    for name in ("kuzushiji", "plain"):
        same(load(str(tmp_path / name)), slice(30), LABELS[:30])
        same(load(str(tmp_path / name), "test"), slice(30, 40), LABELS[30:])
    assert load(str(tmp_path / "plain")).classes == ("ant", "bee", "cat")


def test_without_words_of_splits_all_is_for_training_and_some_held_out(tmp_path):
    np.save(tmp_path / "faces.npy", PIXELS)
    train, test = load(str(tmp_path / "faces.npy")), load(str(tmp_path), "test")
    assert (len(train), len(test)) == (38, 2)
    assert train.labels is None
    assert "faces.npy, uint8 [40, 8, 12, 3]" in describe(train)


def test_an_npy_file_is_mapped_and_streams_as_it_loads(tmp_path):
    np.save(tmp_path / "train.npy", PIXELS)
    stream = open_stream(str(tmp_path))
    item = next(iter(stream.source.items(np.arange(1)))).content
    assert isinstance(item.base, np.memmap) or isinstance(item, np.memmap)
    whole = load(str(tmp_path))
    rows = [pixels for _, pixels in stream.iter_batches()]
    assert np.array_equal(np.concatenate(rows), whole.pixels)


def test_parts_follow_their_numbers(tmp_path):
    for part, rows in (("2", slice(10, 20)), ("10", slice(20, 40)), ("1", slice(10))):
        npz(tmp_path, f"train_batch_{part}.npz", data=PIXELS[rows], labels=LABELS[rows])
    npz(tmp_path, "val.npz", data=PIXELS[:2], labels=LABELS[:2])
    same(load(str(tmp_path)), slice(None), LABELS)


def test_grey_and_channels_first(tmp_path):
    for name, pixels in (
        ("hw", PIXELS[..., 0]),
        ("hwc", PIXELS[..., :1]),
        ("chw", PIXELS[..., :1].transpose(0, 3, 1, 2)),
    ):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "train.npy", pixels)
        np.save(tmp_path / name / "test.npy", pixels[:2])
        assert np.array_equal(load(str(tmp_path / name)).pixels[:, 0], PIXELS[..., 0])
    np.save(tmp_path / "chw.npy", PIXELS.transpose(0, 3, 1, 2))
    npz(tmp_path, "colour.npz", x_train=PIXELS.transpose(0, 3, 1, 2), x_test=PIXELS[:2])
    same(load(str(tmp_path / "colour.npz")))


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((8, 12, 3), r"\[8, 12, 3\]: one image, or 8 grey ones\? put all images into one array \[N, H, W, C\]"),
        ((3, 8, 12), r"one image, or 3 grey ones\?"),
        ((40, 3, 8, 3), r"axis 1 and axis 3 could both be the channels"),
        ((40, 8, 12, 2), r"expected \[N, H, W, C\]"),
        ((40, 96), r"no array of images: train\.npy uint8 \[40, 96\]; expected \[N, H, W, C\]"),
        ((0, 8, 12, 3), r"there is no image in it"),
    ],
)
def test_shapes_that_could_mean_two_things_are_refused(tmp_path, shape, says):
    np.save(tmp_path / "train.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=rf"^[^\n]*{says}[^\n]*$"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("values", "says", "pixel_range"),
    [
        (PIXELS / 255, "floating-point pixels have no known range: pass --data.range MIN,MAX", (0, 1)),
        (PIXELS.astype(np.float32), "floating-point pixels have no known range", (0, 255)),
        (PIXELS.astype(np.int64), "int64 pixels have no known range: pass --data.range auto or MIN,MAX", "auto"),
    ],
)
def test_pixels_of_other_types_need_a_range(tmp_path, values, says, pixel_range):
    npz(tmp_path, x_train=values, x_test=values[:2])
    with pytest.raises(UserError, match=says):
        load(str(tmp_path))
    same(load(str(tmp_path), pixel_range=pixel_range))
    if values.dtype.kind == "f":
        with pytest.raises(UserError, match="auto is for whole numbers"):
            load(str(tmp_path), pixel_range="auto")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_pickles_are_never_loaded(tmp_path):
    bombs = np.array([_Bomb()] * 3, object)
    np.save(tmp_path / "train.npy", bombs, allow_pickle=True)
    with pytest.raises(UserError, match=r"^[^\n]*object \[3\][^\n]*a pickle, which is never loaded$"):
        load(str(tmp_path))
    (tmp_path / "train.npy").unlink()
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(UserError, match=r"^cannot read raw\.npy at"):
        load(str(tmp_path))
    (tmp_path / "raw.npy").unlink()
    np.savez(tmp_path / "set.npz", x_train=PIXELS, x_test=PIXELS[:1], notes_train=bombs, allow_pickle=True)
    images = load(str(tmp_path))
    same(images)
    assert "notes" in images.left_out[0]


def test_labels_by_name_and_classes_by_name(tmp_path):
    npz(
        tmp_path,
        images=PIXELS,
        age=LABELS + 1,
        species=LABELS,
        masks=PIXELS[..., 0],
        names=np.array(["a", "b", "c"]),
    )
    images = load(str(tmp_path), validation=0)
    assert images.labels is None
    assert "species" in images.left_out[0] and "--data.label" in images.left_out[0]
    images = load(str(tmp_path), label="species")
    assert images.classes == ("a", "b", "c")
    assert images.left_out == ("the arrays age, masks",)
    with pytest.raises(
        UserError, match=r"--data\.label specie: no such column of labels; did you mean 'species'\?"
    ):
        load(str(tmp_path), label="specie")
    assert load(str(tmp_path), image="masks").shape[0] == 1
    with pytest.raises(UserError, match=r"--data\.image mask: no such column of images; did you mean 'masks'\?"):
        load(str(tmp_path), image="mask")


def test_what_is_unclear_is_refused(tmp_path):
    npz(tmp_path / "two", "mnist.npz", x_train=PIXELS)
    npz(tmp_path / "two", "fashion.npz", x_train=PIXELS)
    with pytest.raises(
        UserError, match=r"several arrays could be the images \(fashion\.npz x_train, mnist\.npz x_train\)"
    ):
        load(str(tmp_path / "two"))
    npz(tmp_path / "short", x_train=PIXELS, y_train=LABELS[:-1])
    with pytest.raises(UserError, match=r"the labels set\.npz y_train int64 \[39\] for 40 images"):
        load(str(tmp_path / "short"))
    npz(tmp_path / "hot", x_train=PIXELS, y_train=np.eye(3)[LABELS])
    with pytest.raises(UserError, match=r"expected whole numbers \[40\]"):
        load(str(tmp_path / "hot"))


def test_arrays_beside_image_files(tmp_path, picture, save):
    for key in range(40):
        save(tmp_path / "ab"[key % 2] / f"{key}.png", picture(key))
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(4), sigma=np.eye(4))
    assert load(str(tmp_path)).classes == ("a", "b")
    npz(tmp_path, "samples.npz", arr_0=PIXELS)
    with pytest.raises(UserError, match=r"image files and arrays of images \(samples\.npz arr_0\): pass one of"):
        load(str(tmp_path))
    assert len(load(str(tmp_path / "samples.npz"))) == 38


def test_damaged_files_are_one_line(tmp_path):
    path = npz(tmp_path, x_train=PIXELS, x_test=PIXELS)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", whole[:100], b"PK\x03\x04" + bytes(30)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"^cannot read set\.npz at [^\n]*; download or write it again$"):
            load(str(tmp_path))
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match=r"a Git LFS pointer, not the file itself: run git lfs pull$"):
        load(str(tmp_path))
    path.unlink()
    np.save(tmp_path / "train.npy", PIXELS)
    whole = (tmp_path / "train.npy").read_bytes()
    (tmp_path / "train.npy").write_bytes(whole[:-5])
    with pytest.raises(UserError, match=r"^cannot read train\.npy at"):
        load(str(tmp_path))


def test_a_header_that_lies_about_its_size(tmp_path):
    lie = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    lie += b"{'descr': '|u1', 'fortran_order': False, 'shape': (10000000, 1000, 1000, 3), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as file:
        file.writestr("x_train.npy", lie + bytes(100))
    with pytest.raises(UserError, match=r"^cannot read set\.npz at"):
        load(str(tmp_path))


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_sixteen_bits_in_either_order_of_bytes(tmp_path, kind):
    npz(tmp_path, x_train=(PIXELS.astype(np.uint16) * 257).astype(kind), x_test=PIXELS[:1])
    same(load(str(tmp_path)))
