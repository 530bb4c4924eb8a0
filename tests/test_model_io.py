"""Models from paths: what was saved is what is loaded, and nothing else is taken for it."""

import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

import vqvae
from vqvae.cli import main
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.model_io import VERSION, open_tokenizer, read_model, save_model
from vqvae.priors import CodeTransformer
from vqvae.report.pictures import save_png
from vqvae.run_directory import RunDirectory
from vqvae.tensorfile import save_tensors
from vqvae.tensors import images_from_pixels
from vqvae.training import Run


def test_the_public_surface_as_documented(tokenizer_run: Run, prior_run: Run) -> None:
    tokenizer = vqvae.load_tokenizer(tokenizer_run.path)
    images = images_from_pixels(load("shapes", "test", limit=6).pixels)
    codes = tokenizer.encode(images)
    assert codes.shape == (6, 8, 8, 1) and codes.dtype == torch.int64
    decoded = tokenizer.decode(codes)
    assert decoded.shape == images.shape and decoded.dtype == torch.float32 and decoded.abs().max() <= 1
    prior = vqvae.load_prior(str(prior_run.path))
    assert not tokenizer.training and not prior.training
    drawn = prior.sample(5, seed=0, temperature=1.0, top_k=None, top_p=None, labels=None)
    assert drawn.shape == (5, 8, 8, 1) and drawn.dtype == torch.int64
    assert prior.log_prob(codes, labels=None).shape == (6,)
    assert prior(codes, labels=None).shape == (6, 8, 8, 1, 16)


def test_a_transformer_is_trained_and_loaded_as_a_pixelcnn_is(
    tokenizer_run: Run, train_prior, tmp_path: Path
) -> None:
    run = train_prior(tmp_path / "run", tokenizer_run, model__kind="transformer", model__heads="2")
    prior = vqvae.load_prior(run.path)
    assert isinstance(prior, CodeTransformer) and not prior.training
    losses = [record["loss"] for record in read_records(run.metrics) if record["split"] == "train"]
    assert len(losses) == 12 and losses[-1] < losses[0]
    codes = prior.sample(3, labels=torch.tensor([0, 1, prior.num_classes]), guidance=2.0)
    assert codes.shape == (3, 8, 8, 1) and prior.log_prob(codes).isfinite().all()


def test_a_card_that_names_no_kind_of_prior_is_a_pixelcnns(prior_run: Run, tmp_path: Path) -> None:
    file = read_model(prior_run.path)
    del file.card.build["model"]["kind"]
    save_model(tmp_path / "model.safetensors", file.state, file.card)
    codes = torch.zeros(1, 8, 8, 1, dtype=torch.int64)
    assert torch.equal(vqvae.load_prior(tmp_path)(codes), vqvae.load_prior(prior_run.path)(codes))


def test_a_file_and_its_run_are_the_same_model(tokenizer_run: Run, prior_run: Run) -> None:
    one, other = vqvae.load_tokenizer(tokenizer_run.path), vqvae.load_tokenizer(tokenizer_run.model)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
    name = hashlib.sha256(tokenizer_run.model.read_bytes()).hexdigest()
    assert read_model(prior_run.path / "tokenizer").hash == read_model(tokenizer_run.path).hash == name
    assert read_model(prior_run.path).card.tokenizer == read_model(tokenizer_run.path).card.identity


def test_a_non_square_grey_tokenizer_is_rebuilt_from_its_file(tmp_path: Path, train_tokenizer) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        Image.linear_gradient("L").resize((24, 16)).rotate(9 * number).save(folder / f"{number}.png")
    settings = {"data__spec": str(folder), "data__limit": "null", "training__steps": "3"}
    run = train_tokenizer(tmp_path / "run", **settings, model__quantizer__codes_per_position="3")
    tokenizer = vqvae.load_tokenizer(run.path)
    assert tokenizer.encode(torch.zeros(2, 1, 16, 24)).shape == (2, 4, 6, 3)


_OPENED: list[Path] = []  # files that were opened to be read, in order


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | Path) and arguments[1] in ("r", "rb"):
        _OPENED.append(Path(arguments[0]))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[Path]]:
    """Return a function that says how often each file of tensors was opened since the test began."""
    if not hasattr(_note, "installed"):
        sys.addaudithook(_note)  # there is no way to take one away
        _note.installed = True  # pyright: ignore[reportFunctionMemberAccess]

    def noted(path: Path, **options: object) -> object:  # Rust opens files without an audit event
        _OPENED.append(Path(path))
        return safe_open(path, **options)

    monkeypatch.setattr("vqvae.tensorfile.safe_open", noted)
    _OPENED.clear()
    return lambda: Counter(path for path in _OPENED if path.name in ("model.safetensors", "best.safetensors"))


def test_starting_and_resuming_a_prior_opens_the_tokenizers_file_once(
    tokenizer_run: Run, recipes: dict[str, str], tmp_path: Path, opened: Callable[[], Counter[Path]]
) -> None:
    run = RunDirectory(tmp_path / "run")
    main(["prior", str(tokenizer_run.path), recipes["prior"], "--steps", "4", "--out", str(run.path)])
    assert opened() == {tokenizer_run.model: 1}
    assert run.tokenizer.read_bytes() == tokenizer_run.model.read_bytes()
    _OPENED.clear()
    main(["resume", str(run.path)])
    assert opened() == {run.tokenizer: 1, run.best: 1}


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("sample {prior} --num 2 --out {tmp}/a.png", {"model", "tokenizer"}),
        ("sample {prior} --num 2 --store {tmp}/store", {"model"}),
        ("evaluate {prior} --data shapes:40", {"model", "tokenizer"}),
        ("evaluate {tokenizer} --data shapes:40", {"own"}),
        ("likelihood {prior} shapes:40 --data shapes:40 --out {tmp}/a.png", {"model", "tokenizer"}),
        ("inpaint {prior} {tmp}/image.png --box 0,0,8,8 --num 1 --candidates 1 --out {tmp}/a.png",
         {"model", "tokenizer"}),
        ("reconstruct {tokenizer} shapes:40 --out {tmp}/a.png", {"own"}),
        ("encode {tokenizer} --data shapes:40 --out {tmp}/store", {"own"}),
        ("info {prior}", {"model"}),
        ("doctor {prior}", {"model"}),
    ],
)  # fmt: skip
def test_a_command_opens_each_model_file_once(
    command: str,
    files: set[str],
    tokenizer_run: Run,
    prior_run: Run,
    tmp_path: Path,
    opened: Callable[[], Counter[Path]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for run in (tokenizer_run, prior_run):  # whose files stay as they are; another test may have measured them
        shutil.copytree(run.path, tmp_path / run.path.name, ignore=shutil.ignore_patterns("evaluation.json"))
    tokenizer, prior = RunDirectory(tmp_path / "tokenizer"), RunDirectory(tmp_path / "prior")
    save_png(Image.new("RGB", (32, 32)), tmp_path / "image.png")
    _OPENED.clear()
    with suppress(SystemExit):  # the doctor's, where the run is not well
        main(command.format(tokenizer=tokenizer.path, prior=prior.path, tmp=tmp_path).split())
    known = {"model": prior.model, "tokenizer": prior.tokenizer, "own": tokenizer.model}
    assert opened() == {known[name]: 1 for name in files}


def test_the_doctor_of_a_measured_prior_opens_each_file_once(
    prior_run: Run, tmp_path: Path, opened: Callable[[], Counter[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDirectory(shutil.copytree(prior_run.path, tmp_path / "run"))
    main(["evaluate", str(run.path), "--data", "shapes:40"])
    _OPENED.clear()
    with suppress(SystemExit):
        main(["doctor", str(run.path)])
    assert "left out" not in capsys.readouterr().err
    assert opened() == {run.model: 1, run.tokenizer: 1}  # the tokenizer's for its hash


def test_what_was_read_is_what_is_hashed_and_built(tokenizer_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(tokenizer_run.model.read_bytes())
    file = read_model(path)
    path.unlink()  # as a training would that writes another in its place
    opened = open_tokenizer(file)
    assert file.content == tokenizer_run.model.read_bytes()
    assert (opened.hash, opened.path, opened.card) == (read_model(tokenizer_run.path).hash, path, file.card)
    for name, tensor in opened.model.state_dict().items():
        assert torch.equal(tensor, file.state[name])


@pytest.mark.parametrize("version", [1, 3, 5, None, "4"])
def test_a_file_of_another_version_is_refused_in_one_line(
    version: object, tokenizer_run: Run, tmp_path: Path
) -> None:
    file = read_model(tokenizer_run.path)
    save_tensors(tmp_path / "model.safetensors", "vqvae-model", version, {"card": vars(file.card)}, file.state)
    with pytest.raises(UserError) as caught:
        vqvae.load_tokenizer(tmp_path)
    says = f"vqvae-model of version {version!r}, not {VERSION}: make it again"
    assert str(caught.value) == f"{tmp_path}/model.safetensors: {says}"


def test_wrong_files_are_refused_in_one_line(tokenizer_run: Run, prior_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a prior, not a tokenizer"):
        vqvae.load_tokenizer(prior_run.model)
    with pytest.raises(UserError, match="a tokenizer, not a prior"):
        vqvae.load_prior(tokenizer_run.path)
    with pytest.raises(UserError, match=r"no model\.safetensors in it"):
        vqvae.load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="not a vqvae-model file"):
        vqvae.load_tokenizer(tokenizer_run.checkpoints / "step-00000012.safetensors")
    file = read_model(tokenizer_run.path)
    file.state.pop("encoder.0.weight")
    save_model(tmp_path / "model.safetensors", file.state, file.card)
    with pytest.raises(UserError, match="its weights do not fit its card"):
        vqvae.load_tokenizer(tmp_path)
