import gc
import threading
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vqvae.data import load, open_stream
from vqvae.data.blocks import Blocks
from vqvae.errors import UserError


@pytest.fixture
def folder(tmp_path, picture, save):
    """Return 600 images in two classes, two of them broken."""
    for key in range(600):
        save(tmp_path / "images" / "ab"[key % 2] / f"{key:03d}.png", picture(key))
    for key in (10, 200):
        (tmp_path / "images" / "ab"[key % 2] / f"{key:03d}.png").write_bytes(b"no image")
    return str(tmp_path / "images")


def good_rows(stream):
    return torch.cat([rows for rows, _ in stream.iter_batches()])


def test_a_stream_is_the_set_in_memory_row_for_row(folder):
    held, stream = load(folder, "train"), open_stream(folder, "train")
    assert stream.shape == held.shape
    assert stream.classes == held.classes
    assert len(stream) == len(held) + len(held.bad)
    assert torch.equal(torch.cat([pixels for _, pixels in stream.iter_batches()]), held.pixels)
    kept = good_rows(stream)
    assert torch.equal(stream.labels[kept], held.labels)
    mixed = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[:100]
    assert torch.equal(stream.pixels_of(kept[mixed]), held.pixels[mixed])


def test_the_fingerprint_tells_how_pixels_are_read(tmp_path):
    images = {name: np.zeros((4, 8, 8), np.uint16) for name in ("left", "right")}
    np.savez(tmp_path / "images.npz", **images)
    ways = ({"image": "left"}, {"image": "right"}, {"image": "left", "pixel_range": (0, 4095)})
    found = {open_stream(str(tmp_path), "train", **way).fingerprint for way in ways}
    assert len(found) == 3


def test_a_row_that_cannot_be_decoded_shows_the_next_and_is_said_once(folder, caplog):
    stream = open_stream(folder, "train")
    bad = sorted(set(range(len(stream))) - set(good_rows(stream).tolist()))
    assert len(bad) == 2
    for row in bad:
        assert torch.equal(stream.pixels_of(torch.tensor([row])), stream.pixels_of(torch.tensor([row + 1])))
    assert sorted(record.message for record in caplog.records) == [
        "skipped a/010.png: not an image of a known format",
        "skipped a/200.png: not an image of a known format",
    ]


def test_a_block_without_any_image_is_one_line(tmp_path):
    for key in range(3):
        (tmp_path / f"{key}.png").write_bytes(b"no image")
    stream = open_stream(str(tmp_path), "train", size=(8, 8), channels=3)
    with pytest.raises(UserError, match="none of its images 0 to 1 can be decoded"):
        stream.pixels_of(torch.tensor([0]))


def test_what_was_expected_is_what_is_held_and_the_rest_is_let_go():
    read, alive = [], []

    def block(rows):
        read.append(rows)
        pixels = torch.arange(rows.start, rows.stop)[:, None]
        alive.append(weakref.ref(pixels))
        return pixels

    blocks = Blocks(torch.tensor([10, 20, 30, 40]), block)
    blocks.prefetch(torch.tensor([5]), torch.tensor([12, 33]))
    assert blocks.pixels(torch.tensor([12, 5, 33, 13]))[:, 0].tolist() == [12, 5, 33, 13]
    assert sorted(rows.start for rows in read) == [0, 10, 30]
    blocks.prefetch(torch.tensor([39]), torch.tensor([30]))
    assert blocks.pixels(torch.tensor([39])).item() == 39
    assert len(read) == 3  # it was still there
    gc.collect()
    assert sum(pixels() is not None for pixels in alive) == 1


def test_what_was_not_begun_when_it_is_closed_is_never_read():
    begun, go_on = threading.Event(), threading.Event()
    read = []

    def block(rows):
        read.append(rows)
        begun.set()
        go_on.wait()
        return torch.arange(rows.start, rows.stop)[:, None]

    blocks = Blocks(torch.arange(10, 101, 10), block)
    blocks.prefetch(torch.arange(100))
    begun.wait()
    blocks.close()
    go_on.set()
    blocks._pool.shutdown()
    assert len(read) <= 2


def test_blocks_end_where_groups_of_rows_do(tmp_path, picture, png):
    images = [{"bytes": png(picture(key)), "path": None} for key in range(1000)]
    for name, rows in (("train", images), ("test", images[:3])):
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(rows, kind), "label": list(range(len(rows)))})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=150)
    stream = open_stream(str(tmp_path), "train")
    assert stream.source.ends.tolist() == [150, 300, 450, 600, 750, 900, 1000]
    read = []
    blocks = Blocks(stream._ends, lambda rows: read.append(rows) or stream._read(rows))
    expected = load(str(tmp_path), "train").pixels[[999, 300]]
    assert torch.equal(blocks.pixels(torch.tensor([999, 300])), expected)
    assert read == [range(300, 600), range(900, 1000)]


def test_limit_and_grey(tmp_path, picture, save):
    for key in range(40):
        save(tmp_path / f"{key:02d}.png", picture(key, grey=True))
    stream = open_stream(str(tmp_path), "train", limit=7)
    assert len(stream) == 7
    assert stream.shape == (1, 8, 8)
    assert torch.equal(stream.some(7).sum(), load(str(tmp_path), "train", limit=7).pixels.sum())
