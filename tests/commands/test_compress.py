"""``vqvae compress`` and ``vqvae decompress``: what comes out is what went in, or one line says why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.coding import ContainerReader
from vqvae.coding.integer import LIKELIHOODS
from vqvae.commands.compress import compress
from vqvae.commands.decompress import decompress
from vqvae.data import load
from vqvae.errors import FormatError, UserError
from vqvae.likelihoods import LogisticMixtureLikelihood
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.tensors import pixels_from_images
from vqvae.training import Run


@pytest.fixture(scope="session")
def mixture_runs(
    train_tokenizer: Any, train_prior: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, Run]:
    """A tokenizer with a mixture of logistics, and a prior over its codes."""
    folder = tmp_path_factory.mktemp("mixture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQVAE_CACHE", str(folder / "cache"))
        tokenizer = train_tokenizer(folder / "tokenizer", model__likelihood__kind="logistic-mixture")
        return tokenizer, train_prior(folder / "prior", tokenizer)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Image files of two sizes, among them two of one name."""
    pixels = load("shapes", "test", limit=5).pixels.permute(0, 2, 3, 1).numpy()
    paths = [tmp_path / name for name in ("a.png", "b c.png", "d/a.png", "wide.png", "e.bmp")]
    (tmp_path / "d").mkdir()
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image[:, :24] if path.stem == "wide" else image).save(path)
    return [str(path) for path in paths]


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


def test_a_tokenizer_without_a_prior_codes_under_the_uniform_prior(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path
) -> None:
    done = compress(images[:1], str(mixture_runs[0].path), tmp_path / "x.vqi", lossless=True)
    assert done.code_bytes - 4 <= 64 * 4 / 8 + 2  # K = 16
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out" / "a.png"), read(images[0]))


def test_exact_files_are_restored_and_cost_less_than_half_a_percent(
    mixture_runs: tuple[Run, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pixels = load("shapes", "test", limit=9).pixels.permute(0, 2, 3, 1).numpy()
    np.save(tmp_path / "images.npy", pixels)
    words = ["compress", str(tmp_path / "images.npy"), "--model", str(mixture_runs[1].path), "--split", "all"]
    main([*words, "--lossless", "--exact", "--out", str(tmp_path / "exact.vqi")])
    assert "verified by decoding; every machine decodes it" in capsys.readouterr().out
    main([*words, "--lossless", "--out", str(tmp_path / "float.vqi")])
    sizes = [(tmp_path / f"{name}.vqi").stat().st_size for name in ("exact", "float")]
    assert sizes[0] < 1.005 * sizes[1] + 40
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # other threads, as another machine would have
    try:
        decompress(tmp_path / "exact.vqi", tmp_path / "out")
    finally:
        torch.set_num_threads(before)
    files = sorted((tmp_path / "out").iterdir(), key=lambda path: int(path.stem.rpartition(" ")[2]))
    assert all(np.array_equal(read(file), image) for file, image in zip(files, pixels, strict=True))


def test_exact_files_of_a_gaussian_are_restored(prior_run: Run, images: list[str], tmp_path: Path) -> None:
    compress(images, str(prior_run.path), tmp_path / "x.vqi", exact=True, lossless=True)
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    for name, original in zip(("a", "b c", "a-2", "wide", "e"), images, strict=True):
        assert np.array_equal(read(tmp_path / "out" / f"{name}.png"), read(original))


def test_exact_files_need_models_with_an_integer_form(
    prior_run: Run, images: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIKELIHOODS, "_makers", {})
    with pytest.raises(UserError, match=r"--exact: the likelihood GaussianLikelihood has no integer form"):
        compress(images[:1], str(prior_run.path), tmp_path / "x.vqi", exact=True, lossless=True)
    assert not (tmp_path / "x.vqi").exists()
    compress(images[:1], str(prior_run.path), tmp_path / "x.vqi", exact=True)  # the codes alone need the prior's


def test_the_shipped_model_compresses_exactly(images: list[str], tmp_path: Path) -> None:
    # it has the network resnet, a transformer and a Gaussian
    compress(images, "cifar10", tmp_path / "x.vqi", exact=True, lossless=True)
    decompress(tmp_path / "x.vqi", tmp_path / "out", only=3)
    assert np.array_equal(read(tmp_path / "out" / "wide.png"), read(images[3]))


def test_a_search_for_codes_saves_bits_and_the_images_are_restored(
    mixture_runs: tuple[Run, Run], images: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(mixture_runs[1].path)
    words = ["compress", images[0], images[3], "--model", model, "--out", str(tmp_path / "x.vqi")]
    with pytest.raises(SystemExit):
        main([*words, "--search", "3"])
    assert "--search" in capsys.readouterr().err and not (tmp_path / "x.vqi").exists()
    main([*words, "--lossless", "--exact", "--search", "16", "--json"])  # all codes
    done = json.loads(capsys.readouterr().out)
    plain = compress([images[0], images[3]], model, tmp_path / "plain.vqi", lossless=True, exact=True)
    assert plain.saved is None and done["saved"] > 0
    assert done["size"] == pytest.approx(plain.size - done["saved"] / 8, abs=16)  # chunks are cut at words
    decompress(tmp_path / "x.vqi", tmp_path / "out")
    for name, original in (("a", images[0]), ("wide", images[3])):
        assert np.array_equal(read(tmp_path / "out" / f"{name}.png"), read(original))


Made = Callable[[Any], Image.Image]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x: Image.fromarray(x[:, :30]), "multiples of 4"),
        (lambda x: Image.fromarray(x[..., 0]), "grey, but the tokenizer is of RGB images"),
        (lambda x: Image.fromarray(x).convert("RGBA"), "--lossless keeps grey and RGB of 8 bits alone"),
        (lambda x: Image.fromarray(x).quantize(8), "--lossless keeps grey and RGB of 8 bits alone"),
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
