"""A place in the data, for the same processes and batches or for others: nothing skipped, nothing twice."""

from __future__ import annotations

import random
from typing import Any

import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import BatchSampler, Dataset

from llava_tuning.training.packing import TokenBudgetBatchSampler
from llava_tuning.training.position import Layout, Position, epoch_batches
from llava_tuning.training.sampler import ShuffledLengthGroupedSampler

RECORDS = 61
LAYOUTS = {
    "plain": Layout(2, 3, 1, None, grouped=False),
    "grouped": Layout(2, 3, 2, None, grouped=True),
    "packed": Layout(2, 1, 1, 400, grouped=False),
}


class Lengths(Dataset):
    """Samples of many lengths, some of text only."""

    def __init__(self) -> None:
        draw = random.Random(0)
        self.modality_length = [draw.choice([1, 1, -1]) * draw.randint(20, 300) for _ in range(RECORDS)]

    def __len__(self) -> int:
        return RECORDS


LENGTHS = Lengths().modality_length


def samplers_batches(
    layout: Layout, epoch: int, rank: int, monkeypatch: pytest.MonkeyPatch
) -> list[list[int]]:
    """The batches that training's own samplers give to a process."""
    for module in ("mmengine.dataset.sampler", "xtuner.dataset.samplers.length_grouped"):
        monkeypatch.setattr(f"{module}.get_dist_info", lambda: (rank, layout.processes))
    sampler: Any = DefaultSampler(Lengths(), seed=5)
    if layout.grouped:
        size = layout.batch_size * layout.accumulative_counts
        sampler = ShuffledLengthGroupedSampler(Lengths(), size, length_property="modality_length", seed=5)
    sampler.set_epoch(epoch)
    if layout.batch_tokens is not None:
        return list(TokenBudgetBatchSampler(sampler, 1, layout.batch_tokens))
    return list(BatchSampler(sampler, layout.batch_size, drop_last=False))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_batches_are_those_of_the_samplers(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    for epoch in range(2):
        for rank in range(2):
            expected = samplers_batches(layout, epoch, rank, monkeypatch)
            assert epoch_batches(LENGTHS, layout, 5, epoch, (), rank) == expected


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("after", [Layout(1, 3, 1, None, False), Layout(4, 2, 1, None, True)])
def test_an_epoch_goes_on_with_what_others_left(
    layout: Layout, after: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four steps are made on two processes, two by `after`, the rest by three processes."""
    trained = [i for rank in range(2) for b in samplers_batches(layout, 0, rank, monkeypatch)[:4] for i in b]
    second = Position(layout, 5, batches=4).moved(LENGTHS, after)
    for rank in range(after.processes):
        epoch, batches, done = second.in_epoch(LENGTHS, rank)
        assert (epoch, done) == (0, 0)
        trained += [i for batch in batches[:2] for i in batch]
    state = Position(after, 5, second.epoch, 2, second.left_out).state()
    third = Position.of(state).moved(LENGTHS, Layout(3, 2, 1, None, False))
    rest = [third.in_epoch(LENGTHS, rank)[1] for rank in range(3)]
    assert third.steps_to_the_epochs_end(LENGTHS) == max(map(len, rest))
    trained += [i for batches in rest for batch in batches for i in batch]
    assert set(trained) == set(range(RECORDS))
    assert len(trained) <= RECORDS + 2  # the last step is filled up for three processes


def test_the_next_epoch_is_whole_and_an_ended_one_is_left() -> None:
    layout = LAYOUTS["plain"]
    steps = len(epoch_batches(LENGTHS, layout, 5, 0, (), 0))
    one = Layout(1, 3, 1, None, False)
    ended = Position(layout, 5, batches=2 * steps).moved(LENGTHS, one)
    assert (ended.epoch, ended.left_out) == (2, ())
    begun = Position(layout, 5, batches=2 * steps + 1).moved(LENGTHS, one)
    assert begun.epoch == 2 and len(begun.left_out) == 6
    last = Position(one, 5, begun.epoch, begun.steps_to_the_epochs_end(LENGTHS), begun.left_out)
    epoch, batches, done = last.in_epoch(LENGTHS, 0)
    assert (epoch, done) == (3, 0)
    assert sorted(i for batch in batches for i in batch) == list(range(RECORDS))
