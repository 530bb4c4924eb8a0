"""Folders as people have them: tiny-ImageNet as distributed, and the camera folder of a phone."""

import numpy as np
import pytest
from PIL import Image

from vqvae.data import describe, load
from vqvae.errors import UserError

TURNED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _photo(seed, size=(48, 32)):
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def tiny(tmp_path):
    """Return tiny-ImageNet's layout: train/WNID/images, val with a table, test without labels."""
    wnids = ("n01443537", "n01629819", "n01641577")
    for wnid in wnids:
        images = tmp_path / "train" / wnid / "images"
        images.mkdir(parents=True)
        for row in range(4):
            _photo(row, (64, 64)).save(images / f"{wnid}_{row}.JPEG")
        boxes = "".join(f"{wnid}_{row}.JPEG\t0\t10\t63\t58\n" for row in range(4))
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
    for split in ("val", "test"):
        (tmp_path / split / "images").mkdir(parents=True)
        for row in range(3):
            _photo(row, (64, 64)).save(tmp_path / split / "images" / f"{split}_{row}.JPEG")
    lines = "".join(f"val_{row}.JPEG\t{wnids[2 - row]}\t0\t32\t44\t62\n" for row in range(3))
    (tmp_path / "val/val_annotations.txt").write_text(lines)
    (tmp_path / "wnids.txt").write_text("\n".join(reversed(wnids)) + "\n")
    (tmp_path / "words.txt").write_text("".join(f"{wnid}\tsome, thing\n" for wnid in wnids))
    return tmp_path


def test_tiny_imagenet_has_its_classes_in_train_and_by_its_table_in_validation(tiny):
    train = load(str(tiny), "train", validation="auto")
    assert (len(train), train.classes) == (12, ("n01443537", "n01629819", "n01641577"))
    validation = load(str(tiny), "validation", validation="auto")
    assert validation.labels.tolist() == [2, 1, 0] and validation.classes == train.classes
    assert "labels from val_annotations.txt" in describe(validation)


def test_tiny_imagenets_test_images_have_no_labels_and_the_line_says_so(tiny):
    test = load(str(tiny), "test")
    assert len(test) == 3 and test.labels is None
    assert "classes, which train has: the images of this split have none" in describe(test)


def test_a_table_that_lacks_an_image_of_tiny_imagenet_is_refused(tiny):
    table = tiny / "val/val_annotations.txt"
    table.write_text(table.read_text().partition("\n")[2])
    with pytest.raises(UserError, match=r"labels 2 of 3 images; .*val_0.JPEG is not in it"):
        load(str(tiny), "validation", validation="auto")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_all_eight_orientations_of_a_phone_are_upright_in_every_format(tmp_path, kind):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    photo = _photo(0)
    for orientation, turn in TURNED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = photo if turn is None else photo.transpose(turn)
        file = tmp_path / f"IMG_{orientation}.{'heic' if kind == 'HEIF' else kind.lower()}"
        stored.save(file, kind, exif=exif.tobytes(), **({} if kind in ("PNG", "TIFF") else {"quality": 95}))
    images = load(str(tmp_path), "all")
    assert images.shape == (3, 32, 48) and len(images) == 8
    expected = np.asarray(photo).astype(int).transpose(2, 0, 1)
    assert max(np.abs(pixels.numpy() - expected).mean() for pixels in images.pixels) < 8


def test_a_camera_folder_is_cropped_to_one_size_and_says_what_is_no_image(tmp_path):
    folder = tmp_path / "DCIM/100APPLE"
    folder.mkdir(parents=True)
    for row, size in enumerate([(48, 32), (32, 48), (48, 32), (40, 40), (64, 48)]):
        _photo(row, size).save(folder / f"IMG_{row:04}.{'PNG' if row == 3 else 'JPG'}")
    (folder / "IMG_0001.AAE").write_text("<plist/>")
    (folder / "IMG_0009.MOV").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(200))
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / "._IMG_0000.JPG").write_bytes(b"\0\5\x16\7")
    (tmp_path / "DCIM/.DS_Store").write_bytes(b"x")
    images = load(str(tmp_path), "all", fit="crop", multiple_of=4)
    assert images.shape == (3, 32, 48), "the most common size, upright"
    assert len(images) == 5 and not images.bad
    assert "left out: 2 files of other kinds (.aae 1, .mov 1)" in describe(images)
    with pytest.raises(UserError, match=r"IMG_0001.JPG differs from 32x48 .*--data.size 32x48 --data.fit crop"):
        load(str(tmp_path), "all")


def test_a_video_that_is_called_a_photo_is_named_with_the_reason(tmp_path):
    for row in range(3):
        _photo(row).save(tmp_path / f"{row}.jpg")
    (tmp_path / "live.heic").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(200))
    images = load(str(tmp_path), "all")
    assert [(bad.path, bad.reason) for bad in images.bad] == [
        ("live.heic", "a video or an image, which is not read: convert it to PNG or JPEG")
    ]
