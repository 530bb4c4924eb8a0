"""Use cases take opened models, and their errors name arguments; the command line makes options of the names."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vqvae import model_io
from vqvae.cli import main
from vqvae.commands.encode import encode_to_store
from vqvae.commands.export import certificate_images
from vqvae.commands.inpaint import inpaint_picture
from vqvae.commands.likelihood import likelihood_picture
from vqvae.commands.resolve import PriorRun, open_prior_run, open_run, open_tokenizer_run, without_ending
from vqvae.commands.sample import sample_picture
from vqvae.commands.sample_to_store import sample_to_store
from vqvae.errors import ArgumentError, UserError
from vqvae.sampling import Controls
from vqvae.training import Run


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each model file is read, and how often a network is built for use."""
    found: Counter[str] = Counter()
    parse, filled = model_io.parse_tensors, model_io._filled

    def counted_parse(content: bytes, path: Path, *rest: Any) -> Any:
        found[f"read {path.parent.name}"] += 1
        return parse(content, path, *rest)

    def counted_filled(build: Any, file: Any) -> Any:
        found[f"built {file.card.stage}"] += 1
        return filled(build, file)

    monkeypatch.setattr(model_io, "parse_tensors", counted_parse)
    monkeypatch.setattr(model_io, "_filled", counted_filled)
    return found


ONE_TOKENIZER = {"read tokenizer": 1, "built tokenizer": 1}
BOTH = {**ONE_TOKENIZER, "read prior": 1, "built prior": 1}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["evaluate", "RUN", "--data", "shapes:100"], BOTH),
        (["sample", "RUN", "--num", "1", "--out", "OUT.png"], BOTH),
        (["sample", "RUN", "--num", "1", "--store", "OUT"], {"read prior": 1, "built prior": 1}),
        (["likelihood", "RUN", "PHOTO", "--out", "OUT.png"], BOTH),
        (["inpaint", "RUN", "PHOTO", "--num", "1", "--box", "0,0,8,8", "--out", "OUT.png"], BOTH),
        (["reconstruct", "RUN", "PHOTO", "--out", "OUT.png"], ONE_TOKENIZER),
        (["encode", "RUN", "--data", "shapes:20", "--split", "train", "--out", "OUT"], ONE_TOKENIZER),
    ],
)
def test_a_command_reads_and_builds_each_model_once(
    command: list[str], expected: dict[str, int], prior_run: Run, tmp_path: Path, reads: Counter[str]
) -> None:
    photo = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(photo)
    words = {"RUN": str(prior_run.path), "PHOTO": str(photo)}
    main([words.get(word, word).replace("OUT", str(tmp_path / "out")) for word in command])
    assert reads == expected


def test_a_run_of_either_stage_is_opened_by_its_path(tokenizer_run: Run, prior_run: Run) -> None:
    assert not isinstance(open_run(tokenizer_run.path), PriorRun)
    run = open_run(prior_run.path)
    assert isinstance(run, PriorRun) and run.data is not None and run.data.spec == "shapes"
    assert run.tokenizer.card.identity == run.prior.card.tokenizer
    alone = open_run(tokenizer_run.best)
    assert alone.data is None and alone.tokenizer.hash == open_tokenizer_run(tokenizer_run.best).tokenizer.hash


def test_errors_name_the_argument(prior_run: Run, tmp_path: Path) -> None:
    run, out = open_prior_run(prior_run.path), str(tmp_path / "store")
    for call, name, says in (
        (lambda: sample_picture(run, num=0), "num", "num 0: must be 1 or more"),
        (lambda: sample_picture(run, num=1, label="hart"), "label", "label hart: no such class; did you mean"),
        (lambda: sample_picture(run, num=1, controls=Controls(top_k=0)), "top_k", "top_k 0: must be 1 or more"),
        (lambda: sample_to_store(run.prior, out, num=1, shard_rows=0), "shard_rows", "shard_rows 0: must be 1"),
        (lambda: encode_to_store(run, "shapes", out, shard_rows=-1), "shard_rows", "shard_rows -1: must be 1"),
        (lambda: inpaint_picture(run, "x.png", depth=1), "depth", "depth 1: must be 0 to 0"),
        (lambda: open_run(prior_run.path, device="gpu"), "device", "device gpu: no such device here"),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert caught.value.name == name and str(caught.value).startswith(says) and "--" not in str(caught.value)
    with pytest.raises(UserError, match="give a box, a mask or a depth"):
        photo = tmp_path / "photo.png"
        Image.new("RGB", (32, 32)).save(photo)
        inpaint_picture(run, str(photo))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--top-k", "0"], "--top-k 0: must be 1 or more"),
        (["--num", "0"], "--num 0: must be 1 or more"),
        (["--device", "gpu"], "--device gpu: no such device here"),
        (["--candidates", "0"], "--candidates 0: must be 1 or more"),
    ],
)
def test_the_command_line_writes_the_argument_as_its_option(
    flags: list[str], says: str, prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(prior_run.path), "--out", str(tmp_path / "x.png"), *flags])
    assert stop.value.code == 2 and capsys.readouterr().err.startswith(f"vqvae: {says}")


@pytest.mark.parametrize("command", ["reconstruct", "likelihood", "compress --model"])
def test_images_are_files_or_one_data_set_and_never_both(
    command: str, prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, data = str(tmp_path / "photo.png"), str(tmp_path / "data.npz")
    Image.new("RGB", (32, 32)).save(photo)
    np.savez(data, np.zeros((40, 32, 32, 3), np.uint8))
    for other, says in (
        (data, "not an image file: give image files, or one data set alone"),
        (str(tmp_path), "not an image file: give image files, or one data set alone"),
        (str(tmp_path / "no.png"), "no such image file: give image files, or one data set alone"),
    ):
        for names in ((photo, other), (other, photo)):
            with pytest.raises(SystemExit) as stop:
                main([*command.split(), str(prior_run.path), *names, "--out", str(tmp_path / "out.x")])
            assert stop.value.code == 2 and capsys.readouterr().err == f"vqvae: {other}: {says}\n"


def test_a_run_that_was_trained_on_an_object_asks_for_data(prior_run: Run) -> None:
    run = open_prior_run(prior_run.path)
    assert run.data is not None
    run = replace(run, data=replace(run.data, spec="object: array of 40 images, SHA-256 0123456789abcdef"))
    for call in (
        lambda: certificate_images(run, None, "test", 4),
        lambda: likelihood_picture(run, ["shapes:60"]),
    ):
        with pytest.raises(UserError, match=f"^{run.path}: .*: pass --data SPEC$"):
            call()
    assert len(certificate_images(run, "shapes:60", "test", 2)[1]) == 2


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("cat/1.png", "cat/1"),
        ("a.b.JPEG", "a.b"),
        ("x.jp2", "x"),
        ("scan.001", "scan.001"),
        ("v1.25", "v1.25"),
        (".png", ".png"),
        ("cat/.png", "cat/.png"),
        ("test.parquet row 17", "test.parquet row 17"),
    ],
)
def test_an_ending_begins_with_a_letter_and_something_stands_before_it(name: str, stem: str) -> None:
    assert without_ending(name) == stem
