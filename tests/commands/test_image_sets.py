"""The sides of a comparison: which images belong together, how images are read, and which sizes fit."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.commands.compare import Comparison, compare
from vqvae.commands.image_sets import Side, SideOptions, pairs_of
from vqvae.errors import UserError
from vqvae.training import Run

Save = Callable[..., str]


def quick(a: str, b: str, **options) -> Comparison:
    return compare(a, b, resampled=0, **options)


def test_names_pair_by_stem_or_by_number_or_not() -> None:
    def side(*names: str) -> Side:
        return Side(torch.zeros(len(names), 3, 1, 1, dtype=torch.uint8), names, {})

    a = side("cat/1.png", "dog/1.png", "cat/2.png")
    assert pairs_of(a, side("dog/1.webp", "cat/2.jpeg", "cat/9.png"), "name") == [(1, 0), (2, 1)]
    assert pairs_of(a, side("1.png"), "name") == [] == pairs_of(a, a, "none")
    both = side("a.png", "a.jpg")  # of one stem: they are told apart by their endings
    assert pairs_of(both, both, "name") == [(0, 0), (1, 1)]
    rows = side("test.parquet row 0", "test.parquet row 17")
    assert pairs_of(rows, side("00000017.png", "cat/00000000.png"), "number") == [(0, 1), (1, 0)]
    webp = side("a.webp", "b.webp")
    assert pairs_of(side("a.png", "b.png"), webp, "name") == [(0, 0), (1, 1)]
    with pytest.raises(UserError, match="--pair number: 2 images of one side have the number 1"):
        pairs_of(a, rows, "number")


def test_endings_count_on_both_sides_or_on_neither(capsys: pytest.CaptureFixture[str]) -> None:
    def side(*names: str) -> Side:
        return Side(torch.zeros(len(names), 3, 1, 1, dtype=torch.uint8), names, {})

    several, one = side("a.png", "a.jpg", "b.png"), side("b.png", "a.png")
    assert pairs_of(several, one, "name") == [(0, 1), (2, 0)]
    assert pairs_of(one, several, "name") == [(0, 2), (1, 0)]
    line = "several images of one side are called a: names form pairs with their endings\n"
    assert capsys.readouterr().err == line * 2
    assert pairs_of(one, side("a.webp"), "name") == [(1, 0)] and not capsys.readouterr().err


def test_sizes_that_differ_are_refused_with_the_option_that_mends_it(
    save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in Path(save("png", "png")).iterdir():
        Image.open(path).resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / path.name)
    with pytest.raises(SystemExit) as stop:
        main(["compare", save("png", "png"), str(tmp_path)])
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and "3x32x32" in line and "--data.size 32x32 --data.fit crop" in line
    main(["compare", save("png", "png"), str(tmp_path), "--data.size", "32x32", "--data.fit", "crop", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert 20 < found["psnr"] < math.inf and found["protocol"]["b"]["crop"] == "crop"


def resized(save: Save, folder: Path, side: int) -> str:
    folder.mkdir()
    for path in Path(save("png", "png")).iterdir():
        Image.open(path).resize((side, side), Image.Resampling.BICUBIC).save(folder / path.name)
    return str(folder)


def test_the_advice_about_sizes_is_the_size_of_the_side_that_cannot_change(
    save: Save, tokenizer_run: Run, prior_run: Run, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    main(["encode", str(tokenizer_run.path), "--data", save("png", "png"), "--split", "train", "--out", store])
    plain = SideOptions(tokenizer=str(tokenizer_run.path))
    scaled = replace(plain, reading={"data.size": "32x32", "data.fit": "crop"})
    for size in (16, 48):
        images = resized(save, tmp_path / f"of-{size}", size)
        for a, b in ((images, store), (store, images), (images, str(prior_run.path))):
            with pytest.raises(UserError, match=r"pass --data\.size 32x32 --data\.fit crop"):
                quick(a, b, options=plain)
        assert quick(images, store, options=scaled).b.pixels.shape[2:] == (32, 32)


def test_stores_of_two_sizes_are_refused_without_advice_that_cannot_help(
    save: Save, tokenizer_run: Run, tmp_path: Path
) -> None:
    run, stores = str(tokenizer_run.path), [str(tmp_path / "small"), str(tmp_path / "large")]
    for store, size in zip(stores, ("16x16", "32x32"), strict=True):
        words = ["encode", run, "--data", save("png", "png"), "--split", "train", "--out", store]
        main([*words, "--data.size", size, "--data.fit", "crop"])
    with pytest.raises(UserError, match="neither can be scaled: compare sets of one size"):
        quick(*stores, options=SideOptions(tokenizer=run))


def test_images_beside_a_grey_store_are_read_as_grey(save: Save, train_tokenizer, tmp_path: Path) -> None:
    run = str(train_tokenizer(tmp_path / "grey", data__channels="1").path)
    main(["encode", run, "--data", save("png", "png"), "--split", "train", "--out", str(tmp_path / "store")])
    options = SideOptions(tokenizer=run)
    one = quick(save("png", "png"), str(tmp_path / "store"), options=options)
    other = quick(str(tmp_path / "store"), save("png", "png"), options=options)
    assert one.a.pixels.shape[1:] == one.b.pixels.shape[1:] == other.b.pixels.shape[1:] == (1, 32, 32)
    assert one.to_dict()["psnr"] == pytest.approx(other.to_dict()["psnr"])


def test_a_store_in_the_home_folder_is_found(
    save: Save, tokenizer_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = str(tokenizer_run.path)
    words = ["encode", run, "--data", save("png", "png"), "--split", "train", "--out", str(tmp_path / "store")]
    main(words)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = quick("~/store", save("png", "png"), options=SideOptions(tokenizer=run))
    assert len(found.a.pixels) == 38  # without 5 % of 40, the test split
