"""The training loop: each supervised token of an update counts alike, whichever batch or process holds it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from mmengine.dataset import DefaultSampler
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

from llava_tuning.training.packing import TokenBudgetBatchSampler
from llava_tuning.training.position import Layout, Position
from llava_tuning.training.sampler import ShuffledLengthGroupedSampler

END = object()  # after the last item


def read_ahead(items: Iterator[Any], count: int = 1) -> Iterator[Any]:
    """`items` in their order; a thread asks for the next `count` while one is used.

    A loader's workers have their batches ready, but handing one over takes Python's lock, which a step that
    starts thousands of kernels rarely lets go; and after it, the GPU waits.
    """
    with ThreadPoolExecutor(1, "read ahead") as thread:
        asked: deque[Future[Any]] = deque(thread.submit(next, items, END) for _ in range(count))
        while (item := asked.popleft().result()) is not END:
            asked.append(thread.submit(next, items, END))
            yield item


class TokenMeanLoop(BaseLoop):
    """Steps in which an update's loss is the mean over all supervised tokens of its batches and processes.

    DDP averages gradients over processes, and mmengine over accumulated batches, each counting alike whatever
    it holds. So a batch's loss is weighted here by its share of the update's tokens, for which an update's
    batches are read before its first forward pass. The loss in the log is the mean over a step's tokens.

    A resumed run goes on where it was in the data, also with another number of processes or another batch;
    under DeepSpeed, whose checkpoints give no hook their content, after as many batches as there were steps.

    Args:
        max_iters: steps of the run.
        ahead: how many steps the schedule of the learning rate is ahead of the steps made.
    """

    max_epochs = 1  # mmengine takes a run by steps for one long epoch

    def __init__(self, runner: Any, dataloader: Any, max_iters: int, ahead: int = 0) -> None:
        super().__init__(runner, dataloader)
        self.max_iters = max_iters
        self.stop_training = False
        self._iter = self._epoch = 0
        self.ahead = ahead
        self._start: Position | None = None
        self._started = 0  # the step that `_start` belongs to

    @property
    def iter(self) -> int:
        """Steps made."""
        return self._iter

    @property
    def epoch(self) -> int:
        """Always 0, see `max_epochs`."""
        return self._epoch

    def position(self) -> dict[str, Any] | None:
        """Where the run is in its data, for a checkpoint; None under a sampler of the user's own."""
        if self._start is None:
            return None
        return replace(self._start, batches=self._start.batches + self._iter - self._started).state()

    def resume(self, position: dict[str, Any] | None) -> None:
        """Go on at a checkpoint's position; without one, after as many batches as there were steps."""
        self._start = None if position is None else Position.of(position)

    def run(self) -> Any:
        """Train to the last step; returns the model."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self._batches = self._from_here()
        self.runner.model.train()  # parts that were loaded are in the other mode, below a root that is not
        while self._iter < self.max_iters and not self.stop_training:
            self._run_update()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _from_here(self) -> Iterator[Any]:
        """The batches of this and all further epochs."""
        loader = self.dataloader
        sampler = getattr(loader.batch_sampler, "sampler", None)
        self._started = self._iter
        if not isinstance(sampler, (DefaultSampler, ShuffledLengthGroupedSampler)):
            return self._epochs(0, self._iter)
        layout = Layout.of(self.runner.cfg, get_world_size())
        lengths = loader.dataset.modality_length
        start = self._start or Position(layout, sampler.seed, batches=self._iter, records=len(lengths))
        if self._iter == 0:
            self._start = start
            return self._epochs(0)
        if start.layout != layout:
            start = start.moved(lengths, layout)
        sampler.seed = start.seed  # the order goes on as it began
        if isinstance(loader.batch_sampler, TokenBudgetBatchSampler):
            loader.batch_sampler.seed = start.seed
        self._start = replace(start, ahead=self.ahead)
        epoch, batches, done = start.in_epoch(lengths, get_rank())
        rest = DataLoader(
            loader.dataset,
            batch_sampler=batches[done:],
            num_workers=loader.num_workers,
            prefetch_factor=loader.prefetch_factor,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            worker_init_fn=loader.worker_init_fn,
        )
        return chain(self._read(rest), self._epochs(epoch + 1))

    def _read(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """An epoch's batches. Its workers start here, not in a thread beside a step."""
        return read_ahead(iter(loader), self.runner.cfg.get("accumulative_counts", 1))

    def _epochs(self, epoch: int, skipped: int = 0) -> Iterator[Any]:
        while True:
            batches: Any = self.dataloader.batch_sampler
            if hasattr(batches.sampler, "set_epoch"):
                batches.sampler.set_epoch(epoch)
            for batch in self._read(self.dataloader):
                if skipped > 0:
                    skipped -= 1
                else:
                    yield batch
            epoch += 1

    def _run_update(self) -> None:
        """The steps whose gradients are accumulated for one update of the weights."""
        accumulated = self.runner.cfg.get("accumulative_counts", 1)
        first = self._iter - self._iter % accumulated  # below `_iter` where a run resumes inside an update
        end = min(first + accumulated, self.max_iters)
        batches = [next(self._batches) for _ in range(self._iter, end)]
        processes = get_world_size()
        if processes == 1 and len(batches) == 1:
            self._run_step(batches[0], None)
            return
        counts = [len(batch["data"]["targets"]) for batch in batches]
        own = torch.tensor(counts, dtype=torch.float32).to(get_device(), non_blocking=True)
        every = own.clone()  # (batches) supervised tokens of all processes
        all_reduce(every)
        divisor = end - first  # mmengine divides each loss by it
        weights = own * (processes * divisor / every.sum())
        # Undoes the weights in the mean over processes that the log shows.
        shown = every.sum() / (divisor * every)
        for batch, weight, factor in zip(batches, weights, shown, strict=True):
            batch["data"]["loss_weight"] = weight
            self._run_step(batch, factor)

    def _run_step(self, batch: dict[str, Any], shown: torch.Tensor | None) -> None:
        model = self.runner.model
        # A hook may have left it otherwise. With 3,000 modules `train` takes 14 ms, so not for every step.
        if not (model.training and getattr(model, "module", model).training):
            model.train()
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batch)
        outputs = model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        if shown is not None:
            loss = outputs["loss"].detach() * shown
            all_reduce(loss, op="mean")
            outputs["loss"] = loss
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batch, outputs=outputs)
        self._iter += 1
