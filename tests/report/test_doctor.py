"""The doctor finds what is wrong with trainings that went wrong, its options are valid, and healthy runs pass."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.quantizers.kinds import shipped

from vqvae.cli import main
from vqvae.config import load_config, to_mapping, to_yaml
from vqvae.errors import UserError
from vqvae.files import read_records
from vqvae.likelihoods import LikelihoodConfig
from vqvae.report.doctor import Case, Finding, diagnose, examine
from vqvae.training import Run

SMALL = {"data__size": "16", "data__fit": "crop", "training__steps": "120", "training__evaluate_every": "60",
         "training__log_every": "3", "training__weight_ema": "0.9"}  # fmt: skip
KIND = "model__quantizer__"


@pytest.fixture
def trained(train_tokenizer: Any, tmp_path: Path) -> Any:
    return lambda **overrides: train_tokenizer(tmp_path / "run", **{**SMALL, **overrides})


def names(run: Run) -> list[str]:
    return [finding.name for finding in examine(str(run.path)).findings]


def options(run: Run, name: str) -> dict[str, str]:
    [finding] = [finding for finding in examine(str(run.path)).findings if finding.name == name]
    assert finding.options, finding
    mended = load_config(str(run.config), "tokenizer", dict(finding.options))
    assert to_mapping(mended) != to_mapping(load_config(str(run.config), "tokenizer"))
    return dict(finding.options)


# Trainings that really go wrong


def test_a_healthy_run_is_told_so_with_its_numbers(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained()
    main(["doctor", str(run.path)])  # and exits 0
    said = capsys.readouterr().out
    assert f"{run.path}: healthy at step 120: nmse 0." in said and "perplexity 1" in said and "usage 1" in said


def test_a_gradient_codebook_without_revival_collapses(trained: Any) -> None:
    run = trained(**{KIND + "kind": "vq", KIND + "revive_every": "0", KIND + "num_codes": "256"})
    assert "collapse" in names(run)
    assert options(run, "collapse") == {"model.quantizer.revive_every": "20"}


def test_a_huge_beta_drowns_the_reconstruction(trained: Any) -> None:
    run = trained(beta="3000")
    assert "commitment" in names(run)
    assert options(run, "commitment") == {"beta": "0.25"}


def test_too_high_a_rate_is_unstable_and_its_consequences_ask_for_nothing_else(trained: Any) -> None:
    run = trained(training__learning_rate="0.5", training__clip="0")
    assert "unstable" in names(run) or "exploding_gradient" in names(run)
    every = [finding.options for finding in examine(str(run.path)).findings]
    assert [option["training.learning_rate"] for option in every if "training.learning_rate" in option] == [
        "0.167"
    ]


def test_too_low_a_rate_makes_no_progress(trained: Any) -> None:
    run = trained(training__learning_rate="1e-9", training__steps="200", training__log_every="50")
    assert names(run) == ["no_progress"]
    assert options(run, "no_progress") == {"training.learning_rate": "0.0003"}


def test_a_loss_that_blows_up_leaves_a_run_that_is_named_so(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no longer finite"):
        trained(training__learning_rate="1e30", training__clip="0", training__steps="9",
                training__non_finite="skip", training__evaluate_every="9", training__log_every="5",
                training__checkpoint_every="9")  # fmt: skip
    found = examine(str(tmp_path / "run")).findings
    assert [finding.name for finding in found] == ["not_finite"]  # and not what follows from it
    assert found[0].options == {"training.learning_rate": "3.33e+29", "training.clip": "1.0"}


@pytest.mark.parametrize("striped", [False, True])
def test_identical_images_are_said_once_and_explain_everything_else(
    trained: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], striped: bool
) -> None:
    image = Image.linear_gradient("L").resize((16, 16)) if striped else Image.new("L", (16, 16), 255)
    (tmp_path / "same").mkdir()
    for number in range(20):
        image.save(tmp_path / "same" / f"{number}.png")
    run = trained(data__spec=str(tmp_path / "same"), data__limit="null", training__steps="12")
    said = [line for line in capsys.readouterr().err.splitlines() if "all images are the same" in line]
    assert [line.split(":")[0] for line in said] == ["train"]
    assert all(record.get("loss", 0.0) < 100 for record in read_records(run.metrics))
    assert names(run) == ["identical_images"]


def test_an_exact_copy_is_no_fault() -> None:
    records = curves({"loss": FLAT}, GOOD | {"psnr": [float("inf")]})
    assert told(records) == []
    assert [finding.name for finding in told([*records, {"step": 1, "split": "train", "loss": float("inf")}])] == [
        "not_finite"
    ]


def test_a_prior_of_64_images_is_overfit_and_its_best_step_is_named(
    train_tokenizer: Any, train_prior: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {key: SMALL[key] for key in ("data__size", "data__fit")}
    tokenizer = train_tokenizer(
        tmp_path / "tokenizer", **small, training__steps="60", training__evaluate_every="60"
    )
    run = train_prior(
        tmp_path / "prior", tokenizer, data__limit="64", model__dropout="0", model__width="32",
        training__steps="160", training__evaluate_every="20", training__log_every="10",
        training__learning_rate="1e-2", training__weight_ema="0.5",
    )  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main(["doctor", str(run.path), "--json"])
    assert stop.value.code == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["healthy"]
    [overfit] = [finding for finding in found["findings"] if finding["name"] == "overfit"]
    costs = {record["step"]: record["bits_per_code_prior"] for record in read_validation(run)}
    best = min(costs, key=costs.__getitem__)
    assert f"it was best at step {best} with" in overfit["says"]
    assert overfit["options"] == {"training.steps": str(best), "model.dropout": "0.1"}


def read_validation(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [line for line in lines if line["split"] == "validation"]


def test_a_prior_of_a_few_steps_does_not_beat_counting(prior_run: Run) -> None:
    assert names(prior_run)[0] == "no_better_than_counting"


# What no tiny training shows, from its records


def curves(
    train: dict[str, list[float]], validation: dict[str, list[float]] | None = None
) -> list[dict[str, Any]]:
    """Records of a run of 3,000 steps whose metrics are given evenly over time."""
    found: list[dict[str, Any]] = []
    for split, metrics in (("train", train), ("validation", validation or {})):
        for name, values in metrics.items():
            every = 3000 // len(values)
            found += [{"step": every * (i + 1), "split": split, name: value} for i, value in enumerate(values)]
    return found


FLAT = [0.5] * 40
FALLING = [2.0 * 0.95**i for i in range(40)]
GOOD = {"nmse": [0.1], "perplexity": [440.0], "usage": [1.0], "counted": [131072.0]}


def told(records: list[dict[str, Any]], **overrides: str) -> list[Finding]:
    settings = {key.replace("__", "."): value for key, value in overrides.items()}
    config = load_config("cifar10", "tokenizer", {"training.steps": "3000", "model.quantizer.num_codes": "512",
                                                  **settings})  # fmt: skip
    found = diagnose(Case(records, config))
    for finding in found:  # every option is one that the config takes
        load_config("cifar10", "tokenizer", {**settings, **finding.options})
    return found


@pytest.mark.parametrize(
    ("fault", "train", "validation", "overrides"),
    [
        (None, {"loss": FLAT, "gradient_norm": FLAT}, GOOD, {}),
        ("exploding_gradient", {"loss": FLAT, "gradient_norm": [1.0] * 30 + [50.0] * 10}, GOOD, {}),
        ("vanishing_gradient", {"loss": FLAT, "gradient_norm": [1.0] * 30 + [1e-9] * 10}, GOOD, {}),
        ("unstable", {"loss": [0.5, 0.5, 0.5, 0.5, 2.0] * 8}, GOOD, {}),
        ("unstable", {"loss": [1.0, 400.0, *FLAT]}, GOOD, {}),
        ("unstable", {"loss": [1.0] * 10 + [0.4] * 15 + [0.9] * 15}, GOOD, {}),
        ("undertrained", {"loss": FALLING}, GOOD, {}),
        ("slow", {"loss": [1.0] * 20 + [0.9] * 10 + [0.7] * 10}, GOOD, {"training__learning_rate": "1e-5"}),
        ("commitment", {"commitment": [0.1] * 20 + [9.0] * 20, "reconstruction": FLAT}, GOOD, {}),
        ("dead_codes", {}, GOOD | {"usage": [0.5], "perplexity": [200.0]}, {}),
        ("dead_codes", {}, GOOD | {"usage_1": [1.0], "usage_2": [0.1]}, {}),
        ("collapse", {}, GOOD | {"usage": [0.03], "perplexity": [9.0]}, {}),
        ("unfinished", {"loss": FLAT}, GOOD, {"training__steps": "9000"}),
        (None, {"loss": [-x for x in FLAT], "reconstruction": FLAT}, GOOD, {}),
        ("unstable", {"loss": [-1.0] * 40, "reconstruction": [1.0, 400.0, *FLAT]}, GOOD, {}),
        (None, {"loss": FLAT}, GOOD | {"code_gain": [2.5], "kl_bits_per_dim_uniform": [0.19]}, {}),
        ("ignored_codes", {"loss": FLAT}, GOOD | {"code_gain": [0.1], "kl_bits_per_dim_uniform": [0.19]}, {}),
    ],
)  # fmt: skip
def test_a_fault_is_known_by_its_records(
    fault: str | None, train: Any, validation: Any, overrides: dict[str, str]
) -> None:
    assert [finding.name for finding in told(curves(train, validation), **overrides)] == ([fault] if fault else [])


def test_places_that_share_a_codebook_may_each_keep_to_a_part_of_it() -> None:
    validation = GOOD | {"usage_1": [0.6], "usage_2": [0.1]}
    shared = {"model__quantizer__codes_per_position": "2"}
    assert told(curves({}, validation), **shared) == []
    settings = {"model.quantizer": "{kind: projected, inner: {kind: ema, num_codes: 512, codes_per_position: 2}}"}
    config = load_config("cifar10", "tokenizer", {"training.steps": "3000", **settings})
    assert diagnose(Case(curves({}, validation), config)) == []
    assert [finding.name for finding in told(curves({}, validation))] == ["dead_codes"]


def test_few_draws_from_many_codes_are_no_dead_codes() -> None:
    # 131,072 draws of even use show 86 % of 65,536 codes
    validation = {**GOOD, "perplexity": [40000.0], "usage": [0.8]}
    assert told(curves({}, validation), **{"model__quantizer__num_codes": "65536"}) == []
    # 65,536 of them at each of two levels show 63 %
    validation |= {"usage_1": [0.6], "usage_2": [0.6]}
    assert told(curves({}, validation), **{"model__quantizer__num_codes": "65536"}) == []


@pytest.mark.parametrize("kind", shipped())
def test_the_advice_for_unused_codes_is_an_option_of_every_quantizer(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        to_yaml(load_config("cifar10", "tokenizer", {"model.quantizer.kind": kind}))
    )
    config: Any = load_config(str(tmp_path / "config.yaml"), "tokenizer")
    assert config.model.quantizer.code_count() == config.model.quantizer.build().num_codes
    for _ in range(2):  # when the first advice did not help, there is a second
        _, advised = config.model.quantizer.advice("model.quantizer")
        changed: Any = load_config(str(tmp_path / "config.yaml"), "tokenizer", advised)
        assert changed != config
        config = changed


LIKELIHOODS = sorted(
    kind for kind, each in LikelihoodConfig.kinds().items() if each.__module__.startswith("vqvae.")
)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_the_advice_for_ignored_codes_is_an_option_of_every_likelihood(kind: str) -> None:
    ignored = GOOD | {"code_gain": [-0.001], "kl_bits_per_dim_uniform": [0.19]}
    [finding] = told(curves({"loss": FLAT}, ignored), model__likelihood__kind=kind)
    assert finding.name == "ignored_codes" and "only 0 bits per dimension more" in finding.says
    assert finding.change and (finding.options or kind == "gaussian")


def test_a_run_of_any_recipe_reads_back_what_it_is_told(tmp_path: Path) -> None:
    config = load_config("cifar10", "tokenizer")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    with pytest.raises(UserError, match="no records in its metrics"):
        examine(str(tmp_path))
    with pytest.raises(UserError, match="nowhere: no such run directory"):
        examine("nowhere")
