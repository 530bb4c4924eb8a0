"""The first codes of each position of a residual quantizer alone: coarser images, from the same file."""

import json
from itertools import pairwise
from math import log, log2

import numpy as np
import pytest
import torch
from PIL import Image

from vqvae.cli import main
from vqvae.commands.decompress import decompress
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.metrics import Models, measure
from vqvae.metrics.images import psnr
from vqvae.model_io import load_prior, load_tokenizer
from vqvae.tensors import pixels_from_images

DEPTH = 3


@pytest.fixture(scope="session")
def residual_run(train_tokenizer, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("residual")
        patch.setenv("VQVAE_CACHE", str(folder / "cache"))
        quantizer = (
            f"{{kind: residual, depth: {DEPTH}, dropout: 0.5, inner: {{kind: ema, num_codes: 16, dim: 4}}}}"
        )
        return train_tokenizer(folder / "tokenizer", model__quantizer=quantizer)


@pytest.fixture
def image(tmp_path):
    pixels = load("shapes", "test", limit=1).pixels
    Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    return tmp_path / "a.png", pixels


@pytest.mark.parametrize("lossless", [False, True])
def test_every_depth_of_a_file_is_decoded_and_is_the_reconstruction_of_its_first_codes(
    lossless, residual_run, image, tmp_path, capsys
):
    words = ["compress", str(image[0]), "--model", str(residual_run.path), "--out", str(tmp_path / "x.vqi")]
    main([*words, "--lossless"] if lossless else words)
    tokenizer = load_tokenizer(residual_run.path)
    codes = tokenizer.encode(image[1], exact=True)
    for depth in range(1, DEPTH + 1):
        out = tmp_path / f"out{depth}"
        main(["decompress", str(tmp_path / "x.vqi"), "--out", str(out), "--depth", str(depth)])
        assert f"decoded from the first {depth} codes of each position" in capsys.readouterr().out
        expected = pixels_from_images(tokenizer.decode(codes[..., :depth]))[0].permute(1, 2, 0).numpy()
        assert np.array_equal(np.array(Image.open(out / "a.png")), expected)
    assert torch.equal(tokenizer.decode(codes[..., :DEPTH]), tokenizer.decode(codes))
    assert not torch.equal(tokenizer.decode(codes[..., :1]), tokenizer.decode(codes))


def test_a_picture_shows_the_reconstruction_of_a_depth(residual_run, image, tmp_path):
    for depth in (1, 3):
        words = ["reconstruct", str(residual_run.path), str(image[0]), "--out", str(tmp_path / f"{depth}.png")]
        main([*words, "--depth", str(depth)])
    main(["reconstruct", str(residual_run.path), str(image[0]), "--out", str(tmp_path / "all.png")])
    first, last, every = ((tmp_path / f"{name}.png").read_bytes() for name in ("1", "3", "all"))
    assert last == every and first != every


@pytest.mark.parametrize("depth", [0, -1, DEPTH + 1])
def test_a_depth_out_of_range_is_one_line_and_nothing_is_written(depth, residual_run, image, tmp_path, capsys):
    main(["compress", str(image[0]), "--model", str(residual_run.path), "--out", str(tmp_path / "x.vqi")])
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["decompress", str(tmp_path / "x.vqi"), "--out", str(tmp_path / "out"), "--depth", str(depth)])
    [line] = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and f"depth {depth}: must be one of 1, 2, 3" in line
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main(["reconstruct", str(residual_run.path), str(image[0]), "--out", str(tmp_path / "p.png"),
              "--depth", str(depth)])  # fmt: skip
    assert not (tmp_path / "p.png").exists()


def test_codes_without_depth_are_one_line(tokenizer_run, image, tmp_path):
    main(["compress", str(image[0]), "--model", str(tokenizer_run.path), "--out", str(tmp_path / "x.vqi")])
    with pytest.raises(UserError, match=r"depth 2: the codes of a EMAQuantizer have no depth"):
        decompress(tmp_path / "x.vqi", tmp_path / "out", depth=2)
    decompress(tmp_path / "x.vqi", tmp_path / "out", depth=1)  # all of its codes


def test_codes_of_another_shape_are_refused_as_before(residual_run):
    tokenizer = load_tokenizer(residual_run.path)
    assert tokenizer.depths == [1, 2, 3]
    for shape in ((1, 8, 8), (1, 8, 8, 4), (1, 8, 8, 0)):
        with pytest.raises(ValueError, match=r"expected \[B, h, w, 3\]"):
            tokenizer.decode(torch.zeros(shape, dtype=torch.int64))


def test_an_evaluation_has_rate_and_psnr_of_each_depth_and_the_page_draws_them(residual_run, capsys):
    main(["evaluate", str(residual_run.path), "--data", "shapes", "--json"])
    found = json.loads(capsys.readouterr().out)
    rates = [found[f"kl_bits_per_dim_uniform_{depth}"] for depth in range(1, DEPTH + 1)]
    assert rates == pytest.approx([64 * log2(16) * depth / 3072 for depth in range(1, DEPTH + 1)])
    assert all(a < b for a, b in pairwise(rates)) and found["kl_bits_per_dim_uniform"] == pytest.approx(rates[-1])
    tokenizer, pixels = load_tokenizer(residual_run.path), load("shapes", "test", limit=found["images"]).pixels
    codes = tokenizer.encode(pixels, exact=True)
    for depth in range(1, DEPTH + 1):
        expected = float(psnr(pixels, tokenizer.decode(codes[..., :depth])).mean())
        assert found[f"psnr_{depth}"] == pytest.approx(expected, rel=1e-6)
    assert found[f"psnr_{DEPTH}"] == pytest.approx(found["psnr"])
    main(["report", str(residual_run.path)])
    page = (residual_run.path / "report.html").read_text()
    assert "Rate and distortion" in page and f"{DEPTH}: {found['psnr']:.2f} dB" in page


def test_the_rates_of_the_depths_add_up_to_the_bits_of_the_codes(residual_run, train_prior, tmp_path):
    run = train_prior(tmp_path / "prior", residual_run)
    models = Models(load_tokenizer(residual_run.path), prior=load_prior(run.path))
    found = measure(models, load("shapes", "test", limit=20), use_labels=False).values
    rates = [found[f"bits_per_dim_codes_prior_{depth}"] for depth in range(1, DEPTH + 1)]
    assert all(a < b for a, b in pairwise(rates)) and found["bits_per_dim_codes_prior"] == rates[-1]
    assert found["bits_per_dim_prior"] - found["bits_per_dim_pixels"] == pytest.approx(rates[-1])
    codes = models.tokenizer.encode(load("shapes", "test", limit=20).pixels, exact=True)
    with torch.no_grad():
        first = float(models.prior.code_nats(codes)[..., 0].sum()) / log(2) / (20 * 3072)
    assert rates[0] == pytest.approx(first, rel=1e-5)
