"""A read-only disk: what can be done is done, and what cannot be written is refused before the work."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vqvae.cli import main
from vqvae.commands import compare, compress, judge, reconstruct, sample
from vqvae.training import Run


@pytest.fixture
def read_only(tmp_path: Path, prior_run: Run) -> Iterator[Path]:
    """Return a read-only file system with a prior's run, as a tmpfs, or without write permission."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "none", disk], capture_output=True).returncode == 0
    if not mounted and os.geteuid() == 0:
        pytest.skip("root may write everywhere, and nothing can be mounted")
    try:
        shutil.copytree(prior_run.path, disk / "p")
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        else:
            for folder in (disk, *disk.rglob("*/")):
                folder.chmod(0o555)
        yield disk
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)
        else:
            for folder in (disk, *disk.rglob("*/")):
                folder.chmod(0o755)


def _fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_measurements_of_a_run_on_it_are_printed_and_one_line_says_they_are_not_kept(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(read_only / "p"), "--data", "shapes:60", "--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["nmse"] > 0
    [line] = [line for line in printed.err.splitlines() if "not kept" in line]
    assert f"{read_only}/p/evaluation.json: Read-only file system" in line or "Permission denied" in line


def test_pictures_into_it_are_refused_before_anything_is_drawn(
    read_only: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module, name in ((sample, "sample_picture"), (reconstruct, "reconstruction_picture")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("drawn first"))
    p, out = str(read_only / "p"), str(read_only / "x.png")
    for words in (("sample", p, "--out", out), ("reconstruct", p, "shapes:60", "--out", out)):
        assert "cannot be written to: choose another" in _fails(capsys, *words)
    assert "there is no folder" in _fails(capsys, "sample", p, "--out", str(tmp_path / "no/x.png"))
    (tmp_path / "there.png").write_bytes(b"")
    assert "exists and is not overwritten" in _fails(capsys, "sample", p, "--out", str(tmp_path / "there.png"))


def test_messages_name_the_file_that_was_asked_for(read_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _fails(capsys, "report", str(read_only / "p")).startswith(f"vqvae: {read_only}/p/report.html: ")
    assert ".tmp" not in _fails(capsys, "resume", str(read_only / "p"), "--steps", "20")
    assert "cannot make the run directory" in _fails(capsys, "train", "shapes", "--out", str(read_only / "t"))


def test_a_prior_is_sampled_and_its_codes_are_stored_elsewhere(read_only: Path, tmp_path: Path) -> None:
    main(["sample", str(read_only / "p"), "--num", "4", "--store", str(tmp_path / "codes")])
    main(["decode", str(tmp_path / "codes"), str(read_only / "p"), "--out", str(tmp_path / "images")])
    assert len([*(tmp_path / "images").rglob("*.png")]) == 4


@pytest.mark.parametrize(
    ("words", "option", "work"),
    [
        (["compare", "shapes", "shapes"], "--page", (compare, "compare")),
        (["judge", "--data", "cifar10"], "--out", (judge, "make_judge")),
        (["compress", "x.png", "--model", "shapes"], "--out", (compress, "compress")),
    ],
)
def test_a_file_into_a_folder_that_is_not_there_is_refused_before_the_work(
    words: list[str],
    option: str,
    work: tuple[ModuleType, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(*work, lambda *_, **__: pytest.fail("worked first"))
    out = tmp_path / "missing" / "x"
    says = f"vqvae: {option} {out}: there is no folder {out.parent}: make it first"
    assert _fails(capsys, *words, option, str(out)).splitlines() == [says]
