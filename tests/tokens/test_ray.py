"""Ray Data's workers encode what one process encodes, row for row, also if one of them is killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from vqvae.commands.decode import decode_store
from vqvae.commands.encode import encode_to_store
from vqvae.commands.resolve import open_tokenizer_run
from vqvae.data import load
from vqvae.errors import UserError
from vqvae.ray import Encoder
from vqvae.training import Run

# the whole check: VQVAE_RAY_IMAGES=20000 VQVAE_RAY_WORKERS=4 python -m pytest tests/tokens/test_ray.py
IMAGES = int(os.environ.get("VQVAE_RAY_IMAGES", "400"))
WORKERS = int(os.environ.get("VQVAE_RAY_WORKERS", "2"))
BATCH = IMAGES // 20
SECONDS = 500 + IMAGES // 20  # after which the test fails instead of waiting for a cluster that does not start


class KilledOnce(Encoder):
    """An encoder of which the first that has a batch of the second half is killed, as a machine may be."""

    def __init__(self, model: str, mark: str) -> None:
        super().__init__(model, device="cpu")
        self.mark = mark

    def __call__(self, batch: Any) -> Any:
        if int(batch["row"].min()) > IMAGES // 2 and self._is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)

    def _is_first(self) -> bool:
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@pytest.fixture
def time_limit() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def ray(time_limit: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="needs the package ray: pip install 'vqvae-toolkit[ray]'")
    pytest.importorskip("ray.data", reason="needs ray[data]: pip install 'vqvae-toolkit[ray]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder
    for wait in ("RAY_raylet_start_wait_time_s", "RAY_worker_register_timeout_seconds"):
        monkeypatch.setenv(wait, str(SECONDS))  # a busy machine starts processes slowly
    root = Path(__file__).parent.parent.parent
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=WORKERS + 1,  # one to write
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    yield ray
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")  # ray's own
def test_workers_of_which_one_is_killed_write_the_rows_of_the_store(
    ray: Any, tokenizer_run: Run, tmp_path: Path
) -> None:
    pixels = load(f"shapes:{IMAGES}", "train", validation=0).pixels[:IMAGES, :, ::2, ::2].permute(0, 2, 3, 1)
    np.save(tmp_path / "pixels.npy", pixels.numpy())
    opened = open_tokenizer_run(tokenizer_run.path)
    store = encode_to_store(opened, str(tmp_path / "pixels.npy"), str(tmp_path / "store"), split="all").store
    expected = torch.cat([shard.codes for shard in store.shards()])

    items = [{"row": row, "image": pixels[row].numpy()} for row in range(len(pixels))]
    rows = ray.data.from_items(items, override_num_blocks=16)
    mark = tmp_path / "killed"
    encoded = rows.map_batches(
        KilledOnce,
        fn_constructor_args=(str(tokenizer_run.path), str(mark)),
        compute=ray.data.ActorPoolStrategy(size=WORKERS),
        batch_size=BATCH,
    )
    encoded.write_parquet(str(tmp_path / "codes"))

    assert mark.exists(), "no worker was killed"
    table = pq.read_table(tmp_path / "codes").sort_by("row")
    assert table["row"].to_pylist() == list(range(IMAGES))
    found = torch.tensor(np.array(table["codes"].to_pylist()), dtype=expected.dtype)
    assert torch.equal(found, expected)
    one = sorted((tmp_path / "codes").glob("*.parquet"))[0]
    assert decode_store(str(one), opened, str(tmp_path / "images")) == pq.read_metadata(one).num_rows


def test_a_batch_is_encoded_as_the_tokenizer_encodes_it(tokenizer_run: Run) -> None:
    encoder = Encoder(str(tokenizer_run.path), column="photo", device="cpu")
    pixels = load("shapes:8", "train", validation=0).pixels
    table = encoder({"photo": pixels.permute(0, 2, 3, 1).numpy(), "id": np.arange(len(pixels))})
    assert table.column_names == ["id", "codes"]
    codes = torch.tensor(np.array(table["codes"].to_pylist()))
    assert torch.equal(codes, encoder.tokenizer.encode(pixels.float() / 127.5 - 1, exact=True))
    for batch, says in (
        ({"image": pixels.numpy()}, "no column 'photo'; the batch has image"),
        ({"photo": np.zeros((2, 8, 8, 3))}, "expected images of one size, uint8"),
    ):
        with pytest.raises(UserError, match=says):
            encoder(batch)
