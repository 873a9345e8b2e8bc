"""The usual DistributedDataParallel program over a Parquet file, as pyspark's TorchDistributor or torchrun starts it.

    ddp_script.py PARQUET EPOCHS BATCH [STEPS]      (the last one: stop behind so many steps)

It is a strong reference: rows are gathered by index from tensors in memory, as DistributedSampler would choose them; a
`DataLoader` that collates single rows would be many times slower.
"""

from __future__ import annotations

import sys

import pandas as pd
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models import NCF, adam  # isort: skip


def main(path: str, epochs: int, batch_size: int, most_steps: int | None = None) -> None:
    """Trains NCF on the columns user, item, label."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    frame = pd.read_parquet(path, columns=["user", "item", "label"])
    user, item, label = (torch.from_numpy(frame[name].to_numpy()) for name in frame.columns)
    torch.manual_seed(0)
    bare = NCF()
    model, optimizer, loss_of = DistributedDataParallel(bare), adam(bare), nn.CrossEntropyLoss()
    steps = 0
    for epoch in range(epochs):
        order = torch.randperm(len(label), generator=torch.Generator().manual_seed(epoch))
        for chosen in order[rank::world].split(batch_size // world):
            optimizer.zero_grad()
            loss = loss_of(model(user[chosen], item[chosen]), label[chosen])
            loss.backward()
            optimizer.step()
            loss.item()
            steps += 1
            if steps == most_steps:
                break
        if steps == most_steps:
            break
    dist.barrier()  # gloo may crash where one process leaves while the other still sends
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
