"""A file is whole or absent."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vqvae.files import write_atomically, write_json


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("content", [b"", b"\x00\r\n\xff" * 1000])
def test_the_content_is_exact_and_nothing_else_is_left(tmp_path, content):
    write_atomically(tmp_path / "a.bin", content)
    assert contents(tmp_path) == {"a.bin": content}


def test_a_shorter_content_replaces_a_longer_one_whole(tmp_path):
    write_atomically(tmp_path / "a.bin", b"long content")
    write_atomically(tmp_path / "a.bin", b"new")
    assert contents(tmp_path) == {"a.bin": b"new"}


def test_content_that_cannot_be_written_leaves_the_old_file_and_no_temporary(tmp_path):
    write_atomically(tmp_path / "a.bin", b"old")
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a.bin", "text, not bytes")  # pyright: ignore[reportArgumentType]
    assert contents(tmp_path) == {"a.bin": b"old"}


def test_a_full_disk_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a.bin", b"old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a.bin", b"new")
    assert contents(tmp_path) == {"a.bin": b"old"}


def test_the_content_is_on_the_disk_before_the_name_points_at_it(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def traced_fsync(descriptor: int) -> None:
        events.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def traced_replace(source: Path, target: Path) -> None:
        events.append(("replace", str(source), Path(source).read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "replace", traced_replace)
    write_atomically(tmp_path / "a.bin", b"content")
    beside = events[0][1]
    assert Path(beside).parent == tmp_path
    assert events == [("fsync", beside), ("replace", beside, b"content"), ("fsync", str(tmp_path))]


def test_threads_that_write_one_file_at_once_all_succeed(tmp_path):
    contents_of = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            list(pool.map(lambda content: write_atomically(tmp_path / "a.bin", content), contents_of))
            [(name, content)] = contents(tmp_path).items()
            assert name == "a.bin" and content in contents_of


def test_a_missing_folder_is_an_error_and_stays_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "a.bin", b"content")
    assert contents(tmp_path) == {}


def test_a_folder_in_the_way_is_an_error_and_leaves_no_temporary(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "a", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_json_reads_back_as_it_was_and_fails_before_it_touches_the_file(tmp_path):
    value = {"b": [1, 2.5, None], "a": "é"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == value
    assert text.endswith("}\n")
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert contents(tmp_path) == {"a.json": text.encode()}
