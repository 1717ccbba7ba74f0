"""mmengine's optimizer wrapper without a wait for the GPU."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import OptimWrapper

from llava_tuning.training.late import Late


class UnhurriedOptimWrapper(OptimWrapper):
    """Publishes the gradients' norm after the next step's update.

    mmengine reads the norm before it starts the update, so the GPU waits for hundreds of weights to be
    listed, and then for the next step.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._norms = Late()
        self._norm: torch.Tensor | None = None

    def step(self, **kwargs: Any) -> None:
        """Clip and update, then publish as mmengine does."""
        super().step(**kwargs)
        if self._norm is not None:
            for _, norm in self._norms.put(self._norm):
                self.message_hub.update_scalar(f"train/{self.grad_name}", norm)
            self._norm = None

    def _clip_grad(self) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        given = [weight for weight in weights if weight.requires_grad and weight.grad is not None]
        if given:
            self._norm = self.clip_func(given, **self.clip_grad_kwargs)
