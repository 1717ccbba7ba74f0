"""Numbers that a GPU computes, read a step after the one that they belong to.

To read a number of the step that was queued last is to wait until the GPU has nothing left to do; it then
waits in turn, for the next step to be queued, at first kernel by kernel.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch


class Late:
    """A number a step, with a note of what it belongs to.

    Args:
        steps: how much later they are read; None for one step where they are on a GPU, and at once elsewhere.
    """

    def __init__(self, steps: int | None = None) -> None:
        self.steps = steps
        self._waiting: deque[tuple[Any, torch.Tensor, torch.cuda.Event | None]] = deque()

    def put(self, number: torch.Tensor, note: Any = None) -> list[tuple[Any, float]]:
        """Take the newest step's number, of one element; returns those due, oldest first."""
        self._waiting.append((note, *_to_host(number.detach())))
        return self._read(len(self._waiting) - (int(number.is_cuda) if self.steps is None else self.steps))

    def rest(self) -> list[tuple[Any, float]]:
        """All that was not yet returned, oldest first; waits for the GPU."""
        return self._read(len(self._waiting))

    def _read(self, count: int) -> list[tuple[Any, float]]:
        due = []
        for _ in range(count):
            note, number, copied = self._waiting.popleft()
            if copied is not None:
                copied.synchronize()
            due.append((note, float(number)))
        return due


def _to_host(number: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """The number on its way to this machine's memory, and the event after which it is there."""
    if not number.is_cuda:
        return number.clone(), None
    host = torch.empty(number.shape, dtype=number.dtype, pin_memory=True).copy_(number, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(number.device))
    return host, copied
