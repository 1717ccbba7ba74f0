"""The product of two small matrices plus one with a frozen weight, added in float32, then rounded.

cuBLAS of CUDA 13 on an H200 rounds a product to half precision before it adds it to what stands in its place
if that has the factor 1, not if it has the factor 2. So half of the first product is held, and taken twice.
"""

from __future__ import annotations

from typing import Any

import torch

# Registered by hand: `torch.library.custom_op` takes tens of microseconds for each of hundreds of calls.
_LIBRARY = torch.library.Library("llava_tuning", "FRAGMENT")
_LIBRARY.define("double_and_add_product_(Tensor(a!) onto, Tensor rows, Tensor weight) -> ()")


def _double_and_add_product(onto: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    onto.addmm_(rows, weight.t(), beta=2)


for _device in ("CPU", "CUDA"):
    _LIBRARY.impl("double_and_add_product_", _double_and_add_product, _device)
torch.library.register_fake(
    "llava_tuning::double_and_add_product_", lambda onto, rows, weight: None, lib=_LIBRARY
)


def double_and_add_product(onto: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    """`onto = 2 * onto + rows @ weight.T` of matrices, in one kernel that rounds the sum alone."""
    torch.ops.llava_tuning.double_and_add_product_(onto, rows, weight)


class _HalfProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, narrow: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(narrow, wide)
        return narrow @ (wide / 2).t()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        narrow, wide = ctx.saved_tensors
        of_narrow, of_wide = ctx.needs_input_grad
        return grad @ wide if of_narrow else None, grad.t() @ narrow if of_wide else None


@torch.compiler.allow_in_graph
def half_product(narrow: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
    """Half of `narrow @ wide.T`; its gradient is that of the whole.

    Args:
        narrow: (rows, rank)
        wide: (out_features, rank), of the same dtype.
    """
    half: torch.Tensor = _HalfProduct.apply(narrow, wide)
    return half


class _AddedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, half: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(weight)
        ctx.mark_dirty(half)
        double_and_add_product(half, rows, weight)
        return half

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return grad, grad @ weight if ctx.needs_input_grad[1] else None, None


@torch.compiler.allow_in_graph
def added_product(half: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`2 * half + rows @ weight.T`, which takes the place of `half`.

    Args:
        half: (rows, out_features), of `half_product`, which expects the gradient of the whole; no longer
            needed.
        rows: (rows, in_features), of the same dtype.
        weight: (out_features, in_features), of the same dtype; it gets no gradient.
    """
    total: torch.Tensor = _AddedProduct.apply(half, rows, weight)
    return total
