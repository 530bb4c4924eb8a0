"""Our own files, damaged or malicious: one typed error or a well-formed object, fast, small, and no code run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.torture import compressed, images, mutants

from vqvae.cli import main
from vqvae.config import load_config
from vqvae.errors import UserError
from vqvae.files import read_json, read_records
from vqvae.report.page import write_report
from vqvae.tensorfile import load_tensors, save_tensors
from vqvae.training import Run, resume
from vqvae.training.checkpoint import VERSION, checkpoints


def test_mutants_of_every_file_are_refused_or_read(capfd: pytest.CaptureFixture[str]) -> None:
    refused, _, _, wrong = mutants.judge(1, 400)
    assert wrong == [] and 200 < refused < 400


def test_mutants_of_compressed_files_are_refused_and_never_a_wrong_image() -> None:
    refused, _, _, wrong = compressed.judge(1, 300)
    assert wrong == [] and refused > 250


def test_a_hundredth_of_the_images_bad_and_training_goes_on() -> None:
    assert "exactly those listed" in images.check(400, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &a [x]\nb: [*a, *a]\n", "aliases"),
        *((opening * 3_000, "more than 32 levels") for opening in ("[", "{", "[ ", "{a: ", "- ", "? ", "? [")),
        ("a: '" + "[" * 100 + "'\nb", "not YAML"),
        ("a: [1] # " + "[" * 100 + "\nb", "not YAML"),
        ("a: " + "9" * 5_000, "not YAML"),
        ("x: !!int ''", "not YAML"),
        ("x: !!python/object/apply:os.system [exit]", "not YAML"),
        ("x: 1\n" * 10_000, "characters"),
        ("training: {learning_rate: .inf}", "training.learning_rate: must be a number above 0"),
        ("training: {learning_rate: 1.0e+999}", "training.learning_rate: must be a number above 0"),
        ("training: {steps: 1:59:59:59:59:59:59}\n1: 2", "small.yaml"),
        ("stage: other", "small.yaml"),
        ("stage: " + "x" * 5_000, "small.yaml"),
        ("model: {quantizer: {kind: ema" + "9" * 5_000 + "}}", "model.quantizer"),
        ("data: [1]\nstage: prior", "small.yaml"),
    ],
)
def test_yaml_of_mischief_gets_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "small.yaml").write_text(text)
    for stage in ("tokenizer", "prior"):
        with pytest.raises(UserError, match=r"^[^\n]{1,500}$") as caught:
            load_config(str(tmp_path / "small.yaml"), stage, base={"spec": "shapes"})
        assert says in str(caught.value) or "is for stage" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{", "[1]", "9" * 5_000, "\ud800".encode("utf-8", "surrogatepass")]
)
def test_json_of_mischief_gets_one_line(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"^[^\n]{1,500}$"):
        read_json(file)


def test_records_that_are_none_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": "2"}\n{"step": true}\n[3]\n' + "[" * 99_999 + '\n{"step": 4}\n{"step"')
    assert [record["step"] for record in read_records(file)] == [1, 4]


def test_a_report_of_damaged_records_is_one_line(tokenizer_run: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_bytes(tokenizer_run.config.read_bytes())
    (run / "evaluation.json").write_text(json.dumps({"results": [1], "counts": "many"}))
    with pytest.raises(UserError, match=r"^[^\n]*a record in it is damaged[^\n]*$"):
        write_report(run)


@pytest.mark.parametrize("step", [float("inf"), 1e30, "4", None, [4]])
def test_a_checkpoint_of_no_step_is_one_line(step: Any, tokenizer_run: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(tokenizer_run.path, run.path)
    newest = checkpoints(run.checkpoints)[-1]
    header, tensors = load_tensors(newest, "vqvae-checkpoint", VERSION)
    for path in checkpoints(run.checkpoints):
        path.unlink()
    save_tensors(newest, "vqvae-checkpoint", VERSION, {**header, "step": step}, tensors)
    with pytest.raises(UserError, match=r"^[^\n]{1,500}$"):
        resume(str(run.path))


def test_a_card_that_asks_for_any_amount_is_refused_at_once(tmp_path: Path) -> None:
    mutants.originals(tmp_path)
    from vqvae.model_io import load_tokenizer, read_model, save_model

    for key, value in (("width", 2**30), ("residual_blocks", 10**12), ("residual_width", 10**30), ("factor", 32)):
        file = read_model(tmp_path / "tokenizer.safetensors")
        file.card.build["model"]["network"][key] = value
        save_model(tmp_path / "greedy.safetensors", file.state, file.card)
        with pytest.raises(
            UserError, match=r"^[^\n]*(its weights do not fit its card|does not fit into 64 bits)[^\n]*$"
        ):
            load_tokenizer(tmp_path / "greedy.safetensors")


def test_a_command_on_a_damaged_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(SystemExit) as stop:
        main(["info", str(tmp_path)])
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_nothing_in_the_program_can_unpickle() -> None:
    banned = re.compile(
        r"\bpickle\b(?!s)|torch\.load\b(?!\(.*weights_only=True\))|torch\.save\b|"
        r"allow_pickle(?!=False)|\bshelve\b|\bmarshal\b|\bdill\b|joblib"
    )
    for path in (Path(__file__).parent.parent / "src").rglob("*.py"):
        code = "\n".join(line.split("#")[0] for line in path.read_text().splitlines())
        found = [
            match.group() for match in banned.finditer(re.sub(r'""".*?"""|"[^"\n]*"', "", code, flags=re.DOTALL))
        ]
        assert not found, (path, found)
