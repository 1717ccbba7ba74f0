"""What frozen linear layers held in fewer bits have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from llava_tuning.training.autocast import as_autocast


class FrozenLinear(nn.Module):
    """A linear layer without a weight that trains; `product` is the subclass's."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias

    def product(self, rows: torch.Tensor, half: torch.Tensor | None = None) -> torch.Tensor:
        """(rows, in_features) to (rows, out_features), in the dtype of `rows`, differentiable in them.

        `half`, of `half_product`, is of that shape and dtype and no longer needed: twice of it is added, and
        the sum may take its place.
        """
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features), in the dtype of `x` or autocast's."""
        x = as_autocast(x)
        output = self.product(x.flatten(0, -2)).view(*x.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias.to(output.dtype)


def replace_layers(
    layers: nn.Module, fits: Callable[[nn.Module], bool], make: Callable[[Any], nn.Module]
) -> int:
    """Put `make(layer)` in the place of every layer below `layers` that fits; returns how many."""
    found = [
        (parent, name, child)
        for parent in layers.modules()
        for name, child in parent.named_children()
        if fits(child)
    ]
    for parent, name, child in found:
        setattr(parent, name, make(child))
    return len(found)
