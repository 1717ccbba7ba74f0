"""A matrix product with a frozen weight, added in place to what stands there already."""

from __future__ import annotations

from typing import Any

import torch

# Registered by hand: `torch.library.custom_op` takes tens of microseconds for each of hundreds of calls.
_LIBRARY = torch.library.Library("llava_tuning", "FRAGMENT")
_LIBRARY.define("add_product_(Tensor(a!) onto, Tensor rows, Tensor weight) -> ()")


def _add_product(onto: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    onto.addmm_(rows, weight.t())


for _device in ("CPU", "CUDA"):
    _LIBRARY.impl("add_product_", _add_product, _device)
torch.library.register_fake("llava_tuning::add_product_", lambda onto, rows, weight: None, lib=_LIBRARY)


def add_product(onto: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    """`onto += rows @ weight.T` of matrices, in one kernel; CPUs sum in float32 and round once."""
    torch.ops.llava_tuning.add_product_(onto, rows, weight)


class _AddedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, onto: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(weight)
        ctx.mark_dirty(onto)
        add_product(onto, rows, weight)
        return onto

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return grad, grad @ weight if ctx.needs_input_grad[1] else None, None


@torch.compiler.allow_in_graph
def added_product(onto: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`onto + rows @ weight.T`, which takes the place of `onto`.

    Args:
        onto: (rows, out_features), no longer needed.
        rows: (rows, in_features), of the same dtype.
        weight: (out_features, in_features), of the same dtype; it gets no gradient.
    """
    total: torch.Tensor = _AddedProduct.apply(onto, rows, weight)
    return total
