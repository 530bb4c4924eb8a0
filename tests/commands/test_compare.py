"""Two sets compared: what a figure depends on and what it does not, and what stands for a set."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from scipy.linalg import sqrtm

from vqvae.cli import main
from vqvae.commands.compare import Comparison, compare
from vqvae.commands.image_sets import SideOptions
from vqvae.commands.judges import judge_of
from vqvae.commands.resolve import open_run
from vqvae.data import load
from vqvae.errors import ArgumentError, UserError
from vqvae.features import SqueezeNet, network_named
from vqvae.features.files import weights_digest
from vqvae.metrics.images import psnr, ssim
from vqvae.model_io import load_tokenizer, read_model, save_model
from vqvae.report import compare_page
from vqvae.tensors import images_from_pixels, pixels_from_images
from vqvae.training import Run

COUNT = 40  # images of a set that ``save`` writes
FIGURES = ("psnr", "ssim", "frechet", "kid", "precision", "recall")
Save = Callable[..., str]


def jpeg(save: Save, quality: int) -> str:
    return save(f"jpeg{quality}", "jpg", quality=quality)


def figures(found: Comparison) -> dict[str, float]:
    return {name: found.to_dict()[name] for name in FIGURES}


def quick(a: str, b: str, **options) -> Comparison:
    return compare(a, b, resampled=0, **options)


def test_no_figure_depends_on_order_format_or_batch_size(save: Save) -> None:
    png, reference = save("png", "png"), jpeg(save, 30)
    found = compare(png, reference, resampled=5)
    webp = save("webp", "webp", lossless=True, exact=True)
    assert compare(webp, reference, resampled=5).to_dict() | {"protocol": 0} == found.to_dict() | {"protocol": 0}
    turned = save("turned", "png", called=lambda row: f"{COUNT - row:04d}")
    unpaired = quick(png, reference, pair="none")
    others = quick(turned, reference, pair="none")
    assert figures(unpaired) == figures(others) and unpaired.to_dict()["psnr"] is None
    for size in (1, 7):
        assert figures(quick(png, reference, batch_size=size)) == pytest.approx(figures(found), rel=1e-4)


def test_the_figures_are_those_of_their_definitions(save: Save) -> None:
    found = quick(save("png", "png"), jpeg(save, 30))
    assert len(found.a.pixels) == COUNT  # all of them: a folder without splits is compared whole
    of = dict(zip(found.a.names, found.a.pixels, strict=True))
    assert torch.equal(of["0003.png"], load("shapes", "test", limit=COUNT).pixels[3])
    x, y = found.a.pixels, images_from_pixels(found.b.pixels)
    assert figures(found)["psnr"] == pytest.approx(float(psnr(x, y).mean()))
    assert figures(found)["ssim"] == pytest.approx(float(ssim(x, y).mean()))
    judge = network_named("judge")
    of_a, of_b = (judge.features_of_pixels(side.pixels).numpy() for side in (found.a, found.b))
    in_a, in_b = (np.cov(of, rowvar=False) + 1e-9 * np.eye(of.shape[1]) for of in (of_a, of_b))
    spread = np.trace(in_a + in_b) - 2 * np.trace(sqrtm(in_a @ in_b).real)
    expected = ((of_a.mean(0) - of_b.mean(0)) ** 2).sum() + spread
    assert figures(found)["frechet"] == pytest.approx(expected, rel=1e-3)


def test_lower_quality_is_worse_in_every_distance(save: Save) -> None:
    table = [figures(quick(save("png", "png"), jpeg(save, quality))) for quality in (95, 50, 10)]
    for name in ("psnr", "ssim"):
        assert table[0][name] > table[1][name] > table[2][name], name
    for name in ("frechet", "kid"):
        assert table[0][name] < table[1][name] < table[2][name], name


def test_a_set_against_itself_is_a_copy(save: Save) -> None:
    found = figures(quick(save("png", "png"), save("webp", "webp", lossless=True, exact=True)))
    assert found["psnr"] == math.inf and found["ssim"] == pytest.approx(1)
    assert found["frechet"] == pytest.approx(0, abs=1e-8) and found["precision"] == found["recall"] == 1
    assert found["kid"] <= 0


def test_the_sides_have_their_parts(save: Save) -> None:
    """Precision is about B and recall about A: with the sides exchanged, they change places."""
    few = SideOptions(reading={"data.limit": 60})
    one = figures(quick("shapes", jpeg(save, 10), options=few))
    other = figures(quick(jpeg(save, 10), "shapes", options=few))
    assert one["precision"] == other["recall"] != one["recall"] == other["precision"]
    assert one["frechet"] == pytest.approx(other["frechet"]) and one["kid"] == pytest.approx(other["kid"])
    assert quick("shapes", jpeg(save, 10), options=few).to_dict()["images"] == COUNT


def test_images_without_a_partner_count_in_the_sets_alone(save: Save, tmp_path: Path) -> None:
    for path in sorted(Path(save("png", "png")).iterdir())[: COUNT // 2]:
        Image.open(path).save(tmp_path / path.name)
    found = quick(save("png", "png"), str(tmp_path)).to_dict()
    assert found["protocol"]["pairs"] == {"by": "name", "count": COUNT // 2}
    assert (
        found["images"] == COUNT // 2 and found["psnr"] == math.inf and found["precision"] == 1 >= found["recall"]
    )


def test_infinity_is_null_in_json_and_the_figures_are_printed_before_the_page(
    save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(compare_page, "write_comparison", full)
    png, page = save("png", "png"), tmp_path / "page.html"
    with pytest.raises(SystemExit) as stop:
        main(["compare", png, png, "--json", "--page", str(page)])
    printed = capsys.readouterr()
    found = json.loads(printed.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert found["psnr"] is None and found["ssim"] == pytest.approx(1)
    assert stop.value.code == 2 and printed.err.endswith(f"{page}: No space left on device\n")


def test_too_few_images_are_refused(tmp_path: Path, save: Save) -> None:
    for row in range(3):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{row}.png")
    with pytest.raises(UserError, match="3 images; a comparison needs 4 or more"):
        quick(save("png", "png"), str(tmp_path))


def test_a_tokenizers_run_stands_for_its_reconstructions(save: Save, tokenizer_run: Run) -> None:
    run = str(tokenizer_run.path)
    found = quick(save("png", "png"), run)
    tokenizer = load_tokenizer(run)
    images = images_from_pixels(found.a.pixels)
    decoded = pixels_from_images(tokenizer.decode(tokenizer.encode(images, exact=True)))
    assert torch.equal(found.b.pixels, decoded) and found.protocol["pairs"]["count"] == COUNT
    exchanged = quick(run, save("png", "png"))
    assert figures(exchanged)["psnr"] == pytest.approx(figures(found)["psnr"])
    with pytest.raises(UserError, match="two runs"):
        quick(run, run)


def test_a_store_stands_for_what_its_tokenizer_decodes(save: Save, tokenizer_run: Run, tmp_path: Path) -> None:
    run, store = str(tokenizer_run.path), str(tmp_path / "store")
    main(["encode", run, "--data", save("png", "png"), "--split", "test", "--out", store])
    with pytest.raises(UserError, match="pass --tokenizer RUN"):
        quick(save("png", "png"), store, options=SideOptions())
    with pytest.raises(UserError, match="a comparison needs 4"):  # 5 % of 40 images are the test split
        quick(save("png", "png"), store, options=SideOptions(tokenizer=run))
    main(["encode", run, "--data", save("png", "png"), "--split", "train", "--out", store + "2"])
    found = quick(save("png", "png"), store + "2", options=SideOptions(tokenizer=run))
    whole = quick(save("png", "png"), run)
    assert found.protocol["pairs"]["count"] == len(found.b.pixels) == COUNT - 2
    of = dict(zip(whole.b.names, whole.b.pixels, strict=True))
    for name, pixels in zip(found.b.names, found.b.pixels, strict=True):
        assert (pixels.int() - of[name].int()).abs().max() <= 1


def test_a_priors_run_stands_for_samples(save: Save, prior_run: Run) -> None:
    run = str(prior_run.path)
    png, options = save("png", "png"), SideOptions(num=12, seed=3)
    found = quick(png, run, options=options)
    assert len(found.b.pixels) == 12 and found.to_dict()["psnr"] is None
    assert figures(quick(png, run, options=options)) == figures(found)
    assert figures(quick(png, run, options=replace(options, seed=4))) != figures(found)
    assert len(quick(save("png", "png"), run).b.pixels) == COUNT
    with pytest.raises(ArgumentError, match="num 0: must be 1 or more"):
        quick(png, run, options=replace(options, num=0))


def test_another_network_is_named_with_its_file(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = SqueezeNet()
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / "w.safetensors"
    )
    monkeypatch.chdir(tmp_path)
    main(["compare", save("png", "png"), jpeg(save, 30), "--features", "squeezenet:w.safetensors", "--json"])
    stamp = json.loads(capsys.readouterr().out)["protocol"]["features"]
    assert stamp["network"] == "squeezenet" and stamp["size"] == 512 and stamp["resize"] == "none"
    assert stamp["weights"] == weights_digest(network.state_dict()) != network_named("judge").digest


def test_the_splits_of_the_sides_are_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", "shapes", "shapes", "--split", "test,validation", "--data.limit", "30", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"]["a"]["split"] == "test" and found["protocol"]["b"]["split"] == "validation"
    assert found["images"] == 30 and found["psnr"] is None and found["intervals"]["frechet"][0] < found["frechet"]
    assert found.keys() == {"images", *FIGURES, "lpips", "intervals", "protocol"}
    judge = network_named("judge")
    stamp = found["protocol"]["features"]
    assert stamp["weights"] == judge.digest and stamp["resize"] == judge.resize and stamp["network"] == "judge"


def test_a_network_that_took_part_in_training_does_not_judge(
    save: Save, tokenizer_run: Run, tmp_path: Path
) -> None:
    file = read_model(tokenizer_run.path)
    with_judge = tmp_path / "model.safetensors"
    save_model(with_judge, file.state, replace(file.card, trained_with=(network_named("judge").digest,)))
    says = "took part in the training of .* and cannot judge it: choose another network"
    with pytest.raises(UserError, match=says):
        quick(save("png", "png"), str(with_judge))
    with pytest.raises(UserError, match=says):
        judge_of(open_run(with_judge), "judge")
    assert judge_of(open_run(tokenizer_run.path), "judge").kind == "judge"


def test_the_page_has_the_figures_and_the_worst_pairs_first(
    save: Save, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    words = ["compare", save("png", "png"), jpeg(save, 30), "--page", str(page)]
    main(words)
    shown, text = capsys.readouterr().out, page.read_text()
    found = quick(save("png", "png"), jpeg(save, 30))
    for name in FIGURES:
        assert f"\n{name} " in f"\n{shown}" and f'<data value="{figures(found)[name]}">' in text
    order = found.pairs["psnr"].argsort(stable=True)
    places = [text.index(f"<br>{found.b.names[row]}") for row in order[:24].tolist()]
    assert places == sorted(places) and f"{found.pairs['psnr'][order[0]]:.2f} dB" in text
    assert text.count("<img") == 24 and "http" not in text
    with pytest.raises(SystemExit):
        main(words)
    assert "is not overwritten: choose another --page" in capsys.readouterr().err


def test_the_page_of_sets_that_do_not_pair_shows_the_nearest_images(save: Save, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    copy = save("webp", "webp", lossless=True, exact=True)
    main(["compare", save("png", "png"), copy, "--pair", "none", "--page", str(page)])
    text = page.read_text()
    found = quick(save("png", "png"), copy, pair="none")
    first = int(found.neighbours.squares[:, 0].argmin())
    assert text.index("Nearest images") < text.index(found.b.names[first])
    own = [
        b[:4] == found.a.names[int(rows[0])][:4]
        for b, rows in zip(found.b.names, found.neighbours.rows, strict=True)
    ]
    assert all(own) and "distance 0<" in text  # a copy is nearest to its original
