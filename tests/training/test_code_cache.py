"""The cache of codes: made once, the tokenizer's own codes, never mistaken for another's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vqvae.data import Augmentation, load, open_stream
from vqvae.data.shapes import draw
from vqvae.model_io import load_tokenizer, read_model
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.tensors import images_from_pixels
from vqvae.training import Run, code_cache
from vqvae.training.code_cache import KIND, VERSION, cache_folder, code_set


def _kept() -> list[Path]:
    return sorted(cache_folder().rglob("*.safetensors"))


def test_the_cache_holds_the_tokenizers_codes_of_both_views(tokenizer_run: Run) -> None:
    tokenizer, images = load_tokenizer(tokenizer_run.path), load("shapes", "test", limit=40)
    name = read_model(tokenizer_run.path).card.identity
    stored = code_set(tokenizer, name, images, views=Augmentation(mirrored=True), device="cpu")
    inputs = images_from_pixels(images.pixels)
    assert torch.equal(stored.codes[0].long(), tokenizer.encode(inputs, exact=True))
    assert torch.equal(stored.codes[1].long(), tokenizer.encode(inputs.flip(-1), exact=True))
    assert len(stored) == 40 and torch.equal(stored.labels, images.labels)
    assert name[:16] in str(_kept()[0])


def test_the_cache_holds_the_codes_of_every_shifted_view(tokenizer_run: Run) -> None:
    tokenizer, images = load_tokenizer(tokenizer_run.path), load("shapes", "test", limit=300)
    views, rows = Augmentation(mirrored=True, crops=2, seed=4), torch.arange(300)
    stored = code_set(tokenizer, "e" * 64, images, views=views, device="cpu").codes
    assert stored.shape == (6, 300, 8, 8, 1)
    for view in range(6):
        pixels = views.of(images.pixels, rows, torch.full_like(rows, view))
        assert torch.equal(stored[view].long(), tokenizer.encode(images_from_pixels(pixels), exact=True))
    assert not torch.equal(stored[0], stored[2]) and not torch.equal(stored[2], stored[4])


def test_a_stream_gives_the_codes_and_labels_of_what_decodes(tokenizer_run: Run, tmp_path: Path) -> None:
    for row, (pixels, label) in enumerate(zip(draw(torch.arange(60), split="train"), "ab" * 30, strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / label / f"{row:02d}.png")
    (tmp_path / "a" / "08.png").write_bytes(b"no image")
    tokenizer, views = load_tokenizer(tokenizer_run.path), Augmentation(mirrored=True)
    held, stream = load(str(tmp_path), "train"), open_stream(str(tmp_path), "train")
    in_memory = code_set(tokenizer, "d" * 64, held, views=views, device="cpu")
    streamed = code_set(tokenizer, "d" * 64, stream, views=views, device="cpu")
    assert torch.equal(streamed.codes, in_memory.codes)
    assert torch.equal(streamed.labels, in_memory.labels)
    assert len(streamed) == len(stream) - 1
    assert torch.equal(code_set(tokenizer, "d" * 64, stream, views=views, device="cpu").labels, streamed.labels)


def test_codes_are_made_once(tokenizer_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, images = load_tokenizer(tokenizer_run.path), load("shapes", "test", limit=8)
    first = code_set(tokenizer, "a" * 64, images, views=Augmentation(), device="cpu")

    def never(*_: Any) -> Any:
        raise AssertionError("encoded again")

    monkeypatch.setattr(code_cache, "_encoded", never)
    again = code_set(tokenizer, "a" * 64, images, views=Augmentation(), device="cpu")
    assert torch.equal(first.codes, again.codes)
    others = [{"identity": "b" * 64}, {"images": load("shapes", "test", limit=7)}]
    others += [
        {"views": views}
        for views in (Augmentation(mirrored=True), Augmentation(crops=1), Augmentation(crops=1, seed=2))
    ]
    code_set(
        tokenizer, "a" * 64, images, views=Augmentation(seed=2), device="cpu"
    )  # without crops no seed matters
    for changed in others:
        arguments = {"identity": "a" * 64, "images": images, "views": Augmentation(), **changed}
        with pytest.raises(AssertionError, match="encoded again"):
            code_set(tokenizer, device="cpu", **arguments)


def test_what_is_damaged_is_made_again(tokenizer_run: Run) -> None:
    tokenizer, images = load_tokenizer(tokenizer_run.path), load("shapes", "test", limit=8)
    first = code_set(tokenizer, "c" * 64, images, views=Augmentation(), device="cpu")
    [path] = _kept()
    header, tensors = load_tensors(path, KIND, VERSION)
    path.write_bytes(path.read_bytes()[:40])
    assert torch.equal(
        code_set(tokenizer, "c" * 64, images, views=Augmentation(), device="cpu").codes, first.codes
    )
    old = {"key": header["key"]}, {"codes": tensors["codes"] + 1}  # of version 1, without rows
    save_tensors(path, KIND, 1, *old)
    assert torch.equal(
        code_set(tokenizer, "c" * 64, images, views=Augmentation(), device="cpu").codes, first.codes
    )


def test_a_cache_that_cannot_be_written_is_said_and_changes_no_code(
    tokenizer_run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer, images = load_tokenizer(tokenizer_run.path), load("shapes", "test", limit=20)
    kept = code_set(tokenizer, "f" * 64, images, views=Augmentation(), device="cpu")
    monkeypatch.setenv("VQVAE_CACHE", "/dev/null/x")
    found = code_set(tokenizer, "f" * 64, images, views=Augmentation(), device="cpu")
    assert torch.equal(found.codes, kept.codes)
    monkeypatch.delenv("VQVAE_CACHE")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # what it does where no home is known
    found = code_set(tokenizer, "f" * 64, images, views=Augmentation(), device="cpu")
    assert torch.equal(found.codes, kept.codes)
    first, second = caplog.messages
    assert "codes are not kept for the next training: /dev/null/x" in first and "Not a directory" in first
    assert "no home folder is known; VQVAE_CACHE may name another folder" in second
