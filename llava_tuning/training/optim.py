"""mmengine's optimizer wrapper without a wait in the middle of a step."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import OptimWrapper


class UnhurriedOptimWrapper(OptimWrapper):
    """Updates weights before it asks for the gradients' norm.

    mmengine reads the norm, which waits for the GPU, before it starts the update, so the GPU then waits for
    hundreds of weights to be listed.
    """

    _norm: torch.Tensor | None = None

    def step(self, **kwargs: Any) -> None:
        """Clip, update, then publish the norm as mmengine does."""
        super().step(**kwargs)
        if self._norm is not None:
            self.message_hub.update_scalar(f"train/{self.grad_name}", float(self._norm))
            self._norm = None

    def _clip_grad(self) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        given = [weight for weight in weights if weight.requires_grad and weight.grad is not None]
        if given:
            self._norm = self.clip_func(given, **self.clip_grad_kwargs)
