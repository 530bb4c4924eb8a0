"""Device, precision and compilation of a run."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqvae.config import TrainingConfig
from vqvae.distributed import local_rank, max_over_ranks, world_size
from vqvae.errors import UserError
from vqvae.model_io import choose_device

_LOG = logging.getLogger(__name__)
_WORTH_COMPILING = 1000  # steps: compiling costs about a minute, and gains a third


def bf16_is_faster(device: torch.device) -> bool:
    """Measure whether a convolution of a typical size is faster in bf16 than in float32; this takes about 0.2 s.

    The features that a processor announces do not tell: on some, AVX-512 bf16 without AMX is slower than float32
    (docs/log.md). The two take turns, and each counts by its best time: other work on the machine does not decide.
    """
    if device.type == "mps":
        return False
    x = torch.zeros(64, 128, 8, 8, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.zeros(128, 128, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    operands = {dtype: (x.to(dtype), weight.to(dtype)) for dtype in (torch.bfloat16, torch.float32)}
    best = dict.fromkeys(operands, math.inf)
    for _ in range(15):
        for dtype, pair in operands.items():
            started = time.perf_counter()
            torch.conv2d(*pair, padding=1).sum().item()  # item waits for a GPU
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.bfloat16] < best[torch.float32]


Network = Callable[..., Any]


@dataclass(frozen=True)
class Engine:
    """How a run's networks are run.

    Attributes:
        device: of parameters and batches.
        bf16: whether networks run under bf16 autocast.
        compiled: whether ``compile`` compiles.
        sharded: whether weights are sharded over ranks.
    """

    device: torch.device
    bf16: bool
    compiled: bool
    sharded: bool = False

    @classmethod
    def of(cls, config: TrainingConfig) -> "Engine":
        """Replace each ``auto`` of the config by a value, which depends on the config and the machine alone.

        Raises:
            UserError: for a device that is not there, and for Muon with sharded weights.
        """
        device = choose_device(config.device)
        if device.type == "cuda" and config.device in ("auto", "cuda") and world_size() > 1:
            device = choose_device(f"cuda:{local_rank()}")
            torch.cuda.set_device(device)
        measured = config.precision == "auto" or (config.precision == "bf16" and device.type == "cpu")
        faster = measured and bf16_is_faster(device)
        bf16 = config.precision == "bf16" or faster
        if bf16 and measured and not faster:
            _LOG.warning("training.precision: bf16 is slower than fp32 on this processor")
        bf16 = not max_over_ranks(int(not bf16))  # only if bf16 is faster on all ranks: all must do the same
        long_enough = config.steps >= _WORTH_COMPILING and device.type != "mps"
        compiled = long_enough if config.compile == "auto" else config.compile
        sharded = config.shard and world_size() > 1
        if sharded and config.optimizer == "muon":
            raise UserError("training.shard: the optimizer muon needs whole weights: set training.optimizer adamw")
        if sharded and compiled:
            _LOG.warning("training.shard: networks that are sharded over ranks run uncompiled")
        return cls(device, bf16, compiled and not sharded, sharded)

    def resolve(self, config: TrainingConfig) -> TrainingConfig:
        """Return the config with the chosen values, so that a resumed run has the same ones."""
        compiled = config.compile if self.sharded else self.compiled  # a resumed run may have whole weights
        return dataclasses.replace(config, precision="bf16" if self.bf16 else "fp32", compile=compiled)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that networks run in."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def compile(self, network: nn.Module, *example: Tensor) -> Network:
        """Return the network compiled for training. If compilation fails, log one line and return the network.

        Args:
            network: the network, in training mode.
            example: inputs, float or codes, for a forward and a backward pass that try the compiled network.
        """
        if not self.compiled:
            return network
        try:
            compiled = torch.compile(network, dynamic=False)
            with self.autocast():
                total = compiled(*example).float().sum()
                if total.requires_grad:  # not so if the whole network is frozen
                    total.backward()
        except Exception as error:  # whatever fails in the compiler, the uncompiled network works
            reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
            _LOG.warning("torch.compile does not work here, so the networks run uncompiled: %s", reason)
            return network
        finally:
            network.zero_grad(set_to_none=True)
        return compiled
