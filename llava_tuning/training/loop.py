"""The training loop: each supervised token of an update counts alike, whichever batch or process holds it."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from xtuner.engine.runner import TrainLoop


class TokenMeanLoop(TrainLoop):
    """XTuner's loop, with an update's loss the mean over all supervised tokens of its batches and processes.

    DDP averages gradients over processes, and mmengine over accumulated batches, each counting alike whatever
    it holds. So a batch's loss is weighted here by its share of the update's tokens, for which an update's
    batches are read before its first forward pass. The loss in the log is the mean over a step's tokens.
    """

    def run(self) -> Any:
        """Train to the last step; returns the model."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        for _ in range(self._iter):  # what was trained on before a resume
            next(self.dataloader_iterator)
        while self._iter < self._max_iters and not self.stop_training:
            self._run_update()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _run_update(self) -> None:
        """The steps whose gradients are accumulated for one update of the weights."""
        accumulated = self.runner.cfg.get("accumulative_counts", 1)
        first = self._iter - self._iter % accumulated  # below `_iter` where a run resumes inside an update
        end = min(first + accumulated, self._max_iters)
        batches = [next(self.dataloader_iterator) for _ in range(self._iter, end)]
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
        self.runner.model.train()
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batch)
        outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        if shown is not None:
            loss = outputs["loss"].detach() * shown
            all_reduce(loss, op="mean")
            outputs["loss"] = loss
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batch, outputs=outputs)
        self._iter += 1
