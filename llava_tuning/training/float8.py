"""Matrix products with frozen weights in 8-bit floating point: nearly twice the rate on Hopper GPUs.

Both operands are scaled row by row to the range of float8_e4m3fn, activations and gradients as they come.
Only weights that do not train are converted; sums are kept in higher precision by the hardware.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llava_tuning.training.frozen import FrozenLinear, replace_layers

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


class FrozenFloat8Linear(FrozenLinear):
    """A frozen `nn.Linear` whose products are computed in float8; holds its weight for both directions."""

    weight: torch.Tensor
    scale: torch.Tensor
    transposed: torch.Tensor
    transposed_scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        for name, values in (("", linear.weight.detach()), ("transposed", linear.weight.detach().t())):
            float8, scale = to_float8(values.contiguous())
            self.register_buffer(name or "weight", float8, persistent=False)
            self.register_buffer(f"{name}_scale".lstrip("_"), scale, persistent=False)

    def product(self, rows: torch.Tensor) -> torch.Tensor:
        """In float8, summed in higher precision."""
        return _product(rows, self.weight, self.scale, self.transposed, self.transposed_scale)


def convert_frozen(layers: nn.Module) -> int:
    """Replace every frozen `nn.Linear` below `layers` whose sizes the hardware takes; returns how many."""

    def fits(layer: nn.Module) -> bool:
        return (
            type(layer) is nn.Linear
            and not layer.weight.requires_grad
            and layer.in_features % 16 == layer.out_features % 16 == 0
        )

    return replace_layers(layers, fits, FrozenFloat8Linear)
