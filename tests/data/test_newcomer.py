"""A layout of one's own: one file, imported, and its data are found as the package's own are."""

import importlib
from pathlib import Path

import numpy as np

from vqvae.data import describe, find, load, open_stream

HERE = Path(__file__).parent


def test_a_layout_in_a_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(find, "_LAYOUTS", list(find._LAYOUTS))
    importlib.import_module("tests.data.newcomer")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 16, 16), dtype=np.uint8)
    (tmp_path / "train.raw").write_bytes(pixels[:20].tobytes())
    (tmp_path / "test.raw").write_bytes(pixels[20:].tobytes())
    train, test = load(str(tmp_path)), load(str(tmp_path), "test")
    assert describe(train) == "train: 20 grey images of 16x16, no classes; train.raw"
    assert np.array_equal(train.pixels[:, 0], pixels[:20])
    assert np.array_equal(test.pixels[:, 0], pixels[20:])
    assert len(open_stream(str(tmp_path))) == 20


def test_the_page_shows_the_whole_file():
    page = (HERE.parents[1] / "docs" / "extending.md").read_text()
    assert (HERE / "newcomer.py").read_text() in page
