"""AlexNet, VGG16 and InceptionV3: their layers, and the figures of others' code with the same weights."""

import hashlib
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vqvae.commands.compare import compare
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.features import VGG16, AlexNet, FeatureNetwork, Inception, network_named
from vqvae.features import inception as inception_module
from vqvae.losses import Perceptual
from vqvae.metrics import METRICS, described
from vqvae.metrics.lpips import lpips, lpips_network
from vqvae.tensors import images_from_pixels, pixels_from_images

CHANNELS = {"alexnet": (64, 192, 384, 256, 256), "vgg16": (64, 128, 256, 512, 512)}
SIZE = {"alexnet": 47, "vgg16": 33}


def random_weights(network: nn.Module, path: Path, *, prefix: str = "features.") -> Path:
    """Write random weights as torchvision names them, with a classifier that is not read."""
    torch.manual_seed(0)
    weights = {f"{prefix}{name}": torch.randn_like(value) * 0.05 for name, value in network.state_dict().items()}
    torch.save(weights | {"classifier.1.weight": torch.zeros(3)}, path)
    return path


def factors(kind: str, path: Path) -> Path:
    """Write random factors of channels under the names of LPIPS's own files."""
    torch.manual_seed(1)
    sizes = enumerate(CHANNELS[kind])
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, size, 1, 1) for i, size in sizes}, path)
    return path


def save_images(pixels: Tensor, folder: Path) -> None:
    folder.mkdir()
    for row, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{row}.png")


@pytest.fixture(params=CHANNELS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def weights(kind: str, tmp_path: Path) -> Path:
    return random_weights({"alexnet": AlexNet, "vgg16": VGG16}[kind](), tmp_path / f"{kind}.pth")


@pytest.fixture
def network(kind: str, weights: Path) -> FeatureNetwork:
    return network_named(f"{kind}:{weights}")


def standardised(images: Tensor) -> Tensor:
    """As torchvision's models want images: the means and deviations of pixels in [0, 1]."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((images + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]


def by_hand(kind: str, w: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The maps of LPIPS, layer by layer."""
    found, number = [], 0

    def conv(x: Tensor, **options: int) -> Tensor:
        nonlocal number
        x = F.relu(F.conv2d(x, w[f"features.{number}.weight"], w[f"features.{number}.bias"], **options))
        number += 2
        return x

    if kind == "alexnet":
        found.append(x := conv(x, stride=4, padding=2))
        for stage in range(4):
            if stage < 2:
                x, number = F.max_pool2d(x, 3, 2), number + 1
            found.append(x := conv(x, padding=2 if stage == 0 else 1))
        return found
    for convolutions in (2, 2, 3, 3, 3):
        if found:
            x, number = F.max_pool2d(x, 2), number + 1
        for _ in range(convolutions):
            x = conv(x, padding=1)
        found.append(x)
    return found


def test_the_maps_are_those_of_the_paper_layer_by_layer(kind: str, weights: Path, network: FeatureNetwork) -> None:
    images = torch.rand(2, 3, SIZE[kind], SIZE[kind] + 5) * 2 - 1
    expected = by_hand(kind, torch.load(weights, weights_only=True), standardised(images))
    found = network.maps(images)
    assert tuple(each.shape[1] for each in found) == CHANNELS[kind]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_safetensors_and_torchs_own_files_are_the_same_network(kind: str, weights: Path, tmp_path: Path) -> None:
    save_file(torch.load(weights, weights_only=True), other := tmp_path / "other.safetensors")
    assert network_named(f"{kind}:{other}").digest == network_named(f"{kind}:{weights}").digest


def test_a_file_that_runs_code_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"features.0.weight": re.compile("a")}, path)
    with pytest.raises(UserError, match="not the weights of"):
        network_named(f"{kind}:{path}")


def test_lpips_is_a_distance_that_noise_increases(kind: str, network: FeatureNetwork, tmp_path: Path) -> None:
    measure = lpips_network(network, str(factors(kind, tmp_path / "lin.pth")), (3, 40, 40))
    pixels = load("shapes", "test", limit=3).pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(2))
    images = images_from_pixels(pixels)
    found = [lpips(measure, pixels, pixels_from_images(images + scale * noise)) for scale in (0.0, 0.05, 0.3)]
    assert found[0].abs().max() == 0
    assert bool((found[2] > found[1]).all()) and bool((found[1] > 0).all())


def test_lpips_is_that_of_its_authors(kind: str, weights: Path, network: FeatureNetwork, tmp_path: Path) -> None:
    authors = pytest.importorskip("lpips", reason="the package lpips needs torchvision")
    theirs = authors.LPIPS(net={"alexnet": "alex", "vgg16": "vgg"}[kind], pnet_rand=True, verbose=False).eval()
    own = torch.load(weights, weights_only=True)
    names = {name.partition(".")[2]: name for name in theirs.net.state_dict()}  # "slice2.3.weight" by "3.weight"
    kept = {n.removeprefix("features."): v for n, v in own.items() if "classifier" not in n}
    theirs.net.load_state_dict({names[name]: value for name, value in kept.items()})
    learned = {name: v for name, v in theirs.state_dict().items() if name.startswith("lin") and "lins" not in name}
    torch.save(learned, path := tmp_path / "lin.pth")
    measure = lpips_network(network, str(path), (3, 64, 64))
    pixels = load("shapes", "test", limit=4).pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    a, b = pixels[:2], pixels[2:]
    with torch.no_grad():
        expected = theirs(images_from_pixels(a), images_from_pixels(b)).flatten()
    assert lpips(measure, a, b).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_factors_of_another_network_and_small_images_are_one_line(network: FeatureNetwork, tmp_path: Path) -> None:
    other = next(kind for kind in CHANNELS if kind != network.kind)
    with pytest.raises(UserError, match=rf"but {network.kind} has maps of"):
        lpips_network(network, str(factors(other, tmp_path / "lin.pth")), (3, 64, 64))
    with pytest.raises(UserError, match=r"--lpips: images of 8x8 are too small"):
        lpips_network(network, str(factors(network.kind, tmp_path / "own.pth")), (3, 8, 8))


def test_compare_stamps_lpips_with_both_files(kind: str, weights: Path, tmp_path: Path) -> None:
    pixels = load("shapes", "test", limit=8).pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for name, images in (("a", pixels), ("b", 255 - pixels)):
        save_images(images, tmp_path / name)
    lin = str(factors(kind, tmp_path / "lin.pth"))
    found = compare(
        str(tmp_path / "a"), str(tmp_path / "b"), lpips=(f"{kind}:{weights}", lin), resampled=10
    ).to_dict()
    assert found["lpips"] > 0 and found["intervals"]["lpips"] is not None
    stamp = found["protocol"]["lpips"]
    assert stamp["network"] == kind and len(stamp["weights"]) == len(stamp["factors"]) == 64


def test_inception_has_no_maps_for_a_loss(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity", reason="the extra fid needs torchvision")
    network = Inception.Config(weights=str(inception(tmp_path)))
    with pytest.raises(UserError, match="inception has no feature maps"):
        Perceptual.Config(network=network).build(image_shape=(3, 32, 32))


def inception(folder: Path) -> Path:
    """Write random weights of FID's InceptionV3."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    path = folder / "inception.pth"
    torch.manual_seed(0)
    network = module.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(network, "load_state_dict", lambda *_: None)
        blank = network("blank", ["2048"])
    torch.save(blank.state_dict(), path)
    return path


def test_only_the_weights_of_fid_make_an_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_fidelity", reason="the extra fid needs torchvision")
    weights = inception(tmp_path)
    save_images(load("shapes", "test", limit=6).pixels, tmp_path / "a")

    def title() -> str:
        found = compare(*[str(tmp_path / "a")] * 2, features=f"inception:{weights}", resampled=0)
        return described("frechet", found.protocol).title

    assert title() == METRICS["frechet"].title
    monkeypatch.setattr(inception_module, "FID_WEIGHTS", hashlib.sha256(weights.read_bytes()).hexdigest()[:8])
    assert title() == "FID"


def test_fid_and_kid_are_torch_fidelitys(tmp_path: Path) -> None:
    fidelity = pytest.importorskip("torch_fidelity", reason="the extra fid needs torchvision")
    weights = inception(tmp_path)
    pixels = load("shapes", "test", limit=24).pixels
    for name, images in (("a", pixels[:12]), ("b", 255 - pixels[12:])):
        save_images(images, tmp_path / name)
    found = compare(
        str(tmp_path / "a"), str(tmp_path / "b"), features=f"inception:{weights}", pair="none", resampled=0
    ).to_dict()
    expected = fidelity.calculate_metrics(
        input1=str(tmp_path / "a"), input2=str(tmp_path / "b"), cuda=False, fid=True, kid=True, kid_subsets=1,
        kid_subset_size=12, feature_extractor_weights_path=str(weights), verbose=False, cache=False,
    )  # fmt: skip
    assert found["frechet"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-3)
    assert found["kid"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-3)
    assert "called" not in found["protocol"]["features"]  # random weights do not make an FID
