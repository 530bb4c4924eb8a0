"""Options and keys: what is typed wrongly is answered with what the command really has."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vqvae.cli import main, parse
from vqvae.errors import UserError
from vqvae.paths import whole_path, whole_spec


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sample p --guidence 3 --out x", "unknown option --guidence; did you mean --guidance?"),
        ("sample p --top_k 3 --out x", "unknown option --top_k; did you mean --top-k?"),
        ("resume t --jsno", "unknown option --jsno; vqvae resume --help lists the options"),
        ("info t --json", "unknown option --json; vqvae info --help lists the options"),
        ("doctor t --jsno", "did you mean --json?"),
        ("train shapes --batch_size 8", "did you mean --training.batch_size?"),
        ("train shapes --batch-size 8", "did you mean --training.batch_size?"),
        ("train shapes --lr 1", "did you mean --training.learning_rate?"),
        ("train shapes --num_codes 8", "did you mean --model.quantizer.num_codes?"),
        ("train shapes --stpes 8", "did you mean --steps?"),
        ("train shapes --training.stpes 8", "did you mean --training.steps?"),
        ("train shapes --model.quantiser.num_codes 8", "did you mean --model.quantizer.num_codes?"),
        ("train shapes --xyzzy 8", "unknown option --xyzzy; vqvae train --help lists the options"),
        ("train shapes --classes true", "unknown option --classes"),
        ("train shapes --data.flip", "--data.flip: expected a value: true or false"),
        ("train shapes --model.width --steps 3", "--model.width: expected a value: an integer above 0"),
        ("evaluate t --data d --data.sise 32", "did you mean --data.size?"),
        ("evaluate t --data d --training.steps 3", "unknown option --training.steps"),
        ("evaluate t --data d --split tets", "'tets' is not one of train, validation, test; did you mean test?"),
        ("sample p --out x --seed 12345678901234567890", "--seed: 12345678901234567890 does not fit into 64 bits"),
        ("sample p --out x --num ten", "--num: 'ten' is not a whole number such as 10000, 1e4 or 10k"),
        ("sample p --out x --temperature warm", "--temperature: 'warm' is not a number"),
        ("trian shapes", "no command 'trian'; did you mean 'train'?"),
        ("", "no command given; vqvae --help lists them"),
        ("train", "RECIPE; see vqvae train --help"),
        ("train shapes cifar10", "cifar10; see vqvae train --help"),
    ],
)
def test_a_mistyped_word_is_answered_with_what_the_command_has(line: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse(line.split())
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 250


def test_two_names_of_one_key_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "shapes", "--steps", "3", "--training.steps", "4"])
    assert "--steps is given twice: it is short for training.steps" in capsys.readouterr().err


def test_the_second_loss_of_a_kind_is_set_by_its_name() -> None:
    arguments = parse("train two.yaml --losses.l1-2.weight 0.5 --training.batch-size 8".split())
    assert arguments.overrides == {"losses.l1-2.weight": "0.5", "training.batch_size": "8"}


def test_options_and_words_come_in_any_order() -> None:
    lines = ("train shapes --training.seed -3 --steps 5", "train --training.seed=-3 --steps 5 shapes")
    for line in (line.split() for line in lines):
        arguments = parse(line)
        assert (arguments.recipe, arguments.steps, arguments.overrides) == ("shapes", "5", {"training.seed": "-3"})
    assert parse(["sample", "p", "--num", "10k", "--out", "x"]).num == 10_000


def _whole(**given: str) -> dict[str, Any]:
    words = ["train", "shapes", *(word for name, value in given.items() for word in (f"--{name}", value))]
    arguments = parse(words)
    return {name: getattr(arguments, name) for name in given}


def test_a_path_is_whole_as_soon_as_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("pictures", "cifar10"):
        (tmp_path / name).mkdir()
    assert _whole(data=".", out="run") == {"data": str(tmp_path), "out": str(tmp_path / "run")}
    assert _whole(data="pictures")["data"] == str(tmp_path / "pictures")
    assert _whole(data="~/p", out="~/run") == {name: str(tmp_path / "home" / at) for name, at in
                                              (("data", "p"), ("out", "run"))}  # fmt: skip
    for name in ("shapes", "shapes:50", "cifar10", "hf:a/b", "cifar"):
        assert _whole(data=name)["data"] == name
    assert parse(["resume", "run"]).run == "run" and parse(["report", "./run"]).run == str(tmp_path / "run")


def test_a_path_that_cannot_be_made_whole_is_refused() -> None:
    for text, says in (("", "an empty path"), ("~nobody-of-that-name/x", "no such home folder")):
        with pytest.raises(UserError, match=says):
            whole_path(text)
    assert whole_spec(Path("cifar10")) == os.path.abspath("cifar10")


@pytest.mark.parametrize("name", ["train", "prior"])
def test_the_help_of_a_stage_lists_every_key(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from vqvae.config import key_names

    with pytest.raises(SystemExit):
        parse([name, "--help"])
    page = capsys.readouterr().out
    missing = [key for key in key_names({"train": "tokenizer"}.get(name, name)) if f"--{key} " not in page]
    assert missing in ([], ["tokenizer"])
    assert "``" not in page and max(map(len, page.splitlines())) <= 115


def test_the_help_of_other_commands_names_the_keys_that_they_take(capsys: pytest.CaptureFixture[str]) -> None:
    for name, key in (("resume", "training.learning_rate"), ("evaluate", "--data.fit"), ("encode", "--data.size")):
        with pytest.raises(SystemExit):
            parse([name, "--help"])
        page = capsys.readouterr().out
        assert key in page and "--data.flip" not in page


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from vqvae.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pyarrow', 'pydantic', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    commands = "demo train prior resume sample inpaint likelihood reconstruct evaluate report doctor info"
    assert [name for name in commands.split() if name not in done.stdout] == []


def test_of_an_option_given_twice_the_last_value_counts(caplog: pytest.LogCaptureFixture) -> None:
    arguments = parse("train shapes --model.width 3 --steps 5 --model.width 4 --steps 6".split())
    assert arguments.overrides == {"model.width": "4"} and arguments.steps == "6"
    assert caplog.messages == ["--model.width: given twice; the last value, 4, counts"]
