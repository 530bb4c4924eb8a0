"""Many images encoded at constant memory, killed and resumed ten times: the store of one go, byte for byte."""

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.shared_data import CIFAR10
from tests.torture.images import SMALL
from tests.torture.processes import contents

from vqvae.config import load_config
from vqvae.tokens import Store
from vqvae.training import train

REAL = CIFAR10 / "test.parquet"

# the command, and then its peak memory in KB; the parent's would count in the resource usage of a child
_PROGRAM = """
from vqvae.cli import main
main()
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""

COUNT = 200_000  # images
KILLS = 10


def write_data(folder: Path, count: int) -> None:
    """Fill a folder with at least so many rows: CIFAR-10's file under several names, or shapes as parquet."""
    folder.mkdir()
    one = REAL if REAL.exists() else _shapes(folder.parent / "shapes.parquet")
    import pyarrow.parquet as pq

    for number in range(-(-count // pq.ParquetFile(one).metadata.num_rows)):
        (folder / f"train-{number:05d}.parquet").symlink_to(one)
    (folder / "test.parquet").symlink_to(one)


def _shapes(path: Path) -> Path:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from PIL import Image

    from vqvae.data.shapes import draw

    images = []
    for pixels in draw(torch.arange(5_000), split="train").permute(0, 2, 3, 1).numpy():
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        images.append({"bytes": stream.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(images, kind)}), path, row_group_size=1000)
    return path


def _start(run: Path, data: Path, out: Path, rows: int) -> subprocess.Popen[bytes]:
    words = [
        "encode",
        str(run),
        "--data",
        str(data),
        "--out",
        str(out),
        "--shard-rows",
        str(rows),
        "--device",
        "cpu",
    ]
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, *words], stdout=subprocess.PIPE)


def _finish(child: subprocess.Popen[bytes]) -> int:
    """Wait for a process; return its peak memory in MB."""
    said, _ = child.communicate()
    assert child.returncode == 0, f"exit code {child.returncode}"
    return int(said.splitlines()[-1]) // 1024


def check(count: int, seed: int) -> str:
    """Encode so many images in one go, and again with ten kills; return one line of figures."""
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), max(1, count // 100)
        run = train(load_config("shapes", "tokenizer", SMALL), out=f"{name}/run", name="run").path
        write_data(folder / "data", count)
        peaks = [_finish(_start(run, folder / "data", folder / "whole", rows))]
        shards = Store.open(folder / "whole").header.num_shards
        rng = random.Random(seed)
        for kill in range(KILLS):
            child, begun = _start(run, folder / "data", folder / "killed", rows), time.monotonic()
            goal = shards * (kill + 1) // (KILLS + 1)
            while len(list((folder / "killed").glob("*.safetensors"))) < goal and child.poll() is None:
                assert time.monotonic() - begun < 3600
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.3))
            child.send_signal(signal.SIGKILL)
            child.wait()
        peaks.append(_finish(_start(run, folder / "data", folder / "killed", rows)))
        assert contents(folder / "killed") == contents(folder / "whole"), "the stores differ"
        encoded = sum(len(shard.rows) for shard in Store.open(folder / "whole").shards())
        few = folder / "few"
        few.mkdir()
        for file in ("train-00000.parquet", "test.parquet"):
            (few / file).symlink_to((folder / "data" / file).resolve())
        shutil.rmtree(folder / "killed")
        small = _finish(_start(run, few, folder / "small", rows))
        fewer = Store.open(folder / "small").header.rows
        size = sum(file.stat().st_size for file in (folder / "whole").iterdir()) / 2**20
    return (
        f"{encoded:,} images in {shards} shards, {size:.0f} MB, killed {KILLS} times: byte-identical; "
        f"peak memory {max(peaks)} MB, and {small} MB for {fewer:,} images"
    )
