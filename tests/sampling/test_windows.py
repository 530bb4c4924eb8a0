"""Grids of any size: windows equal the prior at its own size, and each code depends on its window alone."""

import pytest
import torch
from tests.priors.kinds import KINDS, decided, random_codes, small, spec_of

from vqvae.sampling import Controls, Windowed, sample


def build(kind, grid=(4, 4), n=1, num_classes=0):
    return decided(small(kind, spec_of(grid, n), num_classes=num_classes)).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_the_whole_grid_draw_what_the_prior_draws(kind):
    prior = build(kind, n=2, num_classes=3)
    labels = torch.tensor([0, 1, 2])
    controls = Controls(guidance=2.0)
    expected = sample(prior, 3, labels=labels, controls=controls)
    assert torch.equal(sample(Windowed(prior, (4, 4)), 3, labels=labels, controls=controls), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(4, 12), (7, 5), (2, 9)], ids=str)
def test_steps_have_the_logits_of_the_window_around_the_code(kind, grid):
    prior = build(kind, n=2)
    windowed, codes = Windowed(prior, grid), random_codes(2, grid, 2)
    cache, previous, steps = windowed.start(2, grid), None, []
    with torch.no_grad():
        whole = windowed(codes)
        for code in codes.flatten(1).T:
            steps.append(windowed.step(cache, previous))
            previous = code
        torch.testing.assert_close(torch.stack(steps, 1), whole.flatten(1, 3))
        height, width = min(4, grid[0]), min(4, grid[1])
        # the last code of the grid: the last window
        last = prior(codes[:, -height:, -width:])
        torch.testing.assert_close(whole[:, -1, -1], last[:, -1, -1])


def test_a_code_outside_the_window_changes_no_logit():
    prior = build("pixelcnn")
    codes = random_codes(1, (4, 12), 1)
    changed = codes.clone()
    changed[:, :, 0] = (changed[:, :, 0] + 1) % 5
    with torch.no_grad():
        before, after = (Windowed(prior, (4, 12))(given) for given in (codes, changed))
    assert torch.equal(before[:, :, 6:], after[:, :, 6:])
    assert not torch.equal(before[:, :, 1], after[:, :, 1])


def test_an_image_depends_on_its_seed_and_number_alone():
    windowed = Windowed(build("transformer"), (4, 10))
    assert torch.equal(sample(windowed, 5, batch_size=2)[3], sample(windowed, 1, first=3)[0])
    with pytest.raises(ValueError, match="grid"):
        windowed.start(1, (4, 4))
