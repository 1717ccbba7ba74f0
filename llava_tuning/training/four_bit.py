"""Matrix products with frozen 4-bit weights (QLoRA, arXiv:2305.14314) that compiled code can contain.

bitsandbytes' own layer keeps its state in a Python object, at which compilers stop, and a wrapper around its
product that copies. Here weight and scales are tensors; both directions expand the weight and multiply.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class _Product(torch.autograd.Function):
    """`x @ weight.T`; the gradient is taken of `x` alone."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, layout: tuple[Any, ...]
    ) -> torch.Tensor:
        ctx.save_for_backward(packed, scales)
        ctx.layout = layout
        return x @ _expand(packed, scales, layout, x.dtype).t()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        packed, scales = ctx.saved_tensors
        return grad @ _expand(packed, scales, ctx.layout, grad.dtype), None, None, None


@torch.compiler.allow_in_graph
def _product(x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, *layout: Any) -> torch.Tensor:
    product: torch.Tensor = _Product.apply(x, packed, scales, layout)
    return product


def _expand(
    packed: torch.Tensor, scales: torch.Tensor, layout: tuple[Any, ...], dtype: torch.dtype
) -> torch.Tensor:
    block, kind, rows, columns = layout
    weight: torch.Tensor = torch.ops.bitsandbytes.dequantize_4bit(
        packed, scales.view(torch.float32), block, kind, (rows, columns), dtype
    )
    return weight


class FrozenFourBitLinear(nn.Module):
    """The product of a quantised `bitsandbytes.nn.Linear4bit`, whose weight it takes over."""

    weight: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: Any) -> None:
        super().__init__()
        from bitsandbytes.functional import dequantize_blockwise

        self.in_features, self.out_features = linear.in_features, linear.out_features
        state = linear.weight.quant_state
        self.block, self.kind = state.blocksize, state.quant_type
        scales = state.absmax
        if state.nested:  # the scales are quantised as well
            scales = dequantize_blockwise(scales, state.state2) + state.offset
        self.register_buffer("weight", linear.weight.data, persistent=False)
        # As whole numbers: who casts a model to half precision shall not round the scales.
        self.register_buffer("scales", scales.float().view(torch.int32), persistent=False)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features), in the dtype of `x` or autocast's."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        product = _product(
            x.flatten(0, -2),
            self.weight,
            self.scales,
            self.block,
            self.kind,
            self.out_features,
            self.in_features,
        )
        output: torch.Tensor = product.view(*x.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias.to(output.dtype)


def convert_four_bit(layers: nn.Module) -> int:
    """Replace every `bitsandbytes.nn.Linear4bit` below `layers`; returns how many."""
    from bitsandbytes.nn import Linear4bit

    found = [
        (parent, name, child)
        for parent in layers.modules()
        for name, child in parent.named_children()
        if isinstance(child, Linear4bit)
    ]
    for parent, name, child in found:
        setattr(parent, name, FrozenFourBitLinear(child))
    return len(found)
