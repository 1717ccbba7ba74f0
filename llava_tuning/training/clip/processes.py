"""A CLIP's step shared by several processes: each sees its part of a batch, all of them lose as one would."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among those that torchrun started; one by itself where it started none."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @classmethod
    def joined(cls) -> Processes:
        """As torchrun's variables say; the processes meet here."""
        cuda = torch.cuda.is_available()
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device="cuda" if cuda else "cpu")
        device = f"cuda:{os.environ['LOCAL_RANK']}" if cuda else "cpu"
        if cuda:
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if cuda else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Whether this process shows progress and writes."""
        return self.rank == 0

    def parts(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """What each process takes of a batch whose length `count` divides."""
        return [batch[rank :: self.count] for rank in range(self.count)]

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What this process does of what all of them do once."""
        return items[self.rank :: self.count]

    def together(self, mine: torch.Tensor, count: int) -> torch.Tensor:
        """The rows that the processes made of their shares of `count` items, in the items' order.

        On the processes' device where there are several.
        """
        if self.count == 1:
            return mine
        each = -(-count // self.count)
        padded = mine.new_zeros(each, *mine.shape[1:], device=self.device)
        padded[: len(mine)] = mine.to(self.device)
        found = [torch.empty_like(padded) for _ in range(self.count)]
        distributed.all_gather(found, padded)
        return torch.stack(found, dim=1).flatten(0, 1)[:count]

    def gathered(self, features: torch.Tensor) -> torch.Tensor:
        """Rows of all processes, those of this one with a gradient: `count` times what its loss gives them.

        Every process has the same loss over all rows, so the mean of the processes' gradients is then the
        gradient that one process would have, of what they share (the temperature) too.
        """
        if self.count == 1:
            return features
        rows = [torch.empty_like(features) for _ in range(self.count)]
        distributed.all_gather(rows, features.detach().contiguous())
        rows[self.rank] = features + (self.count - 1) * (features - features.detach())
        return torch.cat(rows)

    def mean_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give every process the mean of the processes' gradients."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, flat.split(sizes), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def leave(self) -> None:
        """Wait until all are here, then end the group."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()
