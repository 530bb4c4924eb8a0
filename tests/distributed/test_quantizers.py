"""R ranks on shards, some of them empty, equal one process on the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.distributed.quantizer_ranks import KINDS

from vqvae import noise
from vqvae.quantizers.tracker import CodebookTracker

ROOT = Path(__file__).parents[2]
REVIVING = [
    kind for kind, make in KINDS.items() if any(isinstance(part, CodebookTracker) for part in make().modules())
]


@pytest.fixture(scope="session")
def held(tmp_path_factory):
    """What each rank of 1, 2 and 4 holds: tensors by name, in lists by rank, by the number of ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.distributed.quantizer_ranks", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        world: [load_file(folder / f"{world}-{rank}.safetensors") for rank in range(world)] for world in (1, 2, 4)
    }


def together(parts, name):
    """Return what ranks hold under a name as one process would."""
    if "/rows." in name:
        return torch.cat(parts)
    return torch.stack(parts).sum(0) if "/shares." in name else parts[0]


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_equal_one_process(held, kind, world):
    (alone,), ranks = held[1], held[world]
    names = [name for name in alone if name.startswith(f"{kind}/")]
    assert names
    for name in names:
        got = together([own[name] for own in ranks], name)
        if got.is_floating_point():
            torch.testing.assert_close(got, alone[name], rtol=1e-5, atol=1e-6, equal_nan=True, msg=name)
        else:
            assert torch.equal(got, alone[name]), name


@pytest.mark.parametrize("world", [2, 4])
def test_all_ranks_hold_the_same_bits(held, world):
    first, *others = held[world]
    for name in (name for name in first if "/rows." not in name and "/shares." not in name):
        for other in others:
            assert torch.equal(first[name], other[name]), name


@pytest.mark.parametrize("kind", REVIVING)
def test_the_trial_revives_codes(held, kind):
    revived = [int(held[1][0][f"{kind}/{step}/revived"]) for step in range(7)]
    assert max(revived) > 0, revived


@pytest.mark.parametrize("world", [1, 2, 4])
def test_rows_are_gathered_in_the_order_of_ranks_and_sums_are_sums(held, world):
    expected = torch.cat([noise.random_bits(rank, torch.arange(5 * rank)) for rank in range(world)])
    for own in held[world]:
        assert torch.equal(own["gathered"], expected)
        assert own["summed"].tolist() == [world, world * (world - 1) / 2]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_order_of_rows_is_the_same_at_any_number_of_ranks(held, world):
    alone = {name: rows for name, rows in held[1][0].items() if name.startswith("order/")}
    steps = {name: torch.cat([own[name] for own in held[world]]) for name in alone}
    assert all(torch.equal(rows, alone[name]) for name, rows in steps.items())
    stream = torch.cat([steps[f"order/{step}/rows.of_the_data"] for step in range(len(steps))])
    for epoch in range(3):
        assert sorted(stream[stream[:, 1] == epoch, 0].tolist()) == list(range(101))
