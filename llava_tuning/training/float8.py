"""Matrix products with frozen weights in 8-bit floating point: nearly twice the rate on Hopper GPUs.

Both operands are scaled row by row to the range of float8_e4m3fn, activations and gradients as they come.
Only weights that do not train are converted; sums are kept in higher precision by the hardware. In the
backward direction alone the loss stays what it was, and gradients get an error of a few percent that changes
from step to step; in both directions the model is another one by the rounding of its weights.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from llava_tuning.training.added_product import double_and_add_product
from llava_tuning.training.frozen import FrozenLinear, replace_layers

# None, both directions, or gradients alone; "auto" is none, until `fit_to_machine` knows the machine.
Float8 = bool | Literal["backward", "auto"]
LARGEST = torch.finfo(torch.float8_e4m3fn).max
SMALLEST = 1e-12  # of a row's largest value, lest it be divided by zero


def to_float8(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) as float8_e4m3fn, and each row's scale, (rows, 1) float32."""
    values = values.float()
    scale = values.abs().amax(dim=1, keepdim=True).clamp(min=SMALLEST) / LARGEST
    return (values / scale).to(torch.float8_e4m3fn), scale


class _Product(torch.autograd.Function):
    """`x @ weight.T` (+ 2 `half`), in float8 where `scale` is given. The gradient of `x` always is.

    `half` gets the gradient of what is added, its double.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        half: torch.Tensor | None,
        x: torch.Tensor,
        weight: torch.Tensor,
        scale: torch.Tensor | None,
        transposed: torch.Tensor,
        transposed_scale: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(transposed, transposed_scale)
        if half is not None:
            ctx.mark_dirty(half)
            if scale is None:
                double_and_add_product(half, x, weight)
                return half
            # The hardware hands out half precision alone: here the product is rounded before the sum.
            product = scaled_product(*to_float8(x), weight, scale, x.dtype)
            return torch.add(product, half, alpha=2, out=half)
        if scale is None:
            return x @ weight.t()
        return scaled_product(*to_float8(x), weight, scale, x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        transposed, scale = ctx.saved_tensors
        own, of_x = ctx.needs_input_grad[:2]
        product = scaled_product(*to_float8(grad), transposed, scale, grad.dtype) if of_x else None
        return grad if own else None, product, None, None, None, None


@torch.compiler.allow_in_graph
def _product(half: torch.Tensor | None, x: torch.Tensor, *frozen: torch.Tensor | None) -> torch.Tensor:
    product: torch.Tensor = _Product.apply(half, x, *frozen)
    return product


def scaled_product(
    rows: torch.Tensor,
    scale: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """`rows @ weight.T` of two matrices in float8 with a scale for each of their rows."""
    return torch._scaled_mm(
        rows, weight.t(), scale_a=scale, scale_b=weight_scale.t(), out_dtype=dtype, use_fast_accum=True
    )


class FrozenFloat8Linear(FrozenLinear):
    """A frozen `nn.Linear` whose gradient is computed in float8, and its output too unless `backward_only`.

    Holds its weight for both directions, the one of the output in its own dtype where that is exact.
    """

    weight: torch.Tensor
    scale: torch.Tensor | None
    transposed: torch.Tensor
    transposed_scale: torch.Tensor

    def __init__(self, linear: nn.Linear, backward_only: bool = False) -> None:
        super().__init__(linear)
        weight = linear.weight.detach()
        kept, scale = (weight, None) if backward_only else to_float8(weight)
        self.register_buffer("weight", kept, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        transposed, scale = to_float8(weight.t().contiguous())
        self.register_buffer("transposed", transposed, persistent=False)
        self.register_buffer("transposed_scale", scale, persistent=False)

    def product(self, rows: torch.Tensor, half: torch.Tensor | None = None) -> torch.Tensor:
        """In float8 unless `backward_only`."""
        weight = self.weight if self.scale is not None else self.weight.to(rows.dtype)
        return _product(half, rows, weight, self.scale, self.transposed, self.transposed_scale)


def has_float8() -> bool:
    """Whether this machine's GPU multiplies in float8 with a scale for each row."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (9, 0)


def fits_float8(layer: nn.Module) -> bool:
    """A frozen `nn.Linear` of sizes that the hardware takes."""
    return (
        type(layer) is nn.Linear
        and not layer.weight.requires_grad
        and layer.in_features % 16 == layer.out_features % 16 == 0
    )


def convert_frozen(layers: nn.Module, backward_only: bool = False) -> int:
    """Replace every layer below `layers` that fits; returns how many."""
    return replace_layers(layers, fits_float8, lambda layer: FrozenFloat8Linear(layer, backward_only))
