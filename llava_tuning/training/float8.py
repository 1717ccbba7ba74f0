"""Matrix products with frozen weights in 8-bit floating point: nearly twice the rate on Hopper GPUs.

Both operands are scaled row by row to the range of float8_e4m3fn, activations and gradients as they come.
Only weights that do not train are converted; sums are kept in higher precision by the hardware.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

LARGEST = torch.finfo(torch.float8_e4m3fn).max


def to_float8(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) as float8_e4m3fn, and each row's scale, (rows, 1) float32."""
    values = values.float()
    scale = values.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LARGEST
    return (values / scale).to(torch.float8_e4m3fn), scale


class _Product(torch.autograd.Function):
    """`x @ weight.T`; the gradient is taken of `x` alone."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        scale: torch.Tensor,
        transposed: torch.Tensor,
        transposed_scale: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(transposed, transposed_scale)
        return _scaled_product(x, weight, scale)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        return _scaled_product(grad, *ctx.saved_tensors), None, None, None, None


@torch.compiler.allow_in_graph
def _product(x: torch.Tensor, *frozen: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = _Product.apply(x, *frozen)
    return product


def _scaled_product(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    x8, x_scale = to_float8(x)
    return torch._scaled_mm(
        x8, weight.t(), scale_a=x_scale, scale_b=scale.t(), out_dtype=x.dtype, use_fast_accum=True
    )


class FrozenFloat8Linear(nn.Module):
    """A frozen `nn.Linear` whose products are computed in float8; holds its weight for both directions."""

    weight: torch.Tensor
    scale: torch.Tensor
    transposed: torch.Tensor
    transposed_scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        for name, values in (("", linear.weight.detach()), ("transposed", linear.weight.detach().t())):
            float8, scale = to_float8(values.contiguous())
            self.register_buffer(name or "weight", float8, persistent=False)
            self.register_buffer(f"{name}_scale".lstrip("_"), scale, persistent=False)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features), in the dtype of `x` or autocast's."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        rows = x.flatten(0, -2)
        product = _product(rows, self.weight, self.scale, self.transposed, self.transposed_scale)
        output: torch.Tensor = product.view(*x.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias.to(output.dtype)


def convert_frozen(layers: nn.Module) -> int:
    """Replace every frozen `nn.Linear` below `layers` whose sizes the hardware takes; returns how many."""
    found = [
        (parent, name, child)
        for parent in layers.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear
        and not child.weight.requires_grad
        and child.in_features % 16 == child.out_features % 16 == 0
    ]
    for parent, name, child in found:
        setattr(parent, name, FrozenFloat8Linear(child))
    return len(found)
