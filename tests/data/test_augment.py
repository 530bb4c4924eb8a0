"""A view is a function of (seed, view, row): the image itself, a shift of it, or the mirror of either."""

import pytest
import torch
from torch.nn import functional as F

from vqvae.data import Augmentation, flips

PIXELS = torch.randint(0, 256, (40, 3, 16, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
ROWS = torch.arange(40)


def view(views, number, rows=ROWS):
    return views.of(PIXELS[rows], rows, torch.full_like(rows, number))


def test_the_first_views_are_the_image_and_its_mirror():
    assert len(Augmentation()) == 1 and len(Augmentation(mirrored=True)) == 2 and len(Augmentation(crops=3)) == 4
    views = Augmentation(mirrored=True, crops=2)
    assert len(views) == 6
    for plain in (Augmentation(), Augmentation(mirrored=True), Augmentation(crops=2), views):
        assert torch.equal(view(plain, 0), PIXELS)
    for mirrored in (Augmentation(mirrored=True), views):
        assert torch.equal(view(mirrored, 1), PIXELS.flip(-1))


@pytest.mark.parametrize("mirrored", [False, True])
def test_every_other_view_is_a_crop_of_the_padded_image(mirrored):
    views = Augmentation(mirrored=mirrored, crops=2, seed=5)
    padded = F.pad(PIXELS.float(), (3, 3, 2, 2), mode="reflect").to(torch.uint8)  # an eighth of 16 and of 24
    found = set()
    for number in range(2 if mirrored else 1, len(views)):
        seen = view(views, number)
        seen = seen.flip(-1) if mirrored and number % 2 else seen
        for row in range(40):
            fits = [
                (y, x)
                for y in range(5)
                for x in range(7)
                if torch.equal(padded[row, :, y : y + 16, x : x + 24], seen[row])
            ]
            assert len(fits) == 1
            found.add(fits[0])
    assert len(found) > 25 and {y for y, _ in found} == set(range(5)) and {x for _, x in found} == set(range(7))


def test_a_view_depends_on_seed_view_and_row_and_on_nothing_else():
    views = Augmentation(crops=2, seed=5)
    base = view(views, 1)
    for rows in (ROWS[[7, 3]], ROWS[30:]):
        assert torch.equal(view(views, 1, rows), base[rows])
    several = views.of(PIXELS, ROWS, ROWS % 3)
    for number in range(3):
        assert torch.equal(several[number::3], view(views, number)[number::3])
    for other in (
        view(views, 2),
        view(Augmentation(crops=2, seed=6), 1),
        views.of(PIXELS, ROWS + 1, ROWS * 0 + 1),
    ):
        assert not torch.equal(other, base)


def test_training_sees_every_view_equally_often_and_mirrors_as_without_crops():
    rows, epochs = torch.arange(12_000), torch.full((12_000,), 3)
    chosen = Augmentation(mirrored=True, crops=2, seed=5).choose(rows, epochs)
    share = chosen.bincount(minlength=6) / 12_000
    assert ((share - 1 / 6).abs() < 0.015).all()
    assert torch.equal(chosen % 2 == 1, flips(rows, epochs, seed=5))
    assert torch.equal(Augmentation(mirrored=True, seed=5).choose(rows, epochs) == 1, flips(rows, epochs, seed=5))
    assert not Augmentation(seed=5).choose(rows, epochs).any()
    crops = Augmentation(crops=2, seed=5).choose(rows, epochs)
    assert 0.3 < (crops == Augmentation(crops=2, seed=5).choose(rows, epochs + 1)).double().mean() < 0.37


def test_an_image_too_small_to_shift_stays_as_it_is():
    pixels = PIXELS[:, :1, :4, :7]
    assert torch.equal(Augmentation(crops=1).of(pixels, ROWS, ROWS * 0 + 1), pixels)
