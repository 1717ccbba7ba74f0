"""Matrix products with frozen 4-bit weights (QLoRA, arXiv:2305.14314) that compiled code can contain.

bitsandbytes' own layer keeps its state in a Python object, at which compilers stop, and a wrapper around its
product that copies. Here weight and scales are tensors; both directions expand the weight and multiply.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llava_tuning.training.frozen import FrozenLinear, replace_layers

# bitsandbytes' own operator takes a list, which code that starts kernels from C++ cannot hand to Python.
_LIBRARY = torch.library.Library("llava_tuning", "FRAGMENT")
_LIBRARY.define(
    "four_bit_product(Tensor rows, Tensor packed, Tensor scales, int block, str kind, int out, int inner,"
    " bool transposed) -> Tensor"
)
_LIBRARY.define(
    "double_and_add_four_bit_product_(Tensor(a!) onto, Tensor rows, Tensor packed, Tensor scales, int block,"
    " str kind, int out, int inner) -> ()"
)


def _expand(rows: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, *layout: Any) -> torch.Tensor:
    """The weight, (out, inner), in the dtype of `rows`; `layout` is (block, kind, out, inner)."""
    block, kind, *shape = layout
    weight: torch.Tensor = torch.ops.bitsandbytes.dequantize_4bit(
        packed, scales.view(torch.float32), block, kind, shape, rows.dtype
    )
    return weight


def _four_bit_product(
    rows: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, *layout: Any
) -> torch.Tensor:
    """`rows @ weight.T`, or `rows @ weight` where `transposed`, the last of `layout`."""
    *of_weight, transposed = layout
    weight = _expand(rows, packed, scales, *of_weight)
    return rows @ (weight if transposed else weight.t())


def _double_and_add_four_bit_product(
    onto: torch.Tensor, rows: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, *layout: Any
) -> None:
    """`onto = 2 * onto + rows @ weight.T`, with the weight expanded to the dtype of `rows`."""
    onto.addmm_(rows, _expand(rows, packed, scales, *layout).t(), beta=2)


for _device in ("CPU", "CUDA"):
    _LIBRARY.impl("four_bit_product", _four_bit_product, _device)
    _LIBRARY.impl("double_and_add_four_bit_product_", _double_and_add_four_bit_product, _device)
torch.library.register_fake(
    "llava_tuning::four_bit_product",
    lambda rows, packed, scales, block, kind, out, inner, transposed: rows.new_empty(
        rows.shape[0], inner if transposed else out
    ),
    lib=_LIBRARY,
)
torch.library.register_fake(
    "llava_tuning::double_and_add_four_bit_product_", lambda *given: None, lib=_LIBRARY
)


class _Product(torch.autograd.Function):
    """`x @ weight.T` (+ 2 `half`, which gets its double's gradient); no gradient is taken of the weight."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        half: torch.Tensor | None,
        x: torch.Tensor,
        packed: torch.Tensor,
        scales: torch.Tensor,
        layout: tuple[Any, ...],
    ) -> torch.Tensor:
        ctx.save_for_backward(packed, scales)
        ctx.layout = layout
        if half is not None:
            ctx.mark_dirty(half)
            torch.ops.llava_tuning.double_and_add_four_bit_product_(half, x, packed, scales, *layout)
            return half
        product: torch.Tensor = torch.ops.llava_tuning.four_bit_product(x, packed, scales, *layout, False)
        return product

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        own, of_x = ctx.needs_input_grad[:2]
        product = None
        if of_x:
            product = torch.ops.llava_tuning.four_bit_product(
                grad.contiguous(), *ctx.saved_tensors, *ctx.layout, True
            )
        return grad if own else None, product, None, None, None


@torch.compiler.allow_in_graph
def _product(
    half: torch.Tensor | None, x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor, *layout: Any
) -> torch.Tensor:
    product: torch.Tensor = _Product.apply(half, x, packed, scales, layout)
    return product


class FrozenFourBitLinear(FrozenLinear):
    """The product of a quantised `bitsandbytes.nn.Linear4bit`, whose weight it takes over."""

    weight: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: Any) -> None:
        super().__init__(linear)
        from bitsandbytes.functional import dequantize_blockwise

        state = linear.weight.quant_state
        self.layout = (state.blocksize, state.quant_type, self.out_features, self.in_features)
        scales = state.absmax
        if state.nested:  # the scales are quantised as well
            scales = dequantize_blockwise(scales, state.state2) + state.offset
        self.register_buffer("weight", linear.weight.data, persistent=False)
        # As whole numbers: who casts a model to half precision shall not round the scales.
        self.register_buffer("scales", scales.float().view(torch.int32), persistent=False)

    def product(self, rows: torch.Tensor, half: torch.Tensor | None = None) -> torch.Tensor:
        """With the weight expanded to the dtype of `rows`."""
        return _product(half, rows, self.weight, self.scales, *self.layout)


def convert_four_bit(layers: nn.Module) -> int:
    """Replace every `bitsandbytes.nn.Linear4bit` below `layers`; returns how many."""
    from bitsandbytes.nn import Linear4bit

    return replace_layers(layers, lambda layer: isinstance(layer, Linear4bit), FrozenFourBitLinear)
