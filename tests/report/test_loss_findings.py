"""The doctor finds what goes wrong with further terms of the objective, and its options are ones a run takes."""

from pathlib import Path
from typing import Any

import pytest
from tests.losses.kinds import random_squeezenet

from vqvae.config import load_config, to_mapping
from vqvae.report.doctor import examine
from vqvae.training import Run

SHORT = {"data__size": "16", "data__fit": "crop", "training__steps": "24", "training__evaluate_every": "24",
         "training__checkpoint_every": "24"}  # fmt: skip


@pytest.fixture
def trained(train_tokenizer: Any, tmp_path: Path) -> Any:
    return lambda losses, **more: train_tokenizer(tmp_path / "run", losses=losses, **{**SHORT, **more})


def advice(run: Run, name: str) -> dict[str, str]:
    """Return the options for a finding; a run takes them and they change its config."""
    [finding] = [finding for finding in examine(str(run.path)).findings if finding.name == name]
    mended = load_config(str(run.config), "tokenizer", dict(finding.options))
    assert to_mapping(mended) != to_mapping(load_config(str(run.config), "tokenizer"))
    return dict(finding.options)


def names(run: Run) -> set[str]:
    found = {finding.name for finding in examine(str(run.path)).findings}
    return found & {"discriminator_wins", "loss_weight", "drowned"}


def test_balanced_terms_are_no_fault(trained: Any) -> None:
    run = trained("[{kind: l1, weight: 0.1}, {kind: adversarial, weight: 0.1, width: 8, learning_rate: 0.01}]")
    assert names(run) == set()


@pytest.mark.parametrize(("lecam", "option"), [(0.0, {"lecam": "0.05"}), (0.5, {"learning_rate": "0.75"})])
def test_a_discriminator_that_the_decoder_does_not_answer_wins(trained: Any, lecam: float, option: Any) -> None:
    run = trained(f"[{{kind: adversarial, weight: 0, width: 16, learning_rate: 3.0, lecam: {lecam}}}]")
    assert names(run) == {"discriminator_wins"}
    assert advice(run, "discriminator_wins") == {
        f"losses.adversarial.{key}": value for key, value in option.items()
    }


def test_a_discriminator_that_has_learned_nothing_is_named_from_its_records() -> None:
    from vqvae.report.doctor import Case, diagnose

    config = load_config("shapes", "tokenizer", {"losses.adversarial.weight": 0.5})

    def found(accuracy: float, loss: float) -> list[dict[str, str]]:
        own = {"adversarial_accuracy": accuracy, "adversarial_loss": loss, "adversarial_factor": 1.0}
        records = [{"step": i, "split": "train", **own} for i in range(1, 41)]
        findings = diagnose(Case(records, config))
        return [dict(each.options) for each in findings if each.name == "discriminator_guesses"]

    assert found(0.5, 2.0) == [{"losses.adversarial.learning_rate": "0.3"}]
    assert found(0.7, 1.5) == []


def test_a_weight_at_its_limit_is_named(trained: Any) -> None:
    # a discriminator that hardly learns has a small gradient, so the factor reaches any limit
    run = trained("[{kind: adversarial, width: 8, learning_rate: 1.0e-6, adaptive_limit: 0.01, weight: 0.1}]")
    assert names(run) == {"loss_weight"}
    assert advice(run, "loss_weight") == {"losses.adversarial.learning_rate": "3e-06"}


def test_a_perceptual_term_that_drowns_the_rest_is_named(trained: Any, tmp_path: Path) -> None:
    weights = random_squeezenet(tmp_path / "squeezenet.safetensors")
    network = f"network: {{kind: squeezenet, weights: {weights}}}"
    run = trained(f"[{{kind: l1, weight: 0.1}}, {{kind: perceptual, weight: 1000, {network}}}]", data__size="32")
    assert names(run) == {"drowned"}
    weight = float(advice(run, "drowned")["losses.perceptual.weight"])
    assert 0 < weight < 100


def test_a_factor_that_grows_a_hundredfold_is_named_from_its_records() -> None:
    from vqvae.report.doctor import Case, diagnose

    config = load_config("shapes", "tokenizer", {"losses.adversarial.weight": 0.5})
    records = [{"step": i, "split": "train", "adversarial_factor": 0.1 * 1.2**i} for i in range(1, 41)]
    [finding] = [each for each in diagnose(Case(records, config)) if each.name == "loss_weight"]
    assert finding.options == {"losses.adversarial.adaptive_limit": "1"}
