"""Batches of like length, in random order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from xtuner.dataset.samplers import LengthGroupedSampler


class ShuffledLengthGroupedSampler(LengthGroupedSampler):
    """XTuner's `LengthGroupedSampler` with its batches shuffled, and text not kept apart from pictures.

    XTuner's own order goes from long to short again and again, and a small text set comes last as a whole,
    when the learning rate is nearly zero. The batch with the longest sample still comes first, so that a lack
    of memory shows at once.
    """

    def __iter__(self) -> Iterator[int]:
        """This rank's indices of one epoch; the last batch is filled up with samples of the first ones."""
        batch = self.total_batch_size // self.world_size
        order = grouped_order(self.length, batch, self.world_size, self.seed + self.epoch)
        return iter(order[self.rank :: self.world_size])


def grouped_order(lengths: Sequence[int], batch: int, processes: int, seed: int) -> list[int]:
    """The order that processes share, each with its `batch` samples of a step."""
    generator = torch.Generator().manual_seed(seed)
    step = batch * processes
    total = math.ceil(len(lengths) / processes / batch) * step
    window = max(1, min(len(lengths) // (4 * step), 50)) * step  # as XTuner's own
    plain = torch.tensor(lengths).abs()
    order = torch.randperm(len(plain), generator=generator)
    order = order.repeat(total // len(order) + 1)[:total]
    batches = torch.cat([part[plain[part].argsort()] for part in order.split(window)]).view(-1, step)
    batches = batches[torch.randperm(len(batches), generator=generator)]
    longest = int(plain[batches].amax(dim=1).argmax())
    batches[[0, longest]] = batches[[longest, 0]]
    order_of_all: list[int] = batches.flatten().tolist()
    return order_of_all
