"""Arrays, tensors, torch data sets and Hugging Face data sets are read as the same images in files are."""

import io
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.config import DataConfig, load_config
from vqvae.data import load, open_stream
from vqvae.errors import UserError
from vqvae.training import resume, train

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 12, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def same(images, pixels=PIXELS, labels=LABELS):
    expected = torch.as_tensor(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    same_labels = images.labels is None if labels is None else images.labels.tolist() == list(labels)
    return torch.equal(images.pixels, expected) and same_labels


class Items(torch.utils.data.Dataset):
    """A map-style data set of PIL images, arrays or tensors."""

    def __init__(self, items, classes=None):
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@dataclass
class ClassLabel:
    names: list
    dtype: str = "int64"


@dataclass
class Value:
    dtype: str


class Hub:
    """What a Hugging Face Dataset looks like; its Image feature decodes unless told not to."""

    @dataclass
    class Image:
        decode: bool = True

    def __init__(self, columns, features):
        self.columns, self.features = columns, features

    column_names = property(lambda self: list(self.columns))

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        row = {name: values[key] for name, values in self.columns.items()}
        for name, feature in self.features.items():
            if isinstance(feature, Hub.Image) and feature.decode:
                row[name] = Image.open(io.BytesIO(row[name]["bytes"]))
        return row

    def cast_column(self, name, feature):
        return Hub(self.columns, {**self.features, name: feature})


def hub(png, **columns):
    images = [{"bytes": png(pixels), "path": None} for pixels in PIXELS]
    values = {"image": images, **{name: list(values) for name, (values, _) in columns.items()}}
    return Hub(values, {"image": Hub.Image(), **{name: kind for name, (_, kind) in columns.items()}})


def test_an_array_is_its_pixels_whatever_the_order_of_its_axes():
    for pixels in (
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2),
        torch.as_tensor(PIXELS),
        torch.as_tensor(PIXELS).permute(0, 3, 1, 2),
    ):
        images = load(pixels)
        assert same(images, labels=None)
        assert images.fingerprint == load(PIXELS).fingerprint
    assert same(load((PIXELS, LABELS)))
    assert load((PIXELS, ["cat", "dog", "ant"] * 10)).classes == ("ant", "cat", "dog")


def test_grey_arrays_need_no_axis_of_channels():
    grey = PIXELS[..., 0]
    for pixels in (grey, grey[..., None], grey[:, None]):
        images = load(pixels)
        assert images.shape == (1, 8, 12)
        assert np.array_equal(images.pixels[:, 0], grey)


def test_a_fourth_channel_lies_on_white():
    pixels = np.zeros((2, 5, 6, 4), np.uint8)
    assert (load(pixels).pixels == 255).all()


def test_wide_and_floating_pixels_need_or_have_a_range():
    with pytest.raises(UserError, match=r"cannot decode image 0.*floating-point.*--data\.range MIN,MAX"):
        load(PIXELS[:1] / 255)
    assert same(load(PIXELS / 255, pixel_range=(0, 1)), labels=None)
    assert same(load((PIXELS / 127.5 - 1).astype(np.float32), pixel_range=(-1, 1)), labels=None)
    assert same(load(PIXELS.astype(np.uint16) * 257), labels=None)
    twelve = PIXELS.astype(np.uint16) * 16
    assert load(twelve).pixels.max() <= 16
    assert load(twelve, pixel_range="auto").pixel_range == (0, 4095)
    with pytest.raises(UserError, match="int64 pixels have no known range"):
        load(PIXELS[:1].astype(np.int64) - 1)


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
@pytest.mark.parametrize("labelled", [True, False])
def test_items_of_a_torch_dataset(kind, labelled):
    make = {
        "pil": Image.fromarray,
        "array": lambda pixels: pixels,
        "tensor": lambda pixels: torch.as_tensor(pixels).permute(2, 0, 1),
    }[kind]
    items = [
        (make(pixels), int(label)) if labelled else make(pixels)
        for pixels, label in zip(PIXELS, LABELS, strict=True)
    ]
    images = load(Items(items, classes=["ant", "bee", "cat"]))
    assert same(images, labels=LABELS if labelled else None)
    assert images.classes == (("ant", "bee", "cat") if labelled else ())
    assert same(load(items), labels=LABELS if labelled else None)
    assert same(
        load(torch.utils.data.Subset(Items(items), range(5))), PIXELS[:5], LABELS[:5] if labelled else None
    )


def test_a_hugging_face_dataset(png):
    data = hub(png, label=(LABELS, ClassLabel(["ant", "bee", "cat"])), width=([12] * 30, Value("int64")))
    images = load(data)
    assert same(images)
    assert images.classes == ("ant", "bee", "cat")
    words = hub(png, kind=(["dog", "cat", "owl"] * 10, Value("string")))
    assert load(words).labels is None
    assert "kind (--data.label COLUMN" in load(words).left_out[0]
    assert load(words, label="kind").classes == ("cat", "dog", "owl")
    with pytest.raises(UserError, match=r"--data\.label king: no such column of labels; did you mean 'kind'"):
        load(words, label="king")


def test_a_mapping_names_the_splits(png):
    splits = {
        "train": (PIXELS[:20], LABELS[:20]),
        "test": (PIXELS[20:26], LABELS[20:26]),
        "validation": PIXELS[26:],
    }
    assert same(load(splits), PIXELS[:20], LABELS[:20])
    assert same(load(splits, "test"), PIXELS[20:26], LABELS[20:26])
    assert same(load(splits, "validation"), PIXELS[26:], None)
    with pytest.raises(UserError, match="no split is called 'holdout'"):
        load({"holdout": PIXELS})


def test_an_object_is_split_streamed_and_limited_as_files_are():
    for split in ("train", "test"):
        assert same(load((PIXELS, LABELS), split))
    train, validation = (load((PIXELS, LABELS), split, validation=0.2) for split in ("train", "validation"))
    assert same(train, PIXELS[:24], LABELS[:24])
    assert same(validation, PIXELS[24:], LABELS[24:])
    stream = open_stream(PIXELS, "train", limit=9)
    assert torch.equal(
        torch.cat([pixels for _, pixels in stream.iter_batches()]), load(PIXELS, "train").pixels[:9]
    )
    changed = PIXELS.copy()
    changed[0] ^= 1
    assert open_stream(changed, "train", limit=9).fingerprint != stream.fingerprint
    assert same(load({"train": train, "test": validation}, "test"), PIXELS[24:], LABELS[24:])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "data is of type int: pass a path"),
        (np.zeros((5, 3, 9, 3), np.uint8), "axis 1 and axis 3 could both be the channels"),
        (np.zeros((5, 9, 9, 2), np.uint8), r"pixels \[5, 9, 9, 2\]: expected"),
        (np.zeros((0, 9, 9, 3), np.uint8), "there is no image in it"),
        ((np.zeros((5, 9, 9, 3), np.uint8), [1, 2]), "2 labels for 5 images"),
        ((np.zeros((5, 9, 9, 3), np.uint8), [0.5] * 5), "labels of type float64"),
        ([object()], "image 0 of .* is of type object"),
    ],
)
def test_what_is_no_set_of_images(data, message):
    with pytest.raises(UserError, match=message):
        load(data)


def test_a_config_reads_an_object_in_place_of_its_spec_and_records_what_it_was():
    config = DataConfig(validation=4)
    train = config.training_images(4, data=(PIXELS, LABELS))
    validation = config.validation_images(4, train=train, data=(PIXELS, LABELS))
    assert (len(train), len(validation)) == (26, 4)
    recorded = config.as_read(train)
    assert recorded.spec == f"object: array of 30 images, SHA-256 {train.fingerprint[:16]}"
    with pytest.raises(UserError, match=r"was an object in Python: pass it again, as in vqvae\.resume"):
        recorded.training_images(4)
    assert recorded.training_images(4, data=(PIXELS, LABELS)).fingerprint == train.fingerprint
    assert replace(config, stream=True).training_images(4, data=PIXELS).spec == "object: array of 30 images"


def test_a_run_trains_on_an_object_and_goes_on_with_the_same_alone(tmp_path, recipes):
    pixels = load("shapes", "test", limit=40).pixels.permute(0, 2, 3, 1).numpy()
    settings = {"training.steps": "4", "training.evaluate_every": "2", "training.checkpoint_every": "2"}
    config = load_config(recipes["tokenizer"], "tokenizer", settings)
    run = train(config, out=str(tmp_path / "run"), name="run", data=pixels)
    assert run.read_config().data.spec.startswith("object: array of 40 images, SHA-256 ")
    assert run.read_config().data.channels == 3
    changes = {"training.steps": 6}
    with pytest.raises(UserError, match=r"pass it again, as in vqvae\.resume"):
        resume(str(tmp_path / "run"), changes)
    with pytest.raises(UserError, match="are not the images that the run began with"):
        resume(str(tmp_path / "run"), changes, data=255 - pixels)
    assert resume(str(tmp_path / "run"), changes, data=pixels).read_config().training.steps == 6
