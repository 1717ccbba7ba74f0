"""What mmengine's log shows of a step, without a wait for it."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner

from llava_tuning.training.late import Late


class LateRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's, but with a GPU its log has a step's loss after the next step."""

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self.late: dict[str, Late] = {}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        for name, value in (outputs or {}).items():
            for _, number in self.late.setdefault(name, Late()).put(value):
                runner.message_hub.update_scalar(f"train/{name}", number)
