"""``vqvae inpaint``: a hole in pixels becomes a hole in codes, and mistakes are one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.commands.inpaint import inpaint_picture, kept_positions
from vqvae.commands.resolve import open_prior_run
from vqvae.errors import UserError
from vqvae.training import Run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.radial_gradient("L").resize((32, 32)).convert("RGB").save(path)
    return path


def _mask(path: Path, box: tuple[int, int, int, int] | None, size: int = 32) -> str:
    picture = Image.new("L", (size, size))
    if box:
        picture.paste(255, box)
    picture.save(path)
    return str(path)


def _fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("vqvae: ")
    return lines[0]


def test_a_position_is_kept_when_its_whole_patch_lies_outside_the_hole() -> None:
    for y, x in ((0, 0), (3, 7), (4, 4), (11, 7)):
        hole = torch.zeros(12, 8, dtype=torch.bool)
        hole[y, x] = True
        expected = torch.ones(3, 2, dtype=torch.bool)
        expected[y // 4, x // 4] = False
        assert torch.equal(kept_positions(hole, 4), expected)


def test_a_mask_and_its_box_give_the_same_picture(prior_run: Run, photo: Path, tmp_path: Path) -> None:
    mask = _mask(tmp_path / "mask.png", (4, 8, 20, 24))  # left, top, right, bottom
    outs = [tmp_path / f"{name}.png" for name in "abc"]
    command = ["inpaint", str(prior_run.path), str(photo), "--num", "3", "--candidates", "2", "--label", "star"]
    main([*command, "--mask", mask, "--out", str(outs[0])])
    main([*command, "--box", "8,4,16,16", "--out", str(outs[1])])
    main([*command, "--box", "8,4,16,16", "--guidance", "4", "--seed", "1", "--out", str(outs[2])])
    one, same, other = (out.read_bytes() for out in outs)
    assert one == same != other
    strokes = Image.new("RGBA", (32, 32))  # white on transparent, as drawing programs save it
    strokes.paste((255, 255, 255, 255), (4, 8, 20, 24))
    strokes.save(tmp_path / "strokes.png")
    main([*command, "--mask", str(tmp_path / "strokes.png"), "--out", str(tmp_path / "d.png")])
    assert (tmp_path / "d.png").read_bytes() == one
    with Image.open(outs[0]) as picture:
        assert picture.size == (5 * 64 + 4 * 2, 64)


def test_a_mask_that_is_no_picture_is_one_line(prior_run: Run, photo: Path, tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    for name, says in (
        ("large", "Image size .* exceeds limit"),
        ("broken", "not an image"),
        ("none", "no such file"),
    ):
        with pytest.raises(UserError, match=says):
            inpaint_picture(open_prior_run(prior_run.path), str(photo), mask=str(tmp_path / f"{name}.png"))


def test_a_depth_varies_the_details_of_the_whole_image_or_of_a_box(
    train_tokenizer: Any, train_prior: Any, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    residual = {"kind": "residual", "depth": "2", "inner.kind": "ema", "inner.num_codes": "16"}
    settings = {f"model__quantizer__{key}": value for key, value in residual.items()}
    tokenizer = train_tokenizer(tmp_path / "tokenizer", **settings)
    run = train_prior(tmp_path / "prior", tokenizer, training__steps="2").path
    command = ["inpaint", str(run), str(photo), "--num", "2", "--candidates", "2", "--depth", "1"]
    wholes, box = [tmp_path / f"{seed}.png" for seed in (0, 1)], tmp_path / "box.png"
    for seed, out in enumerate(wholes):
        main([*command, "--seed", str(seed), "--out", str(out)])
    main([*command, "--box", "0,0,32,16", "--out", str(box)])
    first, second = (Image.open(out).copy() for out in wholes)
    assert first.size == (4 * 64 + 3 * 2, 64)
    given = (0, 0, 2 * 66, 64)  # the image and its reconstruction
    assert first.crop(given).tobytes() == second.crop(given).tobytes() == Image.open(box).crop(given).tobytes()
    assert first.tobytes() != second.tobytes() != Image.open(box).tobytes()
    capsys.readouterr()
    assert "--depth 2: must be 0 to 1: this tokenizer has 2 codes per position" in _fails(
        capsys, *command[:-1], "2", "--out", str(tmp_path / "no.png")
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--box", "1,2,3"], "--box 1,2,3: expected TOP,LEFT,HEIGHT,WIDTH"),
        (["--box", "20,0,16,16"], "does not lie inside the image, 32x32"),
        (["--box", "0,0,0,4"], "does not lie inside"),
        (["--mask", "/no/mask.png"], "--mask /no/mask.png: no such file"),
        (["--mask", __file__], "not an image"),
        (["--box", "0,0,8,8", "--num", "0"], "--num 0: must be 1 or more"),
        (["--box", "0,0,8,8", "--candidates", "0"], "--candidates 0: must be 1 or more"),
        (["--box", "0,0,8,8", "--label", "hart"], "did you mean 'heart'"),
        (["--box", "0,0,8,8", "--guidance", "2"], "--guidance 2.0: needs labels"),
        (["--box", "0,0,8,8", "--temperature", "-1"], "temperature -1.0: must be 0 or more"),
        ([], "nothing to replace: pass --box TOP,LEFT,HEIGHT,WIDTH, --mask PNG, or --depth D"),
        (["--depth", "1"], "--depth 1: must be 0 to 0: this tokenizer has one code per position"),
        (["--box", "0,0,8,8", "--mask", "x.png"], "--box"),
    ],
)
def test_one_line_says_what_is_wrong(
    flags: list[str], says: str, prior_run: Run, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photo.with_name("out.png")
    assert says in _fails(capsys, "inpaint", str(prior_run.path), str(photo), *flags, "--out", str(out))
    assert not out.exists()


def test_files_that_do_not_fit_are_refused(
    prior_run: Run, tokenizer_run: Run, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.png")
    run, hole = str(prior_run.path), ["--box", "0,0,8,8", "--out", out]
    small, black = _mask(tmp_path / "small.png", (0, 0, 4, 4), 16), _mask(tmp_path / "black.png", None)
    assert "16x16, but the image is 32x32" in _fails(
        capsys, "inpaint", run, str(photo), "--mask", small, "--out", out
    )
    assert "no pixel is white" in _fails(capsys, "inpaint", run, str(photo), "--mask", black, "--out", out)
    assert "/no.png: no such image file" in _fails(capsys, "inpaint", run, "/no.png", *hole)
    assert "a tokenizer, not a prior" in _fails(capsys, "inpaint", str(tokenizer_run.path), str(photo), *hole)
    Path(out).write_text("mine")
    assert "exists and is not overwritten" in _fails(
        capsys, "inpaint", run, str(photo), "--candidates", "1", *hole
    )
    assert Path(out).read_text() == "mine"
