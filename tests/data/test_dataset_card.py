"""A snapshot of the Hub: the card beside the files names the classes that the files only number."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vqvae.data import load

CARD = """---
license: unknown
dataset_info:
  config_name: plain_text
  features:
  - name: img
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': airplane
          '1': automobile
          '2': bird
  splits:
  - name: train
---

# Dataset card
"""


def _write(folder, numbers=(0, 2, 1, 0)):
    encoded = io.BytesIO()
    Image.new("RGB", (8, 8)).save(encoded, "PNG")
    images = [{"bytes": encoded.getvalue(), "path": None}] * len(numbers)
    folder.joinpath("plain_text").mkdir(parents=True)
    for split in ("train", "test"):
        table = pa.table({"img": images, "label": list(numbers)})
        pq.write_table(table, folder / f"plain_text/{split}-00000-of-00001.parquet")
    return folder


def test_classes_have_the_names_of_the_card(tmp_path):
    folder = _write(tmp_path / "cifar10")
    assert load(str(folder)).classes == ("0", "1", "2")
    (folder / "README.md").write_text(CARD)
    for split in ("train", "test"):
        images = load(str(folder), split)
        assert images.classes == ("airplane", "automobile", "bird")
        assert images.labels.tolist() == [0, 2, 1, 0]


@pytest.mark.parametrize(
    "card",
    [
        "# no front matter\n",
        "---\n[broken\n---\n",
        CARD.replace("name: label", "name: other"),
        CARD.replace("'1': automobile", "'7': automobile"),
        "---\ndataset_info: 3\n---\n",
        "---\ndataset_info:\n- features: []\n---\n",
        "\xff\xfe---",
        "---\n" + "[" * 5000 + "\n---\n",
    ],
)
def test_a_card_without_them_leaves_the_numbers(tmp_path, card):
    folder = _write(tmp_path / "cifar10")
    (folder / "README.md").write_text(card, "latin-1")
    assert load(str(folder)).classes == ("0", "1", "2")


def test_configurations_with_other_classes_leave_the_numbers(tmp_path):
    folder = _write(tmp_path / "cifar10")
    info = CARD.partition("dataset_info:\n")[2].partition("\n---")[0].replace("\n  ", "\n    ")
    both = f"---\ndataset_info:\n  -{info[1:]}\n  -{info[1:].replace('bird', 'fish')}\n---\n"
    (folder / "README.md").write_text(both)
    assert load(str(folder)).classes == ("0", "1", "2")
    (folder / "README.md").write_text(both.replace("fish", "bird"))
    assert load(str(folder)).classes == ("airplane", "automobile", "bird")
