"""Batches of as many samples as fill a row of so many tokens, instead of so many samples."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

WINDOW_ROWS = 32  # rows that are filled from one window of the random order
FULL = 0.98  # a row that is this full is taken; the samples of others wait for the next window


def pack(order: Sequence[int], lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Rows of at most `max_tokens` tokens from the samples `order`, each once.

    Best fit, the longest first, within windows of the order, so that what is near in the order stays near.
    A sample longer than `max_tokens` makes a row of its own.
    """
    waiting: list[int] = []
    tokens = 0
    for index in order:
        waiting.append(index)
        tokens += lengths[index]
        if tokens >= WINDOW_ROWS * max_tokens:
            rows = _best_fit(waiting, lengths, max_tokens)
            filled = [sum(lengths[i] for i in row) for row in rows]
            taken = [fill >= FULL * max_tokens for fill in filled]
            if not any(taken):  # lengths that never fill a row
                taken = [True] * len(rows)
            yield from (row for row, take in zip(rows, taken, strict=True) if take)
            waiting = [i for row, take in zip(rows, taken, strict=True) if not take for i in row]
            tokens = sum(lengths[i] for i in waiting)
    yield from _best_fit(waiting, lengths, max_tokens)


def _best_fit(samples: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    room: list[tuple[int, int]] = []  # (tokens left, row), sorted
    rows: list[list[int]] = []
    for sample in sorted(samples, key=lambda i: -lengths[i]):
        place = bisect.bisect_left(room, (lengths[sample], -1))
        if place < len(room):
            left, row = room.pop(place)
            rows[row].append(sample)
        else:
            left, row = max_tokens, len(rows)
            rows.append([sample])
        bisect.insort(room, (left - lengths[sample], row))
    return rows


class TokenBudgetBatchSampler(Sampler[list[int]]):
    """Batches of at most `max_tokens` tokens from a sampler's order; a window's rows come in random order.

    Args:
        sampler: gives the order of this process; its `dataset` has `modality_length`.
        batch_size: not used; mmengine gives it to every batch sampler.
        max_tokens: tokens of a row.
        seed: of the rows' order; the sampler's when None.
    """

    def __init__(
        self, sampler: Sampler[int], batch_size: int, max_tokens: int, seed: int | None = None
    ) -> None:
        self.sampler = sampler
        self.max_tokens = max_tokens
        self.seed: int = getattr(sampler, "seed", 0) if seed is None else seed
        dataset = sampler.dataset  # type: ignore[attr-defined]
        self.lengths = [abs(length) for length in dataset.modality_length]
        self._packed: tuple[int, list[list[int]]] | None = None  # epoch and its rows

    def _rows(self) -> list[list[int]]:
        epoch = getattr(self.sampler, "epoch", 0)
        if self._packed is None or self._packed[0] != epoch:
            self._packed = epoch, list(pack(list(self.sampler), self.lengths, self.max_tokens))
        return self._packed[1]

    def __iter__(self) -> Iterator[list[int]]:
        """Indices of each row."""
        yield from _shuffled(self._rows(), self.seed + getattr(self.sampler, "epoch", 0))

    def __len__(self) -> int:
        """Rows of an epoch; mmengine asks in every step."""
        return len(self._rows())


def _shuffled(rows: Sequence[list[int]], seed: int) -> Iterator[list[int]]:
    """A window's rows in random order."""
    random = torch.Generator().manual_seed(seed)
    for window in torch.arange(len(rows)).split(WINDOW_ROWS):
        yield from (rows[window[i]] for i in torch.randperm(len(window), generator=random).tolist())


def rows_of_epoch(
    order: Sequence[int], lengths: Sequence[int], max_tokens: int, seed: int
) -> Iterator[list[int]]:
    """The rows that `TokenBudgetBatchSampler` makes of a sampler's order."""
    return _shuffled(list(pack(order, lengths, max_tokens)), seed)


def rows_per_process(lengths: Sequence[int], max_tokens: int, processes: int, seed: int) -> int:
    """Rows of an epoch on the process that has most of them."""
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(lengths), generator=random).tolist()
    plain = [abs(length) for length in lengths]
    parts = (order[rank::processes] for rank in range(processes))
    return max(sum(1 for _ in pack(part, plain, max_tokens)) for part in parts)
