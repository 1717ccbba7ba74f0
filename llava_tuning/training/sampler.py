"""Batches of like length, in random order."""

from __future__ import annotations

from collections.abc import Iterator

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
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        lengths = torch.tensor(self.length).abs()
        order = torch.randperm(len(lengths), generator=generator)
        order = order.repeat(self.total_size // len(order) + 1)[: self.total_size]
        windows = [window[lengths[window].argsort()] for window in order.split(self.group_batch_size)]
        batches = torch.cat(windows).view(-1, self.total_batch_size)
        batches = batches[torch.randperm(len(batches), generator=generator)]
        longest = int(lengths[batches].amax(dim=1).argmax())
        batches[[0, longest]] = batches[[longest, 0]]
        return iter(batches.flatten()[self.rank :: self.world_size].tolist())
