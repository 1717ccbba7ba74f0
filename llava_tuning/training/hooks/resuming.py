"""What checkpoints hold, so that a resumed run goes on as if it had not stopped."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from llava_tuning.errors import UserError
from llava_tuning.training.checkpoint import POSITION


class PlainCheckpointHook(Hook):
    """Keeps mmengine's log history out of checkpoints.

    The history pickles methods, which `weights_only=True` refuses for good reason; only smoothed log values
    are lost.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["message_hub"] = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}


class RandomStateHook(Hook):
    """Dropout goes on where it stopped: the random state is saved, and restored before a resumed run's step.

    One process writes the checkpoint, so its state alone is kept; further processes draw anew.
    """

    def __init__(self) -> None:
        self.saved: dict[str, torch.Tensor] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        checkpoint["random_state"] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            checkpoint["random_state"]["cuda"] = torch.cuda.get_rng_state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        if is_main_process() and runner._resume:
            self.saved = checkpoint.get("random_state", {})

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        # Not earlier: the data loader draws from the same generator while it skips what was trained on.
        if not self.saved:
            return
        torch.set_rng_state(self.saved["cpu"].cpu())
        if "cuda" in self.saved and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.saved["cuda"].cpu())
        self.saved = {}


class PositionHook(Hook):
    """Keeps in checkpoints where the run is in its data; a resumed run's rate follows its own schedule.

    mmengine restores the schedule that the checkpoint was written under, which ends where that run would have
    ended.
    """

    def __init__(self) -> None:
        self.resumed = False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        position = runner.train_loop.position()
        if position is not None:
            # `iter` is raised after the hooks that save.
            checkpoint[POSITION] = {**position, "batches": position["batches"] + 1}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        _check_shapes(runner.model, checkpoint["state_dict"])  # mmengine leaves out what does not fit
        if not runner._resume:  # never called under DeepSpeed
            return
        runner.train_loop.resume(checkpoint.get(POSITION))
        checkpoint.pop("param_schedulers", None)
        first = runner.optim_wrapper.optimizer.param_groups  # of this run's step 1
        for group, new in zip(checkpoint["optimizer"]["param_groups"], first, strict=True):
            group.update(lr=new["lr"], initial_lr=new["initial_lr"])
        self.resumed = True

    def before_train(self, runner: Runner) -> None:
        if not self.resumed:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # schedulers want to see a step of the optimizer first
            for _ in range(runner.iter + runner.train_loop.ahead):
                for scheduler in runner.param_schedulers:
                    scheduler.step()


def _check_shapes(model: Any, state: dict[str, torch.Tensor]) -> None:
    """A checkpoint has every trained weight in its shape, and no other."""
    own = {name: value.shape for name, value in getattr(model, "module", model).state_dict().items()}
    its = {name: value.shape for name, value in state.items()}
    for name in sorted(own.keys() | its.keys()):
        if own.get(name) != its.get(name):
            shapes = [
                tuple(shape) if shape is not None else "not there" for shape in (its.get(name), own.get(name))
            ]
            raise UserError(
                f"the checkpoint does not fit this run: {name} is {shapes[0]} in it, and {shapes[1]} here; "
                "name one of a run on the same base models and with the same adapters"
            )
