import pickle

import numpy as np
import pytest

from vqvae.data import load
from vqvae.errors import UserError

_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def _write(path, labels, images):
    """Write CIFAR's records: label bytes [n, 1 or 2], then planes of pixels [n, 32, 32, 3]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(np.concatenate([labels.astype(np.uint8), planes], axis=1).tobytes())


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (25, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def cifar10(tmp_path, images):
    labels = (np.arange(25) % 10)[:, None]
    folder = tmp_path / "cifar-10-batches-bin"
    # Eleven batches: number 10 must not come between 1 and 2.
    for batch in range(11):
        _write(folder / f"data_batch_{batch + 1}.bin", labels[2 * batch :][:2], images[2 * batch :][:2])
    _write(folder / "test_batch.bin", labels[22:], images[22:])
    (folder / "batches.meta.txt").write_text("\n".join(_NAMES) + "\n\n")
    return folder


@pytest.mark.parametrize("parent", [False, True])
def test_cifar10_round_trips(cifar10, images, parent):
    spec = str(cifar10.parent if parent else cifar10)
    train, test = load(spec, "train"), load(spec, "test")
    assert np.array_equal(train.pixels.permute(0, 2, 3, 1).numpy(), images[:22])
    assert np.array_equal(test.pixels.permute(0, 2, 3, 1).numpy(), images[22:])
    assert train.labels.tolist() == [row % 10 for row in range(22)]
    assert test.labels.tolist() == [2, 3, 4]
    assert train.classes == _NAMES


def test_cifar100_uses_its_fine_labels(tmp_path, images):
    labels = np.stack([np.full(25, 7), np.arange(25) * 4], axis=1)
    _write(tmp_path / "train.bin", labels[:20], images[:20])
    _write(tmp_path / "test.bin", labels[20:], images[20:])
    train = load(str(tmp_path), "train")
    assert np.array_equal(train.pixels.permute(0, 2, 3, 1).numpy(), images[:20])
    assert train.labels.tolist() == [row * 4 for row in range(20)]
    assert train.classes == tuple(str(label) for label in range(100))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"thing{label}" for label in range(100)))
    assert load(str(tmp_path), "test").classes[99] == "thing99"


def test_a_batch_that_was_cut_short(cifar10):
    path = cifar10 / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"data_batch_3\.bin.*: 6145 bytes .* multiple of 3073: .*again$"):
        load(str(cifar10), "train")


def test_a_label_that_cifar_does_not_have(cifar10, images):
    _write(cifar10 / "test_batch.bin", np.array([[10]]), images[:1])
    with pytest.raises(UserError, match=r"^label 10 in .*: CIFAR-10 has 0 to 9$"):
        load(str(cifar10), "test")


def test_a_missing_split(cifar10):
    (cifar10 / "test_batch.bin").unlink()
    with pytest.raises(UserError, match=r"lacks test_batch\.bin or test\.bin$"):
        load(str(cifar10), "test")


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("names", [["data_batch_1", "test_batch"], ["train", "test", "meta"]])
@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
def test_pickled_batches_are_never_loaded(tmp_path, names, inner):
    (tmp_path / inner).mkdir(exist_ok=True)
    for name in names:
        (tmp_path / inner / name).write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(UserError, match=r"pickles and never loaded .* cifar-10-binary\.tar\.gz"):
        load(str(tmp_path), "train")
