"""Components of a user's own file: trained, killed, resumed, sampled and measured without touching the package."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vqvae.cli import parse
from vqvae.cli.plugins import import_plugin
from vqvae.errors import UserError

PLUGIN = Path(__file__).parent / "my_components.py"
TOKENIZER = """
data: {spec: "shapes:400", limit: 96}
model:
  network: {kind: patches, hidden: 16}
  quantizer: {kind: ternary, dim: 3}
  likelihood: {kind: laplace}
training: {steps: 24, batch_size: 16, warmup: 2, evaluate_every: 12, checkpoint_every: 4, compile: false,
  precision: fp32, device: cpu}
"""
PRIOR = """
data: {limit: 96}
classes: true
model: {kind: markov, width: 8}
training: {steps: 24, batch_size: 16, warmup: 2, evaluate_every: 12, checkpoint_every: 4, compile: false,
  precision: fp32, device: cpu, learning_rate: 1.0e-2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(PLUGIN, folder)
    (folder / "tokenizer.yaml").write_text(TOKENIZER)
    (folder / "prior.yaml").write_text(PRIOR)
    return folder


def _start(folder: Path, *words: str, launcher: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", *launcher, "vqvae", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VQVAE_CACHE": str(folder / "cache")}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe)


def _done(folder: Path, *words: str, launcher: tuple[str, ...] = ()) -> str:
    process = _start(folder, *words, launcher=launcher)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def _refused(folder: Path, *words: str) -> str:
    process = _start(folder, *words)
    _, errors = process.communicate(timeout=120)
    [line] = errors.splitlines()
    assert process.returncode == 2 and line.startswith("vqvae: ")
    return line


def _kill_and_resume(folder: Path, name: str, plugin: str, *words: str) -> None:
    """Train a run whole, and the same again with a SIGKILL after the first checkpoint."""
    _done(folder, *words, "--out", f"{name}-whole", "--plugin", plugin)
    process = _start(folder, *words, "--out", name, "--plugin", plugin)
    first = folder / name / "checkpoints" / "step-00000004.safetensors"
    while not first.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (folder / name / "checkpoints" / "step-00000024.safetensors").exists(), "too fast to be killed"
    _done(folder, "resume", name, "--plugin", plugin)


@pytest.fixture(scope="module")
def runs(folder: Path) -> Path:
    """Return the folder with the runs ``t`` and ``p``, which were killed and resumed, and the same runs whole."""
    _kill_and_resume(folder, "t", "my_components", "train", "tokenizer.yaml")
    _kill_and_resume(folder, "p", "./my_components.py", "prior", "t", "prior.yaml")
    return folder


def _same_files(folder: Path, name: str) -> bool:
    files = ("model.safetensors", "best.safetensors", "checkpoints/step-00000024.safetensors")
    return all(
        (folder / name / file).read_bytes() == (folder / f"{name}-whole" / file).read_bytes() for file in files
    )


def test_both_stages_train_are_killed_and_resume_with_components_of_a_users_file(runs: Path) -> None:
    assert _same_files(runs, "t") and _same_files(runs, "p")
    out = _done(
        runs, "evaluate", "p", "--data", "shapes", "--data.limit", "64", "--json", "--plugin", "my_components"
    )
    results = json.loads(out)
    assert results["images"] == 64 and 0 < results["bits_per_code_prior"] < results["bits_per_code_uniform"]
    _done(runs, "sample", "p", "--num", "8", "--label", "star", "--out", "s.png", "--plugin", "my_components")
    assert (runs / "s.png").stat().st_size > 100


def test_a_run_of_an_absent_plugin_says_which_in_one_line(runs: Path) -> None:
    for words, file, component, kind in (
        (("resume", "t"), "t/config.yaml: model.network", "network", "patches"),
        (("resume", "p"), "p/config.yaml: model", "prior", "markov"),
        (("sample", "p", "--out", "x.png"), "p/model.safetensors: model", "prior", "markov"),
        (("evaluate", "t", "--data", "shapes"), "t/model.safetensors: model.network", "network", "patches"),
        (("evaluate", "t/best.safetensors", "--data", "shapes"), "t/best.safetensors", "network", "patches"),
        (("doctor", "t"), "t/config.yaml", "network", "patches"),
    ):
        line = _refused(runs, *words)
        assert f"{runs}/{file}" in line and f"no {component} of kind '{kind}' is known" in line
        assert "it is of the module my_components: pass --plugin my_components, or import my_components" in line


def test_a_plugin_works_on_every_rank(runs: Path) -> None:
    torchrun = ("torch.distributed.run", "--nproc-per-node", "2", "-m")
    shutil.copytree(runs / "t", runs / "copy")
    _done(runs, "resume", "copy", "--steps", "26", "--plugin", "my_components", launcher=torchrun)
    assert (runs / "copy" / "checkpoints" / "step-00000026.safetensors").exists()


def test_the_keys_of_a_plugin_are_in_the_help(folder: Path) -> None:
    page = _done(folder, "train", "--help", "--plugin", "my_components")
    assert "ternary" in page and "--model.quantizer.dim  an integer above 0 (default: 3)" in page
    assert "ternary" not in _done(folder, "train", "--help")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent_module", None, "--plugin absent_module: no such module in this folder or on Python's path"),
        ("absent.py", None, "--plugin absent.py: no such file"),
        ("", None, "--plugin : no such module"),
        ("broken_import", "import not_installed_anywhere", "broken_import.py, line 1: ModuleNotFoundError"),
        ("broken_line", "x = 1\ny = x.z\n", "broken_line.py, line 2: AttributeError"),
        ("broken_syntax", "def f(:\n", "broken_syntax.py, line 1: SyntaxError"),
        ("json.py", "x = 1", "a module json is imported already: rename the file"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_its_line(
    name: str, content: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if content is not None:
        Path(name if name.endswith(".py") else f"{name}.py").write_text(content)
    with pytest.raises(UserError) as error:
        import_plugin(name)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_file_beside_the_plugin_never_stands_before_a_module_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("beside.py").write_text("import helper_of_beside\n")
    Path("helper_of_beside.py").write_text("value = 3\n")
    arguments = parse(["info", "run", "--plugin", "beside"])
    assert arguments.plugin == ["beside"] and sys.modules["helper_of_beside"].value == 3
    assert sys.path[-1] == str(tmp_path) and str(tmp_path) not in sys.path[:-1]
