"""Commands run large images in tiles by themselves, and say so in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vqvae.cli import main
from vqvae.commands import tiling
from vqvae.commands.encode import encode_to_store
from vqvae.commands.resolve import TokenizerRun, open_tokenizer_run
from vqvae.commands.tiling import tiling_for
from vqvae.errors import UserError
from vqvae.tokens import Store
from vqvae.training import Run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a folder with one photo of 100x148 pixels."""
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 19, 3), dtype=np.uint8))
    (tmp_path / "photos").mkdir()
    small.resize((148, 100), Image.Resampling.BICUBIC).save(tmp_path / "photos/a.png")
    return tmp_path / "photos"


def _pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image).astype(int)


def test_reconstruct_in_tiles_shows_the_picture_of_the_whole(
    tokenizer_run: Run, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tile in ("0", "32"):
        out = str(tmp_path / f"{tile}.png")
        main(["reconstruct", str(tokenizer_run.path), str(photo / "a.png"), "--tile", tile, "--out", out])
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "images of 100x148 are run in tiles of 32x32 pixels" in said
    assert "the codes are those of the whole image" in said
    assert np.abs(_pixels(tmp_path / "0.png") - _pixels(tmp_path / "32.png")).max() <= 1


def test_stores_and_decoded_images_do_not_depend_on_tiles(tokenizer_run: Run, photo: Path, tmp_path: Path) -> None:
    t = str(tokenizer_run.path)
    for tile in ("0", "24"):
        store, images = str(tmp_path / f"codes{tile}"), str(tmp_path / f"images{tile}")
        main(["encode", t, "--data", str(photo), "--tile", tile, "--out", store])
        main(["decode", store, t, "--tile", tile, "--out", images])
    names = [file.name for file in (tmp_path / "codes0").glob("*.safetensors")]
    assert names
    for name in [*names, "store.json"]:
        assert (tmp_path / "codes0" / name).read_bytes() == (tmp_path / "codes24" / name).read_bytes()
    [whole], [tiled] = ([*(tmp_path / f"images{tile}").glob("*.png")] for tile in ("0", "24"))
    assert np.abs(_pixels(whole) - _pixels(tiled)).max() <= 1


def test_images_above_two_megapixels_are_tiled_by_themselves(
    tokenizer_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run = open_tokenizer_run(tokenizer_run.path)
    assert tiling_for(run, (1024, 2048), None, look=None) is None
    assert tiling_for(run, (1024, 2052), None, look=None) == (512, None)
    assert tiling_for(run, (4096, 4096), 0, look=None) is None
    assert tiling_for(run, (64, 64), 64, look=None) is None
    assert tiling_for(run, (64, 68), 66, look=None) == (64, None)
    assert capsys.readouterr().err.count("\n") == 2


def _global(run: TokenizerRun) -> TokenizerRun:
    """Put a normalisation over the whole image into the encoder."""
    run.tokenizer.model.encoder = nn.Sequential(*run.tokenizer.model.encoder, nn.GroupNorm(1, 4))
    return run


def test_a_network_that_looks_at_the_whole_image_says_by_how_much_tiles_differ(
    tokenizer_run: Run,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = _global(open_tokenizer_run(tokenizer_run.path))
    pixels = torch.from_numpy(np.array(Image.open(photo / "a.png"))).permute(2, 0, 1)[None]
    assert tiling_for(run, (100, 148), 32, look=lambda: pixels) == (32, 8)
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and "8 pixels beyond each. They approximate this tokenizer, whose encoder looks" in said
    )
    assert "on 48x48 pixels, " in said and " % of the codes differ, and pixels by " in said
    assert "approximate" in _said(capsys, lambda: tiling_for(run, (100, 148), 32, look=None))
    monkeypatch.setattr(tiling, "LARGE", 2**10)
    encode_to_store(run, str(photo), str(tmp_path / "codes"), tile=32)
    origin = Store.open(tmp_path / "codes").header.origin
    assert (origin["tile"], origin["overlap"]) == (32, 8), "such codes depend on the tiles: the store says so"


def test_images_of_which_none_can_be_decoded_are_one_line(tokenizer_run: Run, photo: Path, tmp_path: Path) -> None:
    reading = {"data.size": "100x148", "data.fit": "crop"}  # of a known size: no image is read for it
    run = _global(open_tokenizer_run(tokenizer_run.path, reading=reading))
    (photo / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=f"^{photo}: none of its 1 images can be decoded: check the files$"):
        encode_to_store(run, str(photo), str(tmp_path / "codes"), tile=32)


def _said(capsys: pytest.CaptureFixture[str], call: object) -> str:
    assert callable(call)
    call()
    return capsys.readouterr().err


def test_a_tile_smaller_than_a_position_is_refused(
    tokenizer_run: Run, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "reconstruct",
                str(tokenizer_run.path),
                str(photo / "a.png"),
                "--tile",
                "3",
                "--out",
                str(tmp_path / "x.png"),
            ]
        )
    assert ended.value.code == 2
    assert "--tile 3: must be 4 or more, or 0 for no tiles" in capsys.readouterr().err
