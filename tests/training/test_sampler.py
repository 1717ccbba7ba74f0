"""Batches of like length in random order: nothing lost, text not last, one order for all processes."""

from __future__ import annotations

import pytest
from torch.utils.data import Dataset

from llava_tuning.training.sampler import ShuffledLengthGroupedSampler


class Lengths(Dataset):
    """80 samples with a picture, 20 of text only, of many lengths."""

    lengths = [50 + 71 * i % 311 for i in range(80)] + [-(20 + 31 * i % 97) for i in range(20)]

    def __len__(self) -> int:
        return len(self.lengths)


def order(batch: int, seed: int = 0) -> list[int]:
    return list(ShuffledLengthGroupedSampler(Lengths(), batch, length_property="lengths", seed=seed))


def test_every_sample_comes_once_and_the_longest_in_the_first_batch() -> None:
    for seed in range(5):
        indices = order(4, seed)
        assert sorted(indices) == list(range(100))
        longest = max(range(100), key=lambda i: abs(Lengths.lengths[i]))
        assert longest in indices[:4]


def test_text_is_spread_over_the_epoch() -> None:
    """XTuner's own order ends with all of a small text set."""
    last = [sum(i >= 80 for i in order(4, seed)[-24:]) for seed in range(8)]
    assert max(last) < 20
    assert len({tuple(order(4, seed)) for seed in range(8)}) == 8


def test_a_batch_holds_samples_of_like_length() -> None:
    def padding(indices: list[int]) -> int:
        rows = [[abs(Lengths.lengths[i]) for i in indices[k : k + 4]] for k in range(0, 100, 4)]
        return sum(4 * max(row) - sum(row) for row in rows)

    assert padding(order(4)) < padding(list(range(100))) / 2


def test_processes_share_a_step_of_like_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    single = [{*order(4)[k : k + 4]} for k in range(0, 100, 4)]
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(
            "xtuner.dataset.samplers.length_grouped.get_dist_info", lambda rank=rank: (rank, 2)
        )
        ranks.append(order(2))
    assert len(ranks[0]) == len(ranks[1]) == 50
    together = [i for k in range(0, 50, 2) for rank in ranks for i in rank[k : k + 2]]
    assert sorted(together) == list(range(100))
    assert [{*together[k : k + 4]} for k in range(0, 100, 4)] == single


def test_an_uneven_last_batch_is_filled_up() -> None:
    indices = order(8)
    assert len(indices) == 104
    assert set(indices) == set(range(100))
