"""Where a run is in its data, so that it can go on there with other processes or batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import Config

from llava_tuning.training.packing import rows_of_epoch
from llava_tuning.training.sampler import grouped_order


@dataclass(frozen=True)
class Layout:
    """What decides which samples make a step."""

    processes: int
    batch_size: int
    accumulative_counts: int
    batch_tokens: int | None
    grouped: bool  # by length

    @classmethod
    def of(cls, config: Config, processes: int) -> Layout:
        grouped = "length_property" in config.train_dataloader.sampler
        return cls(
            processes, config.batch_size, config.accumulative_counts, config.get("batch_tokens"), grouped
        )

    def describe(self) -> str:
        size = f"{self.batch_size} records" if self.batch_tokens is None else f"{self.batch_tokens:,} tokens"
        return f"{self.processes} process{'es' if self.processes > 1 else ''} × {size}"


@dataclass(frozen=True)
class Position:
    """A place in the data: `batches` of each process since `epoch` began without the samples `left_out`.

    `ahead` is how many steps the schedule is ahead of the steps made, since the layout changed; `records` the
    size of the data.
    """

    layout: Layout
    seed: int
    epoch: int = 0
    batches: int = 0
    left_out: tuple[int, ...] = ()
    ahead: int = 0
    records: int = 0

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        return {**asdict(self), "left_out": torch.tensor(self.left_out, dtype=torch.int32)}

    @classmethod
    def of(cls, state: dict[str, Any]) -> Position:
        """From what `state` gave."""
        left_out = tuple(state["left_out"].tolist())
        return cls(**{**state, "left_out": left_out, "layout": Layout(**state["layout"])})

    def in_epoch(self, lengths: Sequence[int], rank: int) -> tuple[int, list[list[int]], int]:
        """The epoch that a process is in, its batches, and how many of them it has trained on."""
        epoch, done, left_out = self.epoch, self.batches, self.left_out
        while True:
            batches = epoch_batches(lengths, self.layout, self.seed, epoch, left_out, rank)
            if done < len(batches) or not batches:
                return epoch, batches, done
            epoch, done, left_out = epoch + 1, done - len(batches), ()

    def moved(self, lengths: Sequence[int], layout: Layout) -> Position:
        """The same place for another layout.

        Processes with packed rows end their epochs a few rows apart: what one has trained on of the next
        epoch comes again there.
        """
        places = [self.in_epoch(lengths, rank) for rank in range(self.layout.processes)]
        epoch = min(place[0] for place in places)
        trained = set(self.left_out) if epoch == self.epoch else set()
        left_out = self.left_out if epoch == self.epoch else ()
        for rank, (reached, batches, done) in enumerate(places):
            if reached > epoch:
                batches = epoch_batches(lengths, self.layout, self.seed, epoch, left_out, rank)
                done = len(batches)
            trained.update(sample for batch in batches[:done] for sample in batch)
        if len(trained) == len(lengths):
            epoch, trained = epoch + 1, set()
        return Position(layout, self.seed, epoch, 0, tuple(sorted(trained)), self.ahead, self.records)

    def steps_to_the_epochs_end(self, lengths: Sequence[int]) -> int:
        """Steps of the process that has most of them."""
        return max(
            len(epoch_batches(lengths, self.layout, self.seed, self.epoch, self.left_out, rank))
            for rank in range(self.layout.processes)
        )


def epoch_batches(
    lengths: Sequence[int], layout: Layout, seed: int, epoch: int, left_out: Sequence[int], rank: int
) -> list[list[int]]:
    """A process's batches of an epoch, as the samplers give them; of what is not left out."""
    processes = layout.processes
    if layout.grouped:
        size = layout.batch_size * layout.accumulative_counts
        order = grouped_order(lengths, size, processes, seed + epoch)
    else:
        random = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(len(lengths), generator=random).tolist()
    if left_out:
        without = set(left_out)
        order = list(dict.fromkeys(sample for sample in order if sample not in without))
    missing = -len(order) % processes
    order += (order * missing)[:missing]
    own = order[rank::processes]
    if layout.batch_tokens is not None:
        plain = [abs(length) for length in lengths]
        return list(rows_of_epoch(own, plain, layout.batch_tokens, seed + epoch))
    return [own[at : at + layout.batch_size] for at in range(0, len(own), layout.batch_size)]
