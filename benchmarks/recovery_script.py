"""The DistributedDataParallel program that `recovery` compares with: recovery_script.py PLACE LOST_AT."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from recovery import BATCH, Slow, data  # isort: skip


def main(place: str, lost_at: int) -> None:
    """Trains an epoch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    x, y = map(torch.from_numpy, data(lost_at))
    bare = Slow(place, lost_at)
    model, loss_of = DistributedDataParallel(bare, broadcast_buffers=False), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(bare.parameters(), 0.1)
    for chosen in torch.arange(len(y))[rank::world].split(BATCH // world):
        optimizer.zero_grad()
        loss_of(model(x[chosen]), y[chosen]).backward()
        optimizer.step()
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
