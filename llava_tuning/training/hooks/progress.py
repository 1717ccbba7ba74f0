"""A progress bar on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from llava_tuning.training.quiet import set_console_level


class ProgressHook(Hook):
    """A bar with loss and time left on a terminal; elsewhere mmengine's log lines say the same."""

    def __init__(self) -> None:
        self.progress: Any = None

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        if not sys.stdout.isatty():
            set_console_level(runner.logger, logging.INFO)
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        set_console_level(runner.logger, logging.WARNING)
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(),
        )
        self.progress.start()
        self.task = self.progress.add_task("train", total=runner.max_iters, completed=runner.iter, loss="–")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if self.progress is not None:
            self.progress.update(self.task, completed=runner.iter + 1, loss=f"{outputs['loss'].item():.3f}")

    def after_train(self, runner: Runner) -> None:
        if self.progress is not None:
            self.progress.stop()
