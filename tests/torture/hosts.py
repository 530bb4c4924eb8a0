"""Two hosts, network namespaces with two ranks each, train as one process; one dies, and the run goes on alone.

It needs root and iproute2. torchrun's own rendezvous joins the hosts over the one cable between them.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture._trials import STEPS, TOKENIZER, scratch

from vqvae.files import read_records

COUNT = 2  # trainings of which a host dies
BATCH = ("--training.batch_size", "18")  # which 4 ranks do not divide
PORT = 29511


def check(count: int, seed: int) -> str:
    if os.geteuid() or not shutil.which("ip"):
        return "not run: it needs root and iproute2"
    with scratch() as folder, _two_hosts() as hosts:
        recipe = folder / "small.yaml"
        recipe.write_text(TOKENIZER)
        train = ["train", str(recipe), *BATCH, "--out"]
        _vqvae(*train, str(folder / "alone"))
        for host in (whole := [_start(host, [*train, str(folder / "two")], folder) for host in hosts]):
            assert host.wait(timeout=200) == 0, (folder / "log").read_text()
        assert len(whole) == 2
        worst = _difference(folder / "alone", folder / "two")
        again = _start(hosts[0], [*train, str(folder / "two")], folder, nodes=1)
        assert again.wait(timeout=200) != 0
        assert (folder / "log").read_text().count("two exists and is not overwritten") == 1
        ends = [
            _one_host_dies(hosts, train, folder, trial, random.Random(f"{seed} {trial}")) for trial in range(count)
        ]
        worst = max([worst, *(_difference(folder / "alone", folder / f"dying-{trial}") for trial in range(count))])
    assert worst < 1e-5, f"losses differ by {worst:.2g}"
    return (
        f"2 hosts of 2 ranks train as one process, and {count} with a host killed at step {ends} go on alone: "
        f"losses differ by at most {worst:.1g}"
    )


def _one_host_dies(hosts: list[str], train: list[str], folder: Path, trial: int, at: random.Random) -> int:
    """Kill the second host's processes at a random step; the first ends by itself; go on there in one process."""
    run = folder / f"dying-{trial}"
    living, _ = (_start(host, [*train, str(run)], folder) for host in hosts)
    step = at.randrange(2, STEPS - 2)
    deadline = time.monotonic() + 200
    while len(read_records(run / "metrics.jsonl")) < step:
        assert living.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.005)
    _kill_all(hosts[1])
    assert living.wait(timeout=60) != 0
    _vqvae("resume", str(run))
    return step


def _difference(one: Path, other: Path) -> float:
    losses = [[r["loss"] for r in read_records(run / "metrics.jsonl") if "loss" in r] for run in (one, other)]
    assert len(losses[0]) == len(losses[1]) == STEPS, losses
    return max(abs(a - b) for a, b in zip(*losses, strict=True))


def _vqvae(*argv: str) -> None:
    subprocess.run([sys.executable, "-m", "vqvae", *argv], check=True, capture_output=True, timeout=200)


def _start(host: str, argv: list[str], folder: Path, nodes: int = 2) -> "subprocess.Popen[bytes]":
    address = f"10.77.0.{1 + _HOSTS.index(host)}"
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={nodes}",
        "--nproc-per-node=2",
        "--rdzv-id=1",
    ]
    torchrun += ["--rdzv-backend=c10d", f"--rdzv-endpoint=10.77.0.1:{PORT}", f"--local-addr={address}"]
    # which host the rendezvous is at torchrun tells by the host's name, and both have the machine's
    torchrun += [f"--rdzv-conf=is_host={int(host == _HOSTS[0])}"]
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            ["ip", "netns", "exec", host, *torchrun, "-m", "vqvae", *argv],
            stdout=log,
            stderr=log,
            env=os.environ | {"GLOO_SOCKET_IFNAME": "cable"},
        )


_HOSTS = ["vqvae-a", "vqvae-b"]


@contextmanager
def _two_hosts() -> Iterator[list[str]]:
    try:
        for host in _HOSTS:
            _ip("netns", "add", host)
        _ip("link", "add", "cable", "netns", _HOSTS[0], "type", "veth", "peer", "cable", "netns", _HOSTS[1])
        for number, host in enumerate(_HOSTS, start=1):
            _ip("-n", host, "address", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", host, "link", "set", device, "up")
        yield _HOSTS
    finally:
        for host in _HOSTS:
            _kill_all(host)
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def _kill_all(host: str) -> None:
    pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True).stdout.split()
    for pid in map(int, pids):
        os.kill(pid, signal.SIGKILL)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
