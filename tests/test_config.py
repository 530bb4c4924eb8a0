"""Configs: what is written is read back, and every mistake names its key."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from vqvae.component import Config
from vqvae.config import (
    PriorConfig,
    TokenizerConfig,
    TrainingConfig,
    checked,
    config_from,
    groups_of,
    is_key,
    key_names,
    load_config,
    recipes,
    to_yaml,
)
from vqvae.errors import UserError
from vqvae.models import VQVAE
from vqvae.networks import NetworkConfig, PaperNetwork
from vqvae.priors import CodeTransformer, PixelCNN, PriorModelConfig
from vqvae.quantizers import QuantizerConfig, ResidualQuantizer


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
        ({"kind": "lstm"}, "model: no prior of kind 'lstm' is known; known: pixelcnn, "),
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
        ({"training.steps": "-1"}, "training.steps: must be an integer above 0, got -1"),
        ({"training.steps": "many"}, "training.steps: 'many' is not a whole number such as 10000, 1e4 or 10k"),
        ({"trainin.steps": "3"}, "unknown key 'trainin'; did you mean 'training'"),
        ({"data.size": "wide"}, "data.size"),
        ({"model.factor": "3"}, "model.network.factor: must be 2, 4, 8, 16 or 32, got 3"),
        ({"model.width.x": "3"}, "model.width.x: 'width' is a value, not a group of keys"),
        ({"training.precision": "fp8"}, "training.precision"),
    ],
)
def test_a_mistake_names_its_key(overrides: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as error:
        load_config("shapes", "tokenizer", overrides)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"batch_size": 8}, "unknown key 'batch_size'; did you mean 'training.batch_size'?"),
        ({"training": {"lr": 1}}, "unknown key 'training.lr'; did you mean 'training.learning_rate'?"),
        ({"model": {"num_codes": 8}}, "unknown key 'model.num_codes'; did you mean 'model.quantizer.num_codes'?"),
        ({"zzz": 1}, "unknown key 'zzz'; known here: "),
        ({"training": {"zzz": 1}}, "unknown key 'training.zzz'; vqvae train --help lists the keys"),
        ({"model": {"quantizer": {"kind": "ema", "decax": 1}}}, "did you mean 'model.quantizer.decay'?"),
        (
            {"model": {"network": {"kind": "resnet", "residual_width": 8}}},
            "model.network.residual_width'; known here: ",
        ),
        ({"model": {"quantizer": {"kind": "emma"}}}, "no quantizer of kind 'emma' is known; did you mean 'ema'?"),
        ({"model": {"quantizer": "ema"}}, "model.quantizer: must be a group of keys with a kind of quantizer"),
        ({"training": 3}, "training: must be a group of keys, got 3"),
        ({"data": {"fit": "square"}}, "data.fit: must be strict or crop, got 'square'"),
        ({"beta": -1}, "beta: must be a number of at least 0, got -1"),
        ({"stage": "priors"}, "stage: must be tokenizer or prior, got 'priors'"),
    ],
)
def test_a_mistake_says_what_was_meant_or_what_is_taken(values: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        config_from({"stage": "tokenizer", **values}, "here")
    assert says in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("written", ["1e4", "10k", "10_000", "10000", "0.01M"])
def test_whole_numbers_are_read_as_people_write_them(written: str) -> None:
    assert load_config("shapes", "tokenizer", {"training.steps": written}).training.steps == 10_000


@pytest.mark.parametrize("seed", ["12345678901234567890", "-9223372036854775809", "1e30"])
def test_a_number_that_does_not_fit_into_64_bits_is_refused_in_one_line(seed: str) -> None:
    with pytest.raises(UserError, match=r"training\.seed: .* does not fit into 64 bits"):
        load_config("shapes", "tokenizer", {"training.seed": seed})


@pytest.mark.parametrize("stage", ["tokenizer", "prior"])
def test_every_key_says_what_it_takes_and_what_it_means(stage: str) -> None:
    groups = groups_of(stage)
    silent = [key.name for group in groups for key in group.keys if not key.meaning or not key.values]
    assert not silent
    kinds = QuantizerConfig.kinds() if stage == "tokenizer" else PriorModelConfig.kinds()
    assert kinds.keys() <= {group.kind for group in groups}
    assert {"training.steps", "data.spec"} <= set(key_names(stage))


def _components() -> dict[str, type[Config]]:
    every = [config for base in Config.__subclasses__() for config in base.kinds().values()]
    return {c.__qualname__: c for c in every if c.__module__.startswith("vqvae.")}


@pytest.mark.parametrize("config", _components().values(), ids=_components())
def test_every_setting_of_a_component_has_a_meaning(config: type[Config]) -> None:
    meanings = config.meanings()
    assert {field.name for field in fields(config)} - {"kind"} == meanings.keys()
    for name, meaning in meanings.items():  # what --help prints: a phrase that is understood by itself
        assert len(meaning.split()) >= 3 and not meaning.startswith("of "), f"{name}: {meaning}"


def test_an_entry_of_a_list_is_named_by_its_kind() -> None:
    losses = "[{kind: l1, weight: 0.3}, {kind: adversarial}, {kind: l1}]"
    config: Any = load_config("shapes", "tokenizer", {"losses": losses, "losses.l1-2.weight": "0.5"})
    assert [loss.weight for loss in config.losses] == [0.3, 1.0, 0.5]
    added: Any = load_config(config, "tokenizer", {"losses.charbonnier.epsilon": "0.5", "losses.l1.start": "7"})
    assert [loss.kind for loss in added.losses] == ["l1", "adversarial", "l1", "charbonnier"]
    assert (added.losses[0].start, added.losses[3].epsilon, config.losses[0].start) == (7, 0.5, 0)
    for key, says in (
        ("losses.l2.weight", "no entry 'l2' in the recipe's list; did you mean 'l1"),
        ("losses.l1-3.weight", "no entry 'l1-3'"),
        ("losses.l1.weigth", "losses.0.weight"),
    ):
        with pytest.raises(UserError) as error:
            load_config(config, "tokenizer", {key: "1"})
        assert says in str(error.value) and "\n" not in str(error.value)
    features: Any = load_config("shapes", "tokenizer", {"losses.perceptual.network.weights": "x"}).losses[0]
    assert (features.network.kind, features.network.weights) == ("squeezenet", "x")
    for key in ("losses.l1.weight", "losses.l1-2.weight", "losses.perceptual.network.weights"):
        assert is_key("tokenizer", key)
    assert not is_key("tokenizer", "losses.l2.weight") and not is_key("tokenizer", "losses.l1.width")
    assert {"losses.l1.weight", "losses.adversarial.lecam"} <= set(key_names("tokenizer"))


def test_a_key_is_known_at_any_depth_and_for_any_kind() -> None:
    assert is_key("tokenizer", "model.quantizer.inner.inner.num_codes") and is_key("tokenizer", "data")
    assert not is_key("tokenizer", "model.quantizer.inner.steps") and not is_key("tokenizer", "classes")
    assert is_key("prior", "classes") and is_key("prior", "model.heads")


def test_a_config_made_in_python_is_checked() -> None:
    good = TokenizerConfig(model=VQVAE.Config(quantizer=ResidualQuantizer.Config(depth=2)))
    assert checked(good, "here") == good
    bad = TokenizerConfig(training=TrainingConfig(steps=0, learning_rate=float("nan")))
    with pytest.raises(UserError, match=r"here: training\.steps: must be an integer above 0, got 0"):
        checked(bad, "here")
    with pytest.raises(UserError, match=r"here: training\.learning_rate: must be a number above 0, got nan"):
        checked(replace(bad, training=replace(bad.training, steps=1)), "here")


def test_a_recipe_may_have_any_name_and_a_folder_is_called_one(tmp_path: Path) -> None:
    for name in ("my.YAML", "my.yml", "settings"):
        (tmp_path / name).write_text("beta: 0.5\n")
        config = load_config(str(tmp_path / name), "tokenizer")
        assert isinstance(config, TokenizerConfig) and config.beta == 0.5
    with pytest.raises(UserError, match="a folder: pass a YAML file"):
        load_config(str(tmp_path), "tokenizer")
    (tmp_path / "config.yaml").write_text("beta: 0.5\n")
    with pytest.raises(UserError, match=r"pass the run's recipe, .*config\.yaml"):
        load_config(str(tmp_path), "tokenizer")


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
        "inner": {"kind": "residual", "depth": 3, "inner": {"kind": "ema", "num_codes": 32, "dim": 3}},
    }
    values: dict[str, Any] = {"stage": "tokenizer", "model": {"quantizer": quantizer}}
    config = config_from(values, "here")
    assert config_from(yaml.safe_load(to_yaml(config)), "here") == config
    assert isinstance(config, TokenizerConfig)
    built = config.model.quantizer.build()
    assert (built.num_codes, built.codes_per_position, built.channels) == (32, 3, 8)
    quantizer["inner"]["inner"]["dims"] = 3
    with pytest.raises(
        UserError, match=r"unknown key 'model\.quantizer\.inner\.inner\.dims'; did you mean '.*\.dim'"
    ):
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


def test_a_key_of_the_network_may_stand_directly_under_model(tmp_path: Path) -> None:
    short = {"model": {"width": 24, "factor": 8, "quantizer": {"kind": "vq"}}}
    long = {"model": {"network": {"kind": "paper", "width": 24, "factor": 8}, "quantizer": {"kind": "vq"}}}
    recipe = tmp_path / "short.yaml"
    recipe.write_text(yaml.safe_dump(short))
    expected = load_config(long, "tokenizer")
    assert isinstance(expected, TokenizerConfig) and isinstance(expected.model.network, PaperNetwork.Config)
    assert (expected.model.network.width, expected.model.network.factor) == (24, 8)
    assert load_config(short, "tokenizer") == load_config(str(recipe), "tokenizer") == expected
    assert config_from({"stage": "tokenizer", **short}, "here") == expected
    overrides = {"model.width": "24", "model.network.factor": "8", "model.quantizer": {"kind": "vq"}}
    assert load_config({}, "tokenizer", overrides) == expected
    assert (
        load_config({}, "tokenizer", {"model": {"width": 24, "factor": 8, "quantizer": {"kind": "vq"}}})
        == expected
    )
    assert short == {"model": {"width": 24, "factor": 8, "quantizer": {"kind": "vq"}}}  # what was given stays


def test_files_are_written_in_the_long_form() -> None:
    written = yaml.safe_load(to_yaml(load_config("shapes", "tokenizer", {"model.width": "24"})))
    assert written["model"].keys() == {"network", "quantizer", "likelihood"}
    assert written["model"]["network"]["width"] == 24 and written["model"]["network"]["kind"] == "paper"


def test_an_override_in_the_short_form_changes_what_a_recipe_has_in_the_long_form_and_the_other_way_round() -> (
    None
):
    for given, override in (("model.width", "model.network.width"), ("model.network.width", "model.width")):
        config = load_config(load_config({}, "tokenizer", {given: "24"}), "tokenizer", {override: "40"})
        assert isinstance(config, TokenizerConfig) and isinstance(config.model.network, PaperNetwork.Config)
        assert config.model.network.width == 40


def test_a_key_in_both_forms_is_refused() -> None:
    values = {"stage": "tokenizer", "model": {"width": 24, "network": {"width": 32}}}
    with pytest.raises(
        UserError, match=r"here: model\.width is short for model\.network\.width; give one of the two"
    ):
        config_from(values, "here")


@pytest.mark.parametrize("key", ["model.network.width", "model.width"])
def test_both_forms_are_keys_of_a_tokenizer_and_the_long_one_of_no_prior(key: str) -> None:
    assert is_key("tokenizer", key)
    assert is_key("prior", key) == (key == "model.width")
    with pytest.raises(UserError, match=r"did you mean 'model\.network\.width'"):
        load_config({}, "tokenizer", {f"{key[:-1]}": "3"})


def test_another_kind_of_network_keeps_the_settings_it_has() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Other(NetworkConfig):
        """A network that is only a config.

        Attributes:
            width: channels.
            depth: layers.
        """

        kind: Literal["test-other"] = "test-other"
        width: int = 1
        depth: int = 2

    overrides = {"model.depth": "5", "model.network.kind": "test-other"}
    config = load_config("shapes", "tokenizer", overrides)
    assert isinstance(config, TokenizerConfig)
    assert config.model.network == Other(width=64, depth=5, factor=4)
    again = load_config("shapes", "tokenizer", {"model.width": "7", **overrides})
    assert isinstance(again, TokenizerConfig) and again.model.network == Other(width=7, depth=5, factor=4)
