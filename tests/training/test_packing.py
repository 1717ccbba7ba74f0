"""Rows filled to a number of tokens: nothing lost, nothing too long, little left empty."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler
from torch.utils.data import Dataset

from llava_tuning.training import packing
from llava_tuning.training.packing import TokenBudgetBatchSampler, pack, rows_per_process


class Lengths(Dataset):
    """2,000 samples of LLaVA-like lengths, 6 % of them text only."""

    def __init__(self) -> None:
        draw = random.Random(0)
        words = [min(1400, int(180 * 2.718 ** draw.gauss(0, 0.7))) for _ in range(2000)]
        self.modality_length = [-n if draw.random() < 0.06 else 576 + n for n in words]

    def __len__(self) -> int:
        return len(self.modality_length)


@given(st.lists(st.integers(1, 120), max_size=300), st.integers(50, 400))
def test_every_sample_is_in_one_row_and_no_row_is_too_long(lengths: list[int], budget: int) -> None:
    rows = list(pack(range(len(lengths)), lengths, budget))
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    for row in rows:
        assert row and (len(row) == 1 or sum(lengths[i] for i in row) <= budget)


def test_rows_are_filled_to_over_95_percent() -> None:
    data = Lengths()
    lengths = [abs(n) for n in data.modality_length]
    for budget in (8192, 16384):
        rows = list(pack(range(len(lengths)), lengths, budget))
        assert sum(lengths) / (len(rows) * budget) > 0.95


def test_the_rows_of_an_epoch_are_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine asks for their number in every step."""
    batches = TokenBudgetBatchSampler(DefaultSampler(Lengths(), seed=0), batch_size=1, max_tokens=8192)
    rows = len(list(batches))

    def forbidden(*_: object) -> None:
        raise AssertionError("packed again")

    monkeypatch.setattr(packing, "pack", forbidden)
    assert len(batches) == rows == len(list(batches))


def test_processes_share_the_samples_and_each_epoch_has_its_order() -> None:
    data = Lengths()

    def epoch(rank: int, number: int) -> list[list[int]]:
        sampler = DefaultSampler(data, shuffle=True, seed=3)
        sampler.rank, sampler.world_size = rank, 2
        sampler.num_samples = 1000
        batches = TokenBudgetBatchSampler(sampler, batch_size=1, max_tokens=8192)
        sampler.set_epoch(number)
        rows = list(batches)
        assert len(batches) == len(rows)
        return rows

    both = [i for rank in (0, 1) for row in epoch(rank, 0) for i in row]
    assert sorted(both) == list(range(2000))
    assert epoch(0, 0) == epoch(0, 0) != epoch(0, 1)


@pytest.mark.parametrize("processes", [1, 3])
def test_an_epoch_is_as_many_steps_as_the_fullest_process_has_rows(processes: int) -> None:
    lengths = Lengths().modality_length
    rows = rows_per_process(lengths, 8192, processes, seed=0)
    least = sum(map(abs, lengths)) / 8192 / processes
    assert least <= rows < 1.1 * least + 1
