"""What holds for every loss of the package."""

import pytest
import torch
from tests.losses.kinds import DISTANCES, KINDS, make, pair
from torch import Tensor

from vqvae.losses import LossConfig


def test_every_kind_of_the_package_is_tested_here() -> None:
    package = {kind for kind, config in LossConfig.kinds().items() if config.__module__.startswith("vqvae.")}
    assert package == KINDS.keys()


@pytest.mark.parametrize("kind", DISTANCES)
def test_a_distance_is_zero_for_equal_images_and_symmetric(kind: str) -> None:
    loss, (images, reconstruction) = make(kind).double(), pair()
    assert loss(images, images).item() == pytest.approx(0.0, abs=1e-12)
    there, back = loss(images, reconstruction), loss(reconstruction, images)
    assert there.item() > 1e-3 and there.item() == pytest.approx(back.item(), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_gradient_is_the_slope_of_the_term_in_float64(kind: str) -> None:
    loss, (images, reconstruction) = make(kind).double(), pair()
    reconstruction.requires_grad_()
    loss.term(images, reconstruction).backward()
    gradient = reconstruction.grad
    assert gradient is not None
    draw, h = torch.Generator().manual_seed(2), 1e-6
    for _ in range(5):
        direction = torch.randn(reconstruction.shape, generator=draw, dtype=torch.float64)
        with torch.no_grad():
            ahead, behind = (loss(images, reconstruction + sign * h * direction) for sign in (1, -1))
        slope = (ahead.double() - behind.double()).item() / (2 * h)
        # terms are summed in float32, which leaves 1e-7 / h of noise in a difference
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-3, abs=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_the_images_or_the_losss_parameters(kind: str) -> None:
    loss, (images, reconstruction) = make(kind).double(), pair()
    images.requires_grad_()
    reconstruction.requires_grad_()
    loss.term(images, reconstruction).backward()
    assert images.grad is None and bool(reconstruction.grad.any())
    assert all(parameter.grad is None for parameter in loss.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_a_batch_is_the_mean_over_any_split_of_it(kind: str) -> None:
    loss, (images, reconstruction) = make(kind).double(), pair(batch=4)
    whole = loss(images, reconstruction).item()

    def of(rows: slice) -> Tensor:
        return loss(images[rows], reconstruction[rows])

    split = (3 * of(slice(3)) + of(slice(3, 4))).item() / 4
    assert whole == pytest.approx(split, rel=1e-6)
    assert of(slice(0)).item() == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_grey_images_have_a_term(kind: str) -> None:
    images, reconstruction = pair(channels=3)
    grey, other = images[:, :1], reconstruction[:, :1]
    if kind == "adversarial":
        pytest.skip("the discriminator is made for the number of channels")
    loss = make(kind).double()
    repeated = loss(grey.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1))
    assert loss(grey, other).item() == pytest.approx(repeated.item(), rel=1e-6)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_charbonnier_is_its_formula_between_the_absolute_error_and_the_square(epsilon: float) -> None:
    loss = LossConfig.kinds()["charbonnier"](kind="charbonnier", epsilon=epsilon).build(image_shape=(3, 4, 4))  # pyright: ignore
    images, reconstruction = pair()
    errors = (images - reconstruction).abs()
    expected = ((errors**2 + epsilon**2).sqrt() - epsilon).mean()
    assert loss(images, reconstruction).item() == pytest.approx(expected.item(), rel=1e-6)
    assert errors.mean() - epsilon < expected < errors.mean()
    tiny = torch.full((1, 3, 4, 4), epsilon / 100, dtype=torch.float64)
    square = (epsilon / 100) ** 2 / (2 * epsilon)
    assert loss(torch.zeros_like(tiny), tiny).item() == pytest.approx(square, rel=1e-3)
