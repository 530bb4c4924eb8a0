"""The training of a judge: it learns, its views are a function of their keys, its file is what was measured."""

from pathlib import Path

import pytest
import torch

from vqvae.cli import main
from vqvae.commands.judge import make_judge
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.features import Judge, network_named
from vqvae.features.judge import load_judge
from vqvae.tensors import images_from_pixels
from vqvae.training.judge import JudgeRecipe, accuracy, augmented, train_judge


def small(train: int = 2000, test: int = 300) -> dict:
    sets = {split: load("shapes", split, limit=limit) for split, limit in (("train", train), ("test", test))}
    return {split: (images.pixels, images.labels) for split, images in sets.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("judge") / "judge.safetensors"
    lines: list[str] = []
    steps: list[tuple[int, int]] = []
    recipe = JudgeRecipe(epochs=3, batch_size=64)

    def progress(done: int, total: int) -> None:
        steps.append((done, total))

    card = make_judge(
        small(), path, device="cpu", recipe=recipe, widths=(8, 8, 16), log=lines.append, progress=progress
    )
    assert len(lines) == 3 and all("validation accuracy" in line for line in lines)
    assert steps == [(step, len(steps)) for step in range(1, len(steps) + 1)]
    return path, card


def test_it_learns_to_tell_the_classes_apart(made: tuple[Path, dict]) -> None:
    _, card = made
    assert card["test_accuracy"] > 0.8 and card["images"] == 1900 and card["test_images"] == 300


@pytest.mark.parametrize("faster", [True, False])
def test_the_judge_is_trained_in_the_faster_precision_and_the_card_names_it(
    faster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqvae.training.judge.bf16_is_faster", lambda device: faster)
    seen: list[torch.dtype] = []
    logits = Judge.logits

    def watched(judge: Judge, images: torch.Tensor) -> torch.Tensor:
        out = logits(judge, images)
        if judge.training:
            seen.append(out.dtype)
        return out

    monkeypatch.setattr(Judge, "logits", watched)
    recipe = JudgeRecipe(epochs=1, batch_size=50)
    card = make_judge(
        small(100, 50), tmp_path / "judge.safetensors", device="cpu", recipe=recipe, widths=(4, 4, 4)
    )
    assert card["recipe"]["precision"] == ("bf16" if faster else "fp32")
    assert set(seen) == {torch.bfloat16 if faster else torch.float32}


def test_the_file_has_the_accuracy_of_its_card(made: tuple[Path, dict]) -> None:
    path, card = made
    judge = load_judge(path)
    assert accuracy(judge, load("shapes", "test", limit=300)) == card["test_accuracy"]
    assert network_named(str(path)).facts["test_accuracy"] == card["test_accuracy"]
    assert path.stat().st_size < 100_000


def test_training_is_a_function_of_the_seed_and_leaves_torchs_generator_alone() -> None:
    train, validation = (load("shapes", split, validation=100, limit=200) for split in ("train", "validation"))
    device = torch.device("cpu")

    def run(seed: int) -> torch.Tensor:
        recipe = JudgeRecipe(epochs=1, batch_size=50, seed=seed, precision="fp32")
        judge = train_judge(train, validation, recipe, device=device, log=str, widths=(4, 4, 4))
        return torch.cat([parameter.flatten() for parameter in judge.parameters()])

    before = torch.random.get_rng_state()
    first = run(0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, run(0)) and not torch.equal(first, run(1))


def test_the_first_layer_whitens_patches() -> None:
    images = images_from_pixels(load("shapes", "test", limit=300).pixels)
    judge = Judge((4, 4, 4))
    judge.whiten(images)
    out = judge.stem(images).permute(0, 2, 3, 1).flatten(0, 2)[:, :12].double()
    covariance = torch.cov(out.T)
    assert out.mean(0).abs().max() < 1e-4
    values = covariance.diagonal()  # below 1 where a direction hardly varies, by the 5e-4 that is added to it
    assert (values < 1 + 1e-4).all() and values.max() > 0.95
    assert (covariance - values.diag()).abs().max() < 1e-3
    assert torch.allclose(judge.stem.weight[12:], -judge.stem.weight[:12])


def test_views_are_functions_of_seed_epoch_and_row_mirrored_every_second_epoch() -> None:
    pixels = load("shapes", "train", limit=16).pixels
    rows = torch.arange(16)

    def view(epoch: int, shift: int = 2, seed: int = 0) -> torch.Tensor:
        return augmented(pixels, rows, torch.full((16,), epoch), shift=shift, seed=seed)

    assert torch.equal(view(3), view(3)) and not torch.equal(view(3), view(5))
    one, next_one = view(0, shift=0), view(1, shift=0)
    assert torch.equal(next_one, one.flip(-1))
    mirrored = (one != pixels).flatten(1).any(1)
    assert 2 < int(mirrored.sum()) < 14 and torch.equal(one[mirrored], pixels[mirrored].flip(-1))
    some = torch.tensor([5, 2])
    assert torch.equal(augmented(pixels[some], some, torch.tensor([3, 3]), shift=2, seed=0), view(3)[some])


def test_a_shift_moves_an_image_and_reflects_what_it_bares() -> None:
    line = torch.arange(8, dtype=torch.uint8).expand(1, 1, 8, 8).repeat(60, 1, 1, 1)
    found = augmented(line, torch.arange(60), torch.zeros(60, dtype=torch.int64), shift=2, seed=0)
    shifted = {tuple(row) for row in found[:, 0, 0].tolist()}
    moved = {tuple(7 - abs(7 - abs(i + s)) for i in range(8)) for s in range(-2, 3)}
    assert shifted == moved | {row[::-1] for row in moved}


def test_data_without_labels_and_a_taken_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(SystemExit):
        main(["judge", "--data", "shapes", "--out", str(taken)])
    assert "is not overwritten" in capsys.readouterr().err
    with pytest.raises(UserError, match="epochs 0: must be 1 or more"):
        make_judge("shapes", tmp_path / "x", recipe=JudgeRecipe(epochs=0))
    with pytest.raises(UserError, match="images for training: a judge needs at least 512, a batch"):
        make_judge("shapes:100", tmp_path / "x", recipe=JudgeRecipe(epochs=1))
