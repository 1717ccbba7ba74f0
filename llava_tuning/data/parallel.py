"""Drawing and composing pictures on all cores."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

FEW = 500  # items that are done before other processes have started
_CHUNK = 50

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_all_cores(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """`work(item)` for each item, in their order; few items, or one core's, by this process alone.

    The other processes import the main module anew: a script that comes here does so below
    `if __name__ == "__main__":`.

    Args:
        work: can be pickled; each process receives it once.

    Raises:
        what `work` raises; what other processes have begun is finished first.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(items) <= FEW or cores == 1:
        yield from map(work, items)
        return
    # Not by fork: a copy of a process whose other threads hold locks may wait for them for ever.
    context = get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_receive, initargs=(work,)) as pool:
        try:
            yield from pool.map(_perform, items, chunksize=_CHUNK)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_received: Callable[[Any], Any]


def _receive(work: Callable[[Any], Any]) -> None:
    global _received
    _received = work
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # each process has a core
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends the others


def _perform(item: Any) -> Any:
    return _received(item)
