"""Selective activation checkpointing: a stack of layers keeps as many activations as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.integrations import is_deepspeed_zero3_enabled

Mode = bool | Literal["auto"]
LAYERS_OF_WORK = 3  # what the backward pass of one layer holds besides, in layers' activations
WORK_BYTES = 3 * 2**29  # logits, their gradient, and what the allocator cannot hand out


def layers_to_recompute(layers: int, bytes_per_layer: int, available: int) -> int:
    """How many of `layers` cannot keep their activations in `available` bytes."""
    if bytes_per_layer <= 0:
        return 0
    kept = max(0, available) // bytes_per_layer
    return max(0, layers - kept)


class Recompute:
    """Runs a stack of equal layers; the backward pass computes again those that memory has no room for.

    Args:
        mode: True recomputes every layer, False none, "auto" decides anew for every step from the bytes that
            the step's first layer kept. "auto" needs a GPU; elsewhere it is False. Under ZeRO-3 it is True:
            processes gather each layer's weights together, and so have to compute the same layers again.
        limit: bytes that the process may use; None for 94 % of what the GPU has free for it.
        share: of the memory left, what this stack may take.
    """

    def __init__(self, mode: Mode, limit: int | None = None, share: float = 1.0) -> None:
        self.mode = True if mode == "auto" and is_deepspeed_zero3_enabled() else mode
        self.limit = limit
        self.share = share
        self.recomputed = 0  # layers in the last step

    def run(
        self,
        layers: Sequence[nn.Module],
        step: Callable[[nn.Module, torch.Tensor], torch.Tensor],
        hidden: torch.Tensor,
        reserved: int = 0,
    ) -> torch.Tensor:
        """`step(layer, hidden)` for each layer in turn.

        Args:
            reserved: bytes not yet allocated that the rest of the step needs (gradients).
        """
        self.recomputed = 0
        if self.mode is False or not torch.is_grad_enabled() or not layers:
            again = range(0)
        elif self.mode is True:
            again = range(len(layers))
        elif hidden.device.type != "cuda":
            again = range(0)
        else:
            before = torch.cuda.memory_allocated(hidden.device)
            hidden = step(layers[0], hidden)
            kept = torch.cuda.memory_allocated(hidden.device) - before
            room = int((self._limit(hidden.device) - before - kept - reserved - WORK_BYTES) * self.share)
            layers = layers[1:]
            again = range(layers_to_recompute(len(layers), kept, room - LAYERS_OF_WORK * kept))
        self.recomputed = len(again)
        for index, layer in enumerate(layers):
            if index in again:
                hidden = checkpoint(step, layer, hidden, use_reentrant=False)
            else:
                hidden = step(layer, hidden)
        return hidden

    def _limit(self, device: torch.device) -> int:
        if self.limit is None:
            free, _ = torch.cuda.mem_get_info(device)
            self.limit = int(0.94 * (free + torch.cuda.memory_reserved(device)))
        return self.limit
