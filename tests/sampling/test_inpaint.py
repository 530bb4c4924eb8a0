"""What is kept stays, what is drawn follows the prior, and candidates bend it to what comes after."""

from itertools import product

import pytest
import torch

from vqvae.priors import PixelCNN
from vqvae.sampling import Controls, inpaint, outpaint, sample, vary

HOLE = torch.ones(4, 3, dtype=torch.bool)
HOLE[1, :2] = False


def random_codes(count):
    return torch.randint(0, 12, (count, 4, 3, 2), generator=torch.Generator().manual_seed(9))


def test_kept_codes_stay_and_the_hole_is_drawn(any_prior):
    codes = random_codes(20)
    drawn = inpaint(any_prior, codes, HOLE, seed=1, candidates=3)
    assert drawn.shape == codes.shape and drawn.dtype == torch.int64
    assert torch.equal(drawn[:, HOLE], codes[:, HOLE])
    assert not torch.equal(drawn, codes)
    assert torch.equal(drawn, inpaint(any_prior, codes, HOLE.expand(20, -1, -1), seed=1, candidates=3))
    assert torch.equal(drawn, inpaint(any_prior, codes, HOLE, seed=1, candidates=3, batch_size=7))
    assert not torch.equal(drawn, inpaint(any_prior, codes, HOLE, seed=2, candidates=3))


def test_with_everything_kept_the_codes_come_back(any_prior):
    codes, keep = random_codes(5), torch.ones(4, 3, dtype=torch.bool)
    for candidates in (1, 4):
        assert torch.equal(inpaint(any_prior, codes, keep, candidates=candidates), codes)


@pytest.mark.parametrize("control", [{}, {"temperature": 0.7, "top_k": 5}, {"guidance": 2.0}], ids=str)
def test_with_nothing_kept_it_is_sample(any_prior, control):
    how = {"seed": 5, "labels": torch.arange(10) % 3, "controls": Controls(**control)}
    drawn = inpaint(any_prior, random_codes(10), torch.zeros(4, 3, dtype=torch.bool), **how)
    assert torch.equal(drawn, sample(any_prior, 10, **how))
    assert torch.equal(drawn, vary(any_prior, random_codes(10), **how))


def test_masks_differ_from_image_to_image_and_from_depth_to_depth(any_prior):
    codes = random_codes(6)
    keep = torch.rand(6, 4, 3, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    drawn = inpaint(any_prior, codes, keep, candidates=2)
    assert torch.equal(drawn[keep], codes[keep]) and not torch.equal(drawn, codes)
    alone = inpaint(any_prior, codes[:1], keep[0, :, :, 0], candidates=2)
    assert torch.equal(alone[0][keep[0, :, :, 0]], codes[0][keep[0, :, :, 0]])


def test_a_variation_keeps_the_first_codes_of_each_position_and_all_outside_its_region(any_prior):
    codes = random_codes(20)
    for region in (None, ~HOLE):
        drawn = vary(any_prior, codes, depth=1, region=region, candidates=2, seed=3)
        varied = torch.ones(4, 3, dtype=torch.bool) if region is None else region
        assert torch.equal(drawn[..., 0], codes[..., 0])
        assert torch.equal(drawn[:, ~varied], codes[:, ~varied])
        assert (drawn[:, varied, 1] != codes[:, varied, 1]).any(0).all()
    assert torch.equal(vary(any_prior, codes, region=~HOLE, seed=1), inpaint(any_prior, codes, HOLE, seed=1))


@pytest.mark.parametrize("depth", [-1, 2])
def test_a_depth_that_leaves_nothing_to_draw_is_refused(any_prior, depth):
    with pytest.raises(ValueError, match=f"depth {depth}: must be 0 to 1, as there are 2 codes per position"):
        vary(any_prior, random_codes(2), depth=depth)


def test_the_codes_before_the_hole_are_seen(any_prior):
    one, other = random_codes(20), random_codes(20)
    other[:, 0] = (other[:, 0] + 1) % 12
    drawn = [inpaint(any_prior, codes, HOLE, seed=1)[:, 1, :2] for codes in (one, other)]
    assert not torch.equal(*drawn)


def test_candidates_raise_the_likelihood_of_what_follows(any_prior):
    codes = random_codes(100)

    def nats_after(candidates):
        drawn = inpaint(any_prior, codes, HOLE, candidates=candidates)
        with torch.no_grad():
            return any_prior.code_nats(drawn)[:, HOLE].sum((1, 2)).mean()

    few, many = nats_after(1), nats_after(16)
    assert many < few - 0.1


@pytest.mark.parametrize("first_kept", [1, 2])
def test_with_many_candidates_the_hole_has_its_exact_distribution(first_kept):
    torch.manual_seed(1)
    model = PixelCNN(2, grid=(2, 2), width=8, layers=3, head_width=16).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.5)
        every = torch.tensor(list(product([0, 1], repeat=4))).view(-1, 2, 2, 1)
        joint = model.log_prob(every).double().exp()
    known = torch.tensor([1, 0, 1])[first_kept - 1 :]
    fits = (every.flatten(1)[:, first_kept:] == known).all(1)
    exact = joint[fits] / joint[fits].sum()
    given = (
        torch.cat([torch.zeros(first_kept, dtype=torch.int64), known]).view(1, 2, 2, 1).expand(3000, -1, -1, -1)
    )
    keep = (torch.arange(4) >= first_kept).view(2, 2)

    def distance(candidates):
        drawn = inpaint(model, given, keep, candidates=candidates, batch_size=40_000)
        holes = drawn.flatten(1)[:, :first_kept]
        share = torch.stack(
            [(holes == hole).all(1).double().mean() for hole in every.flatten(1)[fits, :first_kept]]
        )
        return float((share - exact).abs().sum() / 2)

    assert distance(200) < 0.03
    assert distance(1) > 0.06


def test_outpainting_keeps_the_codes_where_they_are_put(any_prior):
    codes = random_codes(3)
    drawn = outpaint(any_prior, codes, (6, 7), at=(1, 2), candidates=2, seed=4)
    assert drawn.shape == (3, 6, 7, 2)
    assert torch.equal(drawn[:, 1:5, 2:5], codes)
    assert len(drawn.unique(dim=0)) == 3


def test_progress_is_told_of_every_code(any_prior):
    passed = []
    inpaint(any_prior, random_codes(5), HOLE, candidates=2, batch_size=4, progress=passed.append)
    assert sum(passed) == 5 * 2 * 24


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": 0}, "candidates 0: must be 1 or more"),
        ({"keep": torch.ones(3, 4, dtype=torch.bool)}, r"keep torch.bool \[3, 4\]: expected bool \[4, 3\]"),
        ({"keep": torch.ones(4, 3)}, r"keep torch.float32 \[4, 3\]: expected bool"),
        ({"controls": Controls(temperature=-1.0)}, "temperature -1.0"),
        ({"controls": Controls(guidance=2.0)}, "guidance 2.0: needs labels"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(any_prior, change, message):
    with pytest.raises(ValueError, match=message):
        inpaint(any_prior, random_codes(2), **{"keep": HOLE, **change})
    with pytest.raises(ValueError, match="codes 4x3 at 1,0 do not lie inside the grid 4x3"):
        outpaint(any_prior, random_codes(2), (4, 3), at=(1, 0))


DRAWS = [
    lambda prior, codes: inpaint(prior, codes, HOLE),
    lambda prior, codes: outpaint(prior, codes, (5, 5)),
    lambda prior, codes: vary(prior, codes, depth=1),
]


@pytest.mark.parametrize("draw", DRAWS, ids=["inpaint", "outpaint", "vary"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes: codes.float(), r"codes torch\.float32: expected integers 0\.\.11"),
        (lambda codes: codes[0], r"codes \[4, 3, 2\]: expected \[B, h, w, 2\]"),
        (lambda codes: codes[0, 0, 0], r"codes \[2\]: expected"),
        (lambda codes: codes[..., :1], r"codes \[2, 4, 3, 1\]: expected \[B, h, w, 2\]"),
        (lambda codes: codes + 12, r"expected 0\.\.11"),
        (lambda codes: codes - 12, r"expected 0\.\.11"),
    ],
)
def test_codes_that_do_not_fit_are_refused(any_prior, draw, change, message):
    with pytest.raises(ValueError, match=message):
        draw(any_prior, change(random_codes(2)))


def test_codes_that_are_not_kept_may_be_anything_and_of_any_integer_type(any_prior):
    codes = random_codes(3)
    keep = HOLE.expand(3, 4, 3).clone()
    keep[0] = True  # the codes of image 0 are read at all positions
    expected = inpaint(any_prior, codes, keep)
    for other in (99, -1):
        changed = codes.where(keep[..., None], other)
        assert torch.equal(inpaint(any_prior, changed.to(torch.int8), keep), expected)


@pytest.mark.parametrize("draw", DRAWS, ids=["inpaint", "outpaint", "vary"])
def test_of_no_images_nothing_is_drawn(any_prior, draw):
    drawn = draw(any_prior, random_codes(0))
    assert drawn.dtype == torch.int64 and drawn.shape[0] == 0 and drawn.ndim == 4
