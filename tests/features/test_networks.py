"""Feature networks: what every kind promises, and what each reads from its files."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.data import load
from vqvae.errors import UserError
from vqvae.features import FeatureNetwork, FeaturesConfig, Judge, SqueezeNet, network_named, networks_in
from vqvae.features.files import load_weights, save_weights, weights_digest
from vqvae.features.judge import load_judge
from vqvae.losses import LossConfig
from vqvae.tensors import images_from_pixels


class Means(FeatureNetwork):
    """A network of somebody else's: the mean of each colour."""

    kind = "colour-means"

    @dataclass(frozen=True, kw_only=True)
    class Config(FeaturesConfig):
        kind: Literal["colour-means"] = "colour-means"

        def build(self) -> "Means":
            return Means()

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.digest = "colour-means"
        self.eval()

    def maps(self, images: Tensor) -> list[Tensor]:
        return [images * self.scale]

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[0].mean((2, 3))


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of random weights under the names and shapes of the Caffe network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file({name: value.contiguous() for name, value in SqueezeNet().state_dict().items()}, path)
    return path


@pytest.fixture
def network(request: pytest.FixtureRequest, squeezenet: Path) -> FeatureNetwork:
    return network_named(f"squeezenet:{squeezenet}" if request.param == "squeezenet" else request.param)


every = pytest.mark.parametrize("network", ["judge", "squeezenet", "colour-means"], indirect=True)


@every
def test_features_do_not_depend_on_the_batch(network: FeatureNetwork) -> None:
    pixels = load("shapes", "test", limit=12).pixels
    whole = network.features_of_pixels(pixels)
    assert whole.dtype == torch.float64 and whole.shape[0] == 12
    for size in (1, 5):
        assert torch.allclose(network.features_of_pixels(pixels, batch_size=size), whole, rtol=1e-4, atol=1e-5)


@every
def test_gradients_reach_the_images_and_no_weight(network: FeatureNetwork) -> None:
    images = images_from_pixels(load("shapes", "test", limit=2).pixels).requires_grad_()
    maps = network.maps(images)
    sum(each.float().square().mean() for each in maps).backward()  # pyright: ignore
    assert images.grad is not None and images.grad.abs().amax((1, 2, 3)).min() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


@every
def test_grey_is_the_same_as_three_equal_channels(network: FeatureNetwork) -> None:
    grey = load("shapes", "test", limit=3).pixels[:, :1]
    three = grey.expand(-1, 3, -1, -1)
    assert torch.allclose(network.features_of_pixels(grey), network.features_of_pixels(three))


def test_the_shipped_judge_says_what_it_is() -> None:
    judge = network_named("judge")
    assert isinstance(judge, Judge) and judge.facts["license"] == "MIT"
    assert judge.facts["test_accuracy"] >= 0.92 and judge.facts["test_images"] == 10_000
    assert judge.facts["images"] == 47_500 and len(judge.facts["classes"]) == 10
    assert "/" not in judge.facts["data"]
    assert judge.features(torch.zeros(1, 3, 32, 32)).shape == (1, 256)


def test_a_judge_resizes_with_antialiasing_and_its_maps_do_not_resize() -> None:
    judge = network_named("judge")
    images = images_from_pixels(load("shapes", "test", limit=2).pixels)
    large = images.repeat_interleave(3, 2).repeat_interleave(3, 3)
    small = F.interpolate(large, (32, 32), mode="bicubic", antialias=True).clamp(-1, 1)
    assert torch.allclose(judge.features(large), judge(small), atol=1e-5)
    assert judge.resize == "bicubic, antialiased, to 32x32"
    assert [each.shape[2] for each in judge.maps(images)] == [15, 7, 3]
    assert [each.shape[2] for each in judge.maps(large)] == [47, 23, 11]


def test_squeezenet_is_the_caffe_network_layer_by_layer(squeezenet: Path) -> None:
    w = load_file(squeezenet)
    images = torch.rand(2, 3, 45, 38) * 2 - 1

    def conv(x: Tensor, name: str, **options: int) -> Tensor:
        return F.relu(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options))

    def fire(x: Tensor, name: str) -> Tensor:
        x = conv(x, f"{name}.squeeze1x1")
        return torch.cat([conv(x, f"{name}.expand1x1"), conv(x, f"{name}.expand3x3", padding=1)], 1)

    bgr = torch.stack([(images[:, i] + 1) * 127.5 for i in (2, 1, 0)], 1)
    x = conv(bgr - torch.tensor([103.939, 116.779, 123.68])[:, None, None], "conv1", stride=2)
    maps = [x]
    for number in range(2, 10):
        if number in (2, 4, 6):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = fire(x, f"fire{number}")
        if number not in (2, 4):
            maps.append(x)
    network = network_named(f"squeezenet:{squeezenet}")
    found = network.maps(images)
    assert [each.shape[1] for each in found] == [64, 128, 256, 384, 384, 512, 512]
    for one, other in zip(found, maps, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)
    assert torch.allclose(network(images), maps[-1].mean((2, 3)), rtol=1e-4, atol=1e-3)


def test_what_cannot_be_a_network_is_one_line(squeezenet: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(squeezenet.read_bytes()[:5000])
    save_weights(foreign := tmp_path / "foreign.safetensors", {"network": "other"}, {"a": torch.zeros(1)})
    for name, says in (
        ("jugde", "did you mean 'judge'"),
        ("squeezenet", "pass squeezenet:PATH"),
        ("squeezenet:/no/file", "no such file"),
        ("alexnet", "pass alexnet:PATH"),
        ("vgg16:/no/file", "no such file"),
        ("inception", "pass inception:PATH"),
        (f"squeezenet:{torn}", "not the weights of SqueezeNet 1.1"),
        (f"judge:{foreign}", "not of a judge"),
        (f"judge:{squeezenet}", "not a vqvae-features file"),
        (str(foreign), "no feature network"),
    ):
        with pytest.raises(UserError, match=says) as error:
            network_named(name)
        assert "\n" not in str(error.value)


def test_a_file_of_weights_is_a_network_by_its_path_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    judge = Judge((4, 4, 8), classes=3)
    path = tmp_path / "mine.safetensors"
    weights = {name: value for name, value in judge.state_dict().items() if "num_batches" not in name}
    save_weights(path, {"network": "judge", "settings": judge.settings, "data": "mine"}, weights)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    by_path, by_kind = network_named(str(path)), network_named(f"judge:{path}")
    assert torch.allclose(by_path(images), judge.eval()(images), atol=1e-6)
    assert by_path.facts["data"] == "mine" and by_path.digest == by_kind.digest == weights_digest(weights)


def test_the_digest_is_of_the_weights_and_not_of_the_file(tmp_path: Path) -> None:
    weights = {"a": torch.arange(4.0), "b": torch.ones(2, dtype=torch.bfloat16)}
    for name, card in (("one", {"network": "x"}), ("two", {"network": "x", "note": "another"})):
        save_weights(tmp_path / name, card, weights)
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()
    read = [weights_digest(load_weights(tmp_path / name)[1]) for name in ("one", "two")]
    assert read == [weights_digest(dict(reversed(weights.items())))] * 2
    assert weights_digest({**weights, "a": weights["a"] + 1}) != read[0]
    assert weights_digest({"a": weights["a"].view(2, 2), "b": weights["b"]}) != read[0]


@dataclass(frozen=True, kw_only=True)
class Holder(LossConfig):
    kind: Literal["holder"] = "holder"
    network: FeaturesConfig = Means.Config()


def test_the_networks_in_the_settings_of_losses_are_found(squeezenet: Path) -> None:
    own = SqueezeNet.Config(weights=str(squeezenet))
    assert networks_in([]) == ()
    assert networks_in([Holder()]) == ("colour-means",)
    assert networks_in([Holder(), Holder(network=own)]) == tuple(sorted(["colour-means", own.build().digest]))


def test_the_judge_is_read_in_float32_and_its_card_is_json() -> None:
    judge = load_judge()
    assert {parameter.dtype for parameter in judge.parameters()} == {torch.float32}
    json.dumps(dict(judge.facts))
