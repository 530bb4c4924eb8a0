"""Configs: what is written is read back, and every mistake names its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vqvae.config import (
    PixelCNNConfig,
    PriorConfig,
    TokenizerConfig,
    TransformerConfig,
    config_from,
    load_config,
    recipes,
    to_yaml,
)
from vqvae.errors import UserError


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_recipe_loads_and_survives_a_round_trip(name: str) -> None:
    config = load_config(name, yaml.safe_load(recipes()[name].read_text())["stage"])
    assert config_from(yaml.safe_load(to_yaml(config)), name) == config
    assert recipes()[name].read_text().startswith("# ")


def test_overrides_reach_any_key_in_yaml_notation() -> None:
    overrides = {"model.quantizer.num_codes": "64", "data.size": "48x64", "training.learning_rate": "1e-4"}
    config = load_config("shapes", "tokenizer", overrides)
    assert isinstance(config, TokenizerConfig)
    assert config.model.quantizer.num_codes == 64
    assert config.data.size == (48, 64)
    assert config.training.learning_rate == 1e-4
    assert load_config("shapes", "tokenizer", {"data.size": "64"}).data.size == (64, 64)


def test_a_union_is_chosen_by_its_kind(tmp_path: Path) -> None:
    recipe = tmp_path / "vq.yaml"
    recipe.write_text("model: {quantizer: {kind: vq, dim: 3}}\n")
    config = load_config(str(recipe), "tokenizer")
    assert isinstance(config, TokenizerConfig) and config.model.quantizer.kind == "vq"
    recipe.write_text("model: {quantizer: {kind: vq, decay: 0.9}}\n")
    with pytest.raises(UserError, match=r"unknown key 'model\.quantizer\.decay'"):
        load_config(str(recipe), "tokenizer")


def test_a_prior_is_a_pixelcnn_unless_it_says_otherwise() -> None:
    for model, kind in (({"width": 8}, PixelCNNConfig), ({"kind": "transformer", "heads": 2}, TransformerConfig)):
        config = config_from({"stage": "prior", "model": model}, "here")
        assert isinstance(config, PriorConfig) and isinstance(config.model, kind)
        assert config_from(yaml.safe_load(to_yaml(config)), "here") == config
    for model, says in (
        ({"heads": 2}, "unknown key 'model.heads'"),
        ({"kind": "transformer", "kernel": 3}, "unknown key 'model.kernel'"),
        ({"kind": "lstm"}, "model: kind must be pixelcnn or transformer"),
        ({"kind": "transformer", "width": 30}, "width 30 must be a multiple of 4 * heads, 16"),
    ):
        with pytest.raises(UserError, match="here: ") as error:
            config_from({"stage": "prior", "model": model}, "here")
        assert says in str(error.value) and "\n" not in str(error.value)


def test_the_datas_base_fills_what_the_recipe_leaves_open(tmp_path: Path) -> None:
    recipe = tmp_path / "p.yaml"
    recipe.write_text("data: {flip: true}\n")
    config = load_config(str(recipe), "prior", base={"spec": "x", "flip": False})
    assert (config.data.spec, config.data.flip) == ("x", True)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"model.quantizer.kind": "emma"}, "model.quantizer"),
        ({"training.steps": "-1"}, "training.steps: input should be greater than 0, got -1"),
        ({"training.steps": "many"}, "training.steps: input should be a valid integer"),
        ({"trainin.steps": "3"}, "unknown key 'trainin'; did you mean 'training'"),
        ({"data.size": "wide"}, "data.size"),
        ({"model.factor": "3"}, "model.factor: input should be 2, 4, 8, 16 or 32, got 3"),
        ({"model.width.x": "3"}, "model.width"),
        ({"training.precision": "fp8"}, "training.precision"),
    ],
)
def test_a_mistake_names_its_key(overrides: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as error:
        load_config("shapes", "tokenizer", overrides)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_numbers_out_of_range_are_refused_in_python_too() -> None:
    values: dict[str, Any] = {"stage": "tokenizer", "training": {"clip": -1}}
    with pytest.raises(UserError, match=r"here: training\.clip"):
        config_from(values, "here")
