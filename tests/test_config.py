"""Configs: what is written is read back, and every mistake names its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vqvae.config import PriorConfig, TokenizerConfig, config_from, load_config, recipes, to_yaml
from vqvae.errors import UserError
from vqvae.priors import CodeTransformer, PixelCNN


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
    for model, kind in (
        ({"width": 8}, PixelCNN.Config),
        ({"kind": "transformer", "heads": 2}, CodeTransformer.Config),
    ):
        config = config_from({"stage": "prior", "model": model}, "here")
        assert isinstance(config, PriorConfig) and isinstance(config.model, kind)
        assert config_from(yaml.safe_load(to_yaml(config)), "here") == config
    for model, says in (
        ({"heads": 2}, "unknown key 'model.heads'"),
        ({"kind": "transformer", "kernel": 3}, "unknown key 'model.kernel'"),
        ({"kind": "lstm"}, "model: kind must be one of pixelcnn, transformer"),
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


def test_an_unknown_key_is_answered_with_each_known_one_once() -> None:
    with pytest.raises(UserError, match=r"unknown key 'zzz'; known: ") as error:
        config_from({"stage": "tokenizer", "zzz": 1}, "here")
    known = str(error.value).partition("known: ")[2].split(", ")
    assert "kind" in known and len(known) == len(set(known))


def test_numbers_out_of_range_are_refused_in_python_too() -> None:
    values: dict[str, Any] = {"stage": "tokenizer", "training": {"clip": -1}}
    with pytest.raises(UserError, match=r"here: training\.clip"):
        config_from(values, "here")


def test_another_kind_keeps_the_settings_it_has_and_drops_the_others() -> None:
    kinds = {name: load_config("shapes", "tokenizer", {"model.quantizer.kind": name}) for name in ("vq", "fsq")}
    vq, fsq = (config.model.quantizer for config in kinds.values() if isinstance(config, TokenizerConfig))
    assert (vq.kind, getattr(vq, "num_codes", None), getattr(vq, "dim", None)) == ("vq", 128, 16)
    assert (fsq.kind, getattr(fsq, "levels", None)) == ("fsq", (8, 5, 5, 5))
    both = {"model.quantizer.levels": "[7, 5]", "model.quantizer.kind": "fsq"}  # in any order
    config = load_config("shapes", "tokenizer", both)
    assert isinstance(config, TokenizerConfig) and getattr(config.model.quantizer, "levels", None) == (7, 5)
    with pytest.raises(UserError, match=r"unknown key 'model\.quantizer\.decay'"):
        load_config("shapes", "tokenizer", {"model.quantizer.kind": "fsq", "model.quantizer.decay": "0.9"})
    with pytest.raises(UserError, match=r"unknown key 'model\.quantizer\.decax'"):
        load_config("shapes", "tokenizer", {"model.quantizer.kind": "ema", "model.quantizer.decax": "0.9"})


def test_quantizers_inside_quantizers_are_read_and_their_mistakes_named() -> None:
    quantizer: dict[str, Any] = {
        "kind": "projected",
        "channels": 8,
        "inner": {"kind": "residual", "depth": 3, "inner": {"kind": "cosine", "num_codes": 32, "dim": 3}},
    }
    values: dict[str, Any] = {"stage": "tokenizer", "model": {"quantizer": quantizer}}
    config = config_from(values, "here")
    assert config_from(yaml.safe_load(to_yaml(config)), "here") == config
    assert isinstance(config, TokenizerConfig)
    built = config.model.quantizer.build()
    assert (built.num_codes, built.codes_per_position, built.channels) == (32, 3, 8)
    quantizer["inner"]["inner"]["dims"] = 3
    with pytest.raises(UserError, match=r"unknown key 'model\.quantizer\.inner\.inner\.dims'; did you mean 'dim'"):
        config_from(values, "here")


@pytest.mark.parametrize(
    ("quantizer", "says"),
    [
        ({"kind": "fsq", "levels": [8, 2]}, "model.quantizer.levels.1"),
        ({"kind": "lfq", "bits": 63}, "model.quantizer.bits"),
        ({"kind": "ema", "estimator": "rotate"}, "model.quantizer.estimator"),
        ({"kind": "residual", "inner": {"kind": "residual"}}, "model.quantizer: "),
    ],
)
def test_a_mistake_in_a_quantizer_names_its_key(quantizer: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        config_from({"stage": "tokenizer", "model": {"quantizer": quantizer}}, "here")
    assert says in str(error.value) and "\n" not in str(error.value)
