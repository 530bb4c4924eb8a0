"""The command line: one clear line for what the user can mend, exit code 2, nothing overwritten."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from vqvae.cli import main
from vqvae.training import Run


def _fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must fail; return its one line."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line]
    assert len(lines) == 1 and captured.out == "" and lines[0].startswith("vqvae: ")
    return lines[0]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["train", "cifar1"], "did you mean 'cifar10'"),
        (["train", "shapes", "--model.quantizer.num_cods", "3"], "did you mean --model.quantizer.num_codes?"),
        (["train", "shapes", "--training.steps", "0"], "training.steps: must be an integer above 0, got 0"),
        (["train", "shapes", "--steps"], "--steps"),
        (["train", "shapes", "--model.width"], "--model.width: expected a value"),
        (["train", "shapes", "--data", "/no/such/folder"], "/no/such/folder"),
        (["train", "shapes", "--data", "cifar"], "did you mean 'cifar10'"),
        (["train", "no.yaml"], "no.yaml: no such file"),
        (["train", "shapes-prior"], "use vqvae prior"),
        (["train", "shapes", "--device", "gpu"], "--device gpu: no such device here"),
        (["prior", "/no/run"], "/no/run: no such run directory or model file"),
        (["resume", "/no/run"], "/no/run: no such run directory"),
        (["evaluate", "/no/run", "--data", "shapes"], "/no/run: no such run directory"),
        (["evaluate", "/no/run"], "--data"),
        (["report", "/no/run"], "/no/run: no such run directory"),
        (["info", "/no/run"], "/no/run: no such run directory"),
    ],
)
def test_one_line_says_what_is_wrong(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in _fails(capsys, *argv)


def test_a_typo_in_the_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "my.yaml"
    recipe.write_text("training: {learning_rat: 1.0e-3}\n")
    assert "my.yaml: unknown key 'training.learning_rat'; did you mean 'training.learning_rate'" in _fails(
        capsys, "train", str(recipe)
    )
    recipe.write_text("training: [1, 2\n")
    assert "my.yaml: not YAML" in _fails(capsys, "train", str(recipe))
    recipe.write_text("just words\n")
    assert "my.yaml: expected keys and values" in _fails(capsys, "train", str(recipe))


def test_images_that_do_not_fit_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        Image.new("RGB", (33, 30)).save(tmp_path / f"{number}.png")
    line = _fails(capsys, "train", "shapes", "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    assert "30x33" in line and "multiples of 4" in line and "--data.fit crop" in line
    assert not (tmp_path / "run").exists()


def test_a_file_that_cannot_be_decoded_is_named_and_skipped_or_stops_the_run(
    recipes: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "images"
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        for number in range(20):
            Image.linear_gradient("L").resize((16, 16)).rotate(9 * number).save(folder / split / f"{number}.png")
    (folder / "train" / "0-broken.png").write_bytes(b"not an image")
    settings = ["--data", str(folder), "--data.limit", "null", "--steps", "2"]
    strict = ["train", recipes["tokenizer"], *settings, "--out", str(tmp_path / "strict"), "--strict"]
    assert "broken.png" in _fails(capsys, *strict)
    assert not (tmp_path / "strict").exists()
    main(["train", recipes["tokenizer"], *settings, "--out", str(tmp_path / "run")])
    assert "broken.png" in caplog.text
    [bad] = json.loads((tmp_path / "run" / "data.json").read_text())["bad"]
    assert bad["path"].endswith("broken.png")
    main(["report", str(tmp_path / "run")])
    assert "broken.png" in (tmp_path / "run" / "report.html").read_text()


def test_an_empty_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(tmp_path) in _fails(capsys, "train", "shapes", "--data", str(tmp_path))


def test_a_run_is_never_overwritten(tokenizer_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in tokenizer_run.path.rglob("*")}
    line = _fails(capsys, "train", "shapes", "--out", str(tokenizer_run.path))
    assert f"vqvae resume {tokenizer_run.path}" in line
    assert {path: path.stat().st_mtime_ns for path in tokenizer_run.path.rglob("*")} == before


def test_a_directory_that_is_not_empty_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "exists and is not overwritten" in _fails(capsys, "train", "shapes", "--out", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_wrong_kind_of_model_is_named(
    tokenizer_run: Run, prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(tmp_path / "x.png")
    assert "a tokenizer, not a prior" in _fails(capsys, "sample", str(tokenizer_run.path), "--out", picture)
    assert "a prior, not a tokenizer" in _fails(capsys, "prior", str(prior_run.path))
    foreign = tmp_path / "model.safetensors"
    foreign.write_bytes(b"\x00" * 64)
    assert "damaged" in _fails(capsys, "sample", str(foreign), "--out", picture)
    assert not Path(picture).exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--label", "hart"], "did you mean 'heart'"),
        (["--label", "99"], "--label 99: no such class"),
        (["--temperature", "-1"], "temperature -1.0: must be 0 or more"),
        (["--top-p", "2"], "--top-p 2.0: must be above 0 and at most 1"),
        (["--top-k", "0"], "--top-k 0: must be 1 or more"),
        (["--guidance", "inf"], "--guidance inf: must be a finite number"),
        (["--num", "0"], "--num 0: must be 1 or more"),
    ],
)
def test_a_control_out_of_range_is_named(
    flags: list[str], says: str, prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in _fails(capsys, "sample", str(prior_run.path), "--out", str(tmp_path / "x.png"), *flags)


def test_sampling_draws_the_same_picture_from_the_same_seed(
    prior_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [tmp_path / f"{name}.png" for name in "abc"]
    for path, seed in zip(pictures, "112", strict=True):
        main(["sample", str(prior_run.path), "--num", "8", "--seed", seed, "--label", "star", "--out", str(path)])
    one, same, other = (path.read_bytes() for path in pictures)
    assert one == same != other
    assert "exists and is not overwritten" in _fails_after(
        capsys, "sample", str(prior_run.path), "--out", str(pictures[0])
    )


def _fails_after(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    return _fails(capsys, *argv)


def test_reconstruct_takes_files_and_data(tokenizer_run: Run, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(photo)
    for name, what in (("file", [str(photo)]), ("files", [str(photo)] * 3), ("data", ["shapes"])):
        main(["reconstruct", str(tokenizer_run.path), *what, "--out", str(tmp_path / f"{name}.png")])
    with Image.open(tmp_path / "file.png") as picture:
        assert picture.size == (64, 130)
    with Image.open(tmp_path / "files.png") as picture:
        assert picture.size == (3 * 64 + 2 * 2, 130)


def test_evaluate_prints_one_json_object(prior_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(prior_run.path), "--data", "shapes", "--json"])
    results = json.loads(capsys.readouterr().out)
    assert results["images"] == 2000 and results["protocol"]["split"] == "test"
    wanted = {"nmse", "psnr", "ssim", "perplexity", "usage", "bits_per_code_prior", "bits_per_dim_uniform"}
    assert wanted < results.keys()
    assert results["bits_per_dim_prior"] < results["bits_per_dim_uniform"]


def test_info_says_what_a_run_is(tokenizer_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", str(tokenizer_run.path)])
    out = capsys.readouterr().out
    assert "tokenizer" in out and "3x32x32" in out and "moon" in out


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_real_process_saves_and_exits_with_the_signals_code(
    signum: int, code: int, recipes: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "vqvae",
        "train",
        recipes["tokenizer"],
        "--out",
        str(out),
        "--steps",
        "100000",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signum)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"go on with: vqvae resume {out}" in errors.splitlines()[-1]
