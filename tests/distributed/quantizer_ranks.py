"""Run every quantizer on the shards of the same batches in 1, 2 and 4 processes; write what each rank holds.

python -m tests.distributed.quantizer_ranks FOLDER: FOLDER/WORLD-RANK.safetensors, with names KIND/STEP/WHAT, where
WHAT begins with "rows." for a rank's own rows and with "shares." for its share of a sum.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.distributed.forked import fork_ranks
from tests.quantizers.kinds import kinds, small
from torch import Tensor

from vqvae import noise
from vqvae.data import rows_at_step
from vqvae.distributed import gather_rows, process_group, rank, rank_slice, sum_over_ranks, world_size
from vqvae.quantizers import EMAQuantizer, GroupedQuantizer, ResidualQuantizer, VectorQuantizer, rotation_trick

STEPS, BATCH, GRID = 7, 12, (3, 5)
KEPT = {"revive_every": 2, "revive_below": 0.6}  # updates 2, 4 and 6 revive
SETTINGS = {**KEPT, "decay": 0.8, "temperature": 1.0, "kl_weight": 0.1, "entropy_weight": 0.1}
NAN_STEP, EMPTY_STEP = 3, 5
WORLDS = (1, 2, 4)
ROWS, ORDER_BATCH = 101, 18  # neither 2 nor 4 ranks divide the batch


def ema(dim=4, **changes):
    return EMAQuantizer(12, dim, decay=0.8, **{**KEPT, **changes})


def vq(dim=4, **changes):
    return VectorQuantizer(12, dim, **{**KEPT, **changes})


KINDS = {kind: small(type(config), **SETTINGS).build for kind, config in kinds().items()} | {
    "vq-n2-rotation": lambda: vq(codes_per_position=2, estimator=rotation_trick),
    "ema-more-codes-than-latents": lambda: EMAQuantizer(500, 4, **KEPT),
    "ema-accumulating": lambda: ema(forwards_per_update=2),
    "residual-of-two-kinds": lambda: ResidualQuantizer([ema(), vq(), ema(seed=2)], dropout=0.5, seed=4),
    "grouped-of-two-kinds": lambda: GroupedQuantizer([ema(2), vq(3, codes_per_position=2)]),
}


def latents_of(step: int, channels: int) -> Tensor:
    z = 1.5 * torch.randn(BATCH, channels, *GRID, generator=torch.Generator().manual_seed(step))
    z[1, :, :2] = z[0, :, :2]  # backgrounds repeat
    if step == NAN_STEP:
        z[0, :, 0, 0] = torch.nan
    return z[:0] if step == EMPTY_STEP else z


def mask_of(step: int) -> Tensor | None:
    if step in (0, 2, EMPTY_STEP):
        return None
    mask = torch.rand(BATCH, *GRID, generator=torch.Generator().manual_seed(-step)) < 0.6
    mask[:3] = False  # in 4 ranks: nothing left on rank 0
    return mask


def shard(rows: Tensor, step: int) -> Tensor:
    """Return this rank's rows: of unlike numbers, and of none on one rank or another at each second step."""
    if world_size() == 1 or not len(rows):
        return rows
    sizes = torch.full((world_size(),), BATCH // world_size())
    if step % 2 == 0:
        empty = (step // 2) % world_size()
        sizes[(empty + 1) % world_size()] += sizes[empty]
        sizes[empty] = 0
    return rows.split(sizes.tolist())[rank()]


def learn(quantizer, step: int) -> dict[str, Tensor]:
    z_all, mask_all = latents_of(step, quantizer.channels), mask_of(step)
    z = shard(z_all, step).clone().requires_grad_()
    out = quantizer(z, None if mask_all is None else shard(mask_all, step))
    terms = torch.stack([out.codebook_loss, out.commitment_loss, out.z_q.square().sum() / max(1, out.z_q.numel())])
    share = len(z) / max(1, len(z_all))
    used = terms[:1] if step == NAN_STEP else terms  # a NaN shows in the others, as it should
    (used.sum() * share + 0 * z.sum()).backward()
    for parameter in quantizer.parameters() if step != NAN_STEP else ():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.data -= 0.5 * sum_over_ranks(gradient)
    quantizer.zero_grad()
    if quantizer_accumulates(quantizer) and step % 2 == 0:
        revived = torch.tensor(-1)
    else:
        revived = quantizer.update().get("revived", torch.tensor(-1))
    found = {
        "rows.codes": out.codes,
        "rows.z_q": out.z_q,
        "rows.z_gradient": z.grad,
        "shares.losses": used.detach() * share,
        "revived": revived,
    }
    return found | {f"state.{name}": value.clone() for name, value in quantizer.state_dict().items()}


def quantizer_accumulates(quantizer) -> bool:
    return getattr(getattr(quantizer, "tracker", None), "forwards_per_update", 1) > 1


def work(folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group():
        held = {}
        for kind, make in KINDS.items():
            torch.manual_seed(0)
            quantizer = make()
            for step in range(STEPS):
                held |= {f"{kind}/{step}/{what}": value for what, value in learn(quantizer, step).items()}
        for step in range(3 * ROWS // ORDER_BATCH + 1):
            rows, epochs = rows_at_step(step, batch_size=ORDER_BATCH, num_rows=ROWS, seed=5)
            held[f"order/{step}/rows.of_the_data"] = rank_slice(torch.stack([rows, epochs], dim=1))
        bits = noise.random_bits(rank(), torch.arange(5 * rank()))  # 0, 5, 10, ... rows
        held["gathered"] = gather_rows(bits)
        held["summed"] = sum_over_ranks(torch.tensor([1.0, rank()]))
        whole = {name: value.contiguous().clone() for name, value in held.items()}
        save_file(whole, folder / f"{world_size()}-{rank()}.safetensors")


if __name__ == "__main__":
    for number in WORLDS:
        codes = fork_ranks(number, partial(work, Path(sys.argv[1])))
        if any(codes):
            sys.exit(f"{number} ranks ended with {codes}")
