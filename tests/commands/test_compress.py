"""``vqvae compress`` and ``vqvae decompress``: what comes out is what went in, or one line says why not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.coding import ContainerReader
from vqvae.commands.compress import compress
from vqvae.commands.decompress import decompress
from vqvae.data import load
from vqvae.errors import FormatError, UserError
from vqvae.likelihoods import LogisticMixtureLikelihood
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.tensors import pixels_from_images
from vqvae.training import Run


def read(path: Path | str) -> Any:
    return np.array(Image.open(path))


def test_lossless_images_are_restored_pixel_for_pixel_whatever_their_sizes(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(mixture_runs[1].path)
    main(["compress", *images, "--model", model, "--lossless", "-o", str(tmp_path / "x.vqi")])
    said = capsys.readouterr().out
    assert "5 images, every pixel" in said and "verified by decoding on this machine" in said
    main(["decompress", str(tmp_path / "x.vqi"), "--out", str(tmp_path / "out")])
    assert "5 images, as they were" in capsys.readouterr().out
    names = ["a", "b c", "a-2", "wide", "e"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(f"{name}.png" for name in names)
    for name, original in zip(names, images, strict=True):
        assert np.array_equal(read(tmp_path / "out" / f"{name}.png"), read(original))


def test_one_image_is_decoded_without_the_others(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress(images, str(mixture_runs[1].path), tmp_path / "x.vqi", lossless=True)
    chunks: list[int] = []
    whole = ContainerReader.chunk

    def counted(self: ContainerReader, number: int) -> bytes:
        chunks.append(number)
        return whole(self, number)

    monkeypatch.setattr(ContainerReader, "chunk", counted)
    decompress(tmp_path / "x.vqi", tmp_path / "one", only=4)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["e.png"]
    assert np.array_equal(read(tmp_path / "one" / "e.png"), read(images[4]))
    assert len(chunks) == 2  # the codes of its block, and its pixels
    with pytest.raises(UserError, match=r"only 5: the file has the images 0 to 4"):
        decompress(tmp_path / "x.vqi", tmp_path / "two", only=5)


def test_lossy_images_are_the_reconstructions_of_their_codes(
    prior_run: Run, images: list[str], tmp_path: Path
) -> None:
    done = compress(images[:1], str(prior_run.path), tmp_path / "x.vqi")
    assert not done.lossless and not done.pixel_bytes
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    tokenizer = load_tokenizer(prior_run.path)
    pixels = torch.from_numpy(read(images[0])).permute(2, 0, 1)[None]
    expected = pixels_from_images(tokenizer.decode(tokenizer.encode(pixels, exact=True)))
    assert np.array_equal(read(tmp_path / "out" / "a.png"), expected[0].permute(1, 2, 0).numpy())


def test_a_data_set_takes_the_bits_of_the_bound_and_the_numbers_are_told(
    mixture_runs: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = load("shapes", "test", limit=70).pixels
    np.save(tmp_path / "images.npy", pixels.permute(0, 2, 3, 1).numpy())
    model = str(mixture_runs[1].path)
    words = ["compress", str(tmp_path / "images.npy"), "--model", model, "--lossless", "--split", "all", "--json"]
    main([*words, "--out", str(tmp_path / "x.vqi")])
    told = json.loads(capsys.readouterr().out)
    tokenizer, prior = load_tokenizer(model), load_prior(model)
    codes = tokenizer.encode(pixels, exact=True)
    with torch.no_grad():
        nats = tokenizer.likelihood.nats(tokenizer.decode_parameters(codes), pixels).sum()
        code_nats = -prior.log_prob(codes).sum()
    size = (tmp_path / "x.vqi").stat().st_size
    assert told["images"] == 70 and told["size"] == size and told["dimensions"] == 70 * 3072
    assert told["code_bytes"] == pytest.approx(float(code_nats) / np.log(256), rel=0.01, abs=20)
    assert told["pixel_bytes"] == pytest.approx(float(nats) / np.log(256), rel=0.005)
    assert told["bits_per_dim"] == pytest.approx(8 * size / (70 * 3072))
    assert size - told["code_bytes"] - told["pixel_bytes"] < 70 * 12 + 200  # checksums, sizes, names, header
    with ContainerReader(tmp_path / "x.vqi", path=tmp_path) as reader:
        assert [block.count for block in reader.header.blocks] == [64, 6]


def test_the_models_are_found_in_the_file_by_path_or_in_the_cache(
    mixture_runs: tuple[Run, Run],
    prior_run: Run,
    images: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = str(mixture_runs[1].path)
    plain = compress(images[:2], model, tmp_path / "plain.vqi", lossless=True)
    whole = compress(images[:2], model, tmp_path / "whole.vqi", lossless=True, embed_model=True)
    assert plain.kept and not plain.model_bytes
    assert whole.size - whole.model_bytes < plain.size + 20 and whole.model_bytes > 10_000
    decompress(tmp_path / "plain.vqi", tmp_path / "cached")
    monkeypatch.setenv("VQVAE_CACHE", str(tmp_path / "another-cache"))
    decompress(tmp_path / "plain.vqi", tmp_path / "named", model=model)
    decompress(tmp_path / "whole.vqi", tmp_path / "embedded")
    for folder in ("cached", "named", "embedded"):
        assert np.array_equal(read(tmp_path / folder / "a.png"), read(images[0]))
    with pytest.raises(UserError, match=r"needs the tokenizer \w{12}\.\.\. and the prior .*: pass --model RUN"):
        decompress(tmp_path / "plain.vqi", tmp_path / "none")
    with pytest.raises(UserError, match=r"is another: pass --model RUN"):
        decompress(tmp_path / "plain.vqi", tmp_path / "none", model=str(prior_run.path))
    assert not (tmp_path / "none").exists()


def test_a_model_of_the_package_is_found_on_every_machine_that_has_the_package(
    images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = compress(images[:1], "shapes", tmp_path / "x.vqi")
    assert not done.model_bytes
    monkeypatch.setenv("VQVAE_CACHE", str(tmp_path / "cache-of-another-machine"))
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert read(tmp_path / "out" / "a.png").shape == read(images[0]).shape


def test_a_tokenizer_without_a_prior_codes_under_the_uniform_prior(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path
) -> None:
    done = compress(images[:1], str(mixture_runs[0].path), tmp_path / "x.vqi", lossless=True)
    assert done.code_bytes - 4 <= 64 * 4 / 8 + 2  # K = 16
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out" / "a.png"), read(images[0]))


Made = Callable[[Any], Image.Image]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x: Image.fromarray(x[:, :30]), "multiples of 4"),
        (lambda x: Image.fromarray(x[..., 0]), "grey, but the tokenizer is of RGB images"),
        (lambda x: Image.fromarray(x).convert("RGBA"), "only grey and RGB of 8 bits can be kept exactly"),
        (lambda x: Image.fromarray(x).quantize(8), "only grey and RGB of 8 bits can be kept exactly"),
    ],
    ids=["size", "mode", "alpha", "palette"],
)  # fmt: skip
def test_an_image_that_does_not_fit_is_one_line_and_nothing_is_written(
    make: Made, says: str, mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make(read(images[0])).save(tmp_path / "odd.png")
    words = ["compress", images[1], str(tmp_path / "odd.png"), "--model", str(mixture_runs[1].path), "--lossless"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "-o", str(tmp_path / "x.vqi")])
    [line] = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and says in line and "odd.png" in line
    assert not (tmp_path / "x.vqi").exists()


def test_pixels_that_would_not_be_kept_are_refused_in_a_folder_too(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path
) -> None:
    pixels = read(images[0])
    (tmp_path / "folder").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / "folder" / name)
    model, odd = str(mixture_runs[1].path), tmp_path / "folder" / "z.ppm"
    turned = Image.Exif()
    turned[0x0112] = 6
    odd.write_bytes(b"P6 32 32 65535\n" + (pixels.astype(">u2") * 257).tobytes())  # 16 bits
    for file in (odd, odd.with_suffix(".png")):
        for names in ([str(file)], [str(file.parent)]):
            with pytest.raises(UserError, match=r"z\.p.*: only grey and RGB of 8 bits can be kept exactly"):
                compress(names, model, tmp_path / "x.vqi", lossless=True, split="all")
        odd.unlink(missing_ok=True)
        Image.fromarray(pixels).save(odd.with_suffix(".png"), exif=turned)
    assert not (tmp_path / "x.vqi").exists()


def test_wide_pixels_are_read_with_the_range_of_the_run(prior_run: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(prior_run.path, run)
    config = run / "config.yaml"
    text = config.read_text()
    assert "range: full" in text
    config.write_text(text.replace("range: full", "range: [0, 1023]"))
    grey = np.tile(np.arange(0, 1024, 32, dtype=np.uint16), (32, 1))
    np.save(tmp_path / "wide.npy", np.repeat(grey[None, ..., None], 3, axis=3))
    np.save(
        tmp_path / "eight.npy", np.rint(np.repeat(grey[None, ..., None], 3, axis=3) / 1023 * 255).astype(np.uint8)
    )
    done = [
        compress([str(tmp_path / f"{name}.npy")], str(run), tmp_path / f"{name}.vqi", split="all")
        for name in ("wide", "eight")
    ]
    assert done[0].code_bytes == done[1].code_bytes
    for name in ("wide", "eight"):
        decompress(tmp_path / f"{name}.vqi", tmp_path / name, model=str(run))
    [wide], [eight] = ((tmp_path / name).iterdir() for name in ("wide", "eight"))
    assert np.array_equal(read(wide), read(eight))


def test_names_that_are_too_long_with_a_number_are_replaced_by_the_row(
    prior_run: Run, images: list[str], tmp_path: Path
) -> None:
    long = "a" * 199
    for folder, image in zip(("one", "two"), images, strict=False):
        (tmp_path / folder).mkdir()
        shutil.copy(image, tmp_path / folder / f"{long}.png")
    names = [str(tmp_path / folder / f"{long}.png") for folder in ("one", "two")]
    compress(names, str(prior_run.path), tmp_path / "x.vqi")
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000000.png", "00000001.png"]


def test_nothing_is_overwritten(prior_run: Run, images: list[str], tmp_path: Path) -> None:
    words = ["compress", images[0], "--model", str(prior_run.path), "-o", str(tmp_path / "x.vqi")]
    main(words)
    before = (tmp_path / "x.vqi").read_bytes()
    with pytest.raises(SystemExit):
        main(words)
    assert (tmp_path / "x.vqi").read_bytes() == before
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("mine")
    (tmp_path / "out" / "z.png").write_text("mine")
    with pytest.raises(UserError, match="is not overwritten"):
        decompress(tmp_path / "x.vqi", tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert (tmp_path / "out" / "z.png").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_damaged_file_writes_nothing(mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path) -> None:
    compress(images, str(mixture_runs[1].path), tmp_path / "x.vqi", lossless=True)
    content = bytearray((tmp_path / "x.vqi").read_bytes())
    content[-6] ^= 1  # in the pixels of the last image
    (tmp_path / "x.vqi").write_bytes(content)
    with pytest.raises(FormatError, match="a checksum does not match"):
        decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_machine_that_computes_other_probabilities_gets_an_error_and_no_image(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress(images, str(mixture_runs[1].path), tmp_path / "x.vqi", lossless=True)
    exact = LogisticMixtureLikelihood.cumulative

    def otherwise(self: LogisticMixtureLikelihood, *arguments: Any) -> Any:
        below = exact(self, *arguments)
        return lambda values: (below(values) * (1 - 1e-6)).clamp(max=1.0)

    monkeypatch.setattr(LogisticMixtureLikelihood, "cumulative", otherwise)
    with pytest.raises(FormatError, match="other probabilities on this machine"):
        decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_likelihood_without_a_distribution_function_is_refused(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(LogisticMixtureLikelihood, "cumulative")
    with pytest.raises(UserError, match=r"--lossless: the likelihood of .* does not define cumulative"):
        compress(images, str(mixture_runs[1].path), tmp_path / "x.vqi", lossless=True)


def test_the_extra_is_named_where_it_is_missing(
    prior_run: Run, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "constriction", None)
    with pytest.raises(UserError, match=r"pip install 'vqvae-toolkit\[codec\]'"):
        compress(images[:1], str(prior_run.path), tmp_path / "x.vqi")


def test_numbers_after_a_dot_tell_images_apart(prior_run: Run, images: list[str], tmp_path: Path) -> None:
    names = [tmp_path / f"scan.{number}" for number in ("001", "002")]
    for name in names:
        name.write_bytes(Path(images[0]).read_bytes())
    compress([str(name) for name in names], str(prior_run.path), tmp_path / "x.vqi")
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scan.001.png", "scan.002.png"]
