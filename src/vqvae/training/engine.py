"""Where and how the arithmetic runs: device, precision, compilation."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqvae.config import TrainingConfig
from vqvae.hub import choose_device

_LOG = logging.getLogger(__name__)
_WORTH_COMPILING = 1000  # steps: compiling costs about a minute, and gains a third


def has_fast_bf16(device: torch.device) -> bool:
    """Say whether the device multiplies bf16 in hardware; elsewhere it is emulated, slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        cpu: Any = torch.cpu
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(cpu, check)() for check in checks if hasattr(cpu, check))
    return False


@dataclass(frozen=True)
class Engine:
    """How a run's networks are run.

    Attributes:
        device: of parameters and batches.
        bf16: whether networks run under bf16 autocast.
        compiled: whether ``compile`` compiles.
    """

    device: torch.device
    bf16: bool
    compiled: bool

    @classmethod
    def of(cls, config: TrainingConfig) -> "Engine":
        """Decide what the config leaves to ``auto``, from the config and the machine alone."""
        device = choose_device(config.device)
        bf16 = config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16(device))
        long_enough = config.steps >= _WORTH_COMPILING and device.type != "mps"
        return cls(device, bf16, config.compile == "on" or (config.compile == "auto" and long_enough))

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that networks run in."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def compile(self, network: nn.Module, *example: Tensor) -> Callable[..., Any]:
        """Return the network compiled for training, or itself, with one line that says why.

        Args:
            network: in training mode.
            example: float inputs that forward and backward are tried on, or codes.
        """
        if not self.compiled:
            return network
        try:
            compiled = torch.compile(network, dynamic=False)
            with self.autocast():
                compiled(*example).float().sum().backward()
        except Exception as error:  # whatever fails in a compiler, the uncompiled network is right
            reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
            _LOG.warning("torch.compile does not work here, so the networks run uncompiled: %s", reason)
            return network
        finally:
            network.zero_grad(set_to_none=True)
        return compiled
