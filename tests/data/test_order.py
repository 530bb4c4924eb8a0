import itertools

import pytest
import torch

from vqvae.data import flips, rows_at_step
from vqvae.data.order import interleaved_rows_at_step

ENDS = torch.tensor([7, 20, 21, 50, 64])


@pytest.mark.parametrize(("batch_size", "num_rows"), [(4, 12), (5, 12), (12, 12), (30, 12), (3, 1)])
def test_every_epoch_visits_every_row_exactly_once(batch_size, num_rows):
    steps = [rows_at_step(s, batch_size=batch_size, num_rows=num_rows, seed=3) for s in range(5 * num_rows)]
    rows, epochs = (torch.cat(column) for column in zip(*steps, strict=True))
    assert torch.equal(epochs, torch.arange(len(rows)) // num_rows)
    for epoch in range(int(epochs[-1])):
        assert torch.equal(rows[epochs == epoch].sort().values, torch.arange(num_rows))


def test_a_step_does_not_depend_on_the_steps_before():
    forwards = [rows_at_step(step, batch_size=7, num_rows=20, seed=1) for step in range(12)]
    backwards = [rows_at_step(step, batch_size=7, num_rows=20, seed=1) for step in reversed(range(12))][::-1]
    for (rows, epochs), (rows_again, epochs_again) in zip(forwards, backwards, strict=True):
        assert torch.equal(rows, rows_again)
        assert torch.equal(epochs, epochs_again)


def test_batch_size_only_cuts_the_stream():
    narrow = torch.cat([rows_at_step(step, batch_size=3, num_rows=10, seed=0)[0] for step in range(20)])
    wide = torch.cat([rows_at_step(step, batch_size=20, num_rows=10, seed=0)[0] for step in range(3)])
    assert torch.equal(narrow, wide)


def test_epochs_and_seeds_differ_in_order():
    first, second = (rows_at_step(step, batch_size=100, num_rows=100, seed=0)[0] for step in (0, 1))
    other = rows_at_step(0, batch_size=100, num_rows=100, seed=1)[0]
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_callers_may_write_into_their_rows():
    rows, _ = rows_at_step(0, batch_size=10, num_rows=10, seed=0)
    expected = rows.clone()
    rows.zero_()
    assert torch.equal(rows_at_step(0, batch_size=10, num_rows=10, seed=0)[0], expected)


def test_flips_are_a_fair_function_of_seed_epoch_and_row():
    rows, epochs = torch.arange(10_000), torch.zeros(10_000, dtype=torch.int64)
    flipped = flips(rows, epochs, seed=0)
    assert flipped.dtype == torch.bool
    assert 0.48 < flipped.double().mean() < 0.52
    assert torch.equal(flips(rows[[7, 3]], epochs[[7, 3]], seed=0), flipped[[7, 3]])
    for other in (flips(rows, epochs + 1, seed=0), flips(rows, epochs, seed=1)):
        assert 0.48 < (other == flipped).double().mean() < 0.52


def test_flips_tell_nothing_about_the_order():
    rows, epochs = rows_at_step(0, batch_size=10_000, num_rows=10_000, seed=0)
    flipped = flips(rows, epochs, seed=0)
    early, late = flipped[:5000].double().mean(), flipped[5000:].double().mean()
    assert abs(early - late) < 0.04


def in_lanes(step, *, batch_size=8, interleave=4, seed=0, ends=ENDS):
    return interleaved_rows_at_step(step, batch_size=batch_size, ends=ends, interleave=interleave, seed=seed)


@pytest.mark.parametrize(("batch_size", "interleave"), [(8, 4), (6, 4), (64, 4), (128, 2), (5, 16), (1, 1)])
def test_an_epoch_in_lanes_visits_every_row_once_but_fewer_than_there_are_lanes(batch_size, interleave):
    steps = [
        in_lanes(step, batch_size=batch_size, interleave=interleave) for step in range(3 * 64 // batch_size + 1)
    ]
    rows, epochs = (torch.cat(column) for column in zip(*steps, strict=True))
    for epoch in range(2):
        counts = rows[epochs == epoch].bincount(minlength=64)
        assert counts.max() == 1
        assert counts.sum() > 64 - interleave
    assert not torch.equal(rows[epochs == 0], rows[epochs == 1])


def test_a_step_in_lanes_does_not_depend_on_the_steps_before():
    forwards = [in_lanes(step) for step in range(20)]
    backwards = [in_lanes(step) for step in reversed(range(20))][::-1]
    for (rows, epochs), (rows_again, epochs_again) in zip(forwards, backwards, strict=True):
        assert torch.equal(rows, rows_again)
        assert torch.equal(epochs, epochs_again)


def test_a_lane_reads_block_after_block():
    """So a rank with a contiguous part of every batch touches few blocks at once, and never goes back to one."""
    ends = torch.arange(100, 2001, 100)
    for part in range(4):
        visits = []
        for step in range(2000 // 8):
            rows, _ = in_lanes(step, ends=ends)
            visits += torch.searchsorted(ends, rows.tensor_split(4)[part], right=True).tolist()
        changes = sum(a != b for a, b in itertools.pairwise(visits))
        assert changes == len(set(visits)) - 1 <= 2000 // 4 // 100 + 1


def test_rows_of_a_block_come_mixed_and_otherwise_in_another_epoch():
    ends = torch.tensor([1000])
    first, second = (in_lanes(step, batch_size=1000, interleave=1, ends=ends)[0] for step in (0, 1))
    assert not torch.equal(first, torch.arange(1000))
    assert not torch.equal(first, second)
    assert not torch.equal(first, in_lanes(0, batch_size=1000, interleave=1, ends=ends, seed=1)[0])
