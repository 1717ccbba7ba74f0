"""LoRA (arXiv:2106.09685): peft's layers, whose product is added where the frozen one already stands."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.integrations import is_deepspeed_zero3_enabled
from xtuner.model.utils import find_all_linear_names

from llava_tuning.training.frozen import FrozenLinear


def with_adapter(module: nn.Module, config: LoraConfig) -> Any:
    """`module` with a LoRA adapter, by default on every linear layer but the head.

    peft's preparation of quantised models would hold embeddings, head and norms in float32; norms are
    computed in it anyway.
    """
    if config.target_modules is None:
        config.target_modules = find_all_linear_names(module)
    return get_peft_model(module, config)


def leave_inputs_alone(module: nn.Module) -> None:
    """peft would copy each adapted layer's input to float32, for autocast to copy it back."""
    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False


# Registered by hand: `torch.library.custom_op` takes tens of microseconds for each of hundreds of calls.
_LIBRARY = torch.library.Library("llava_tuning", "FRAGMENT")
_LIBRARY.define("add_product_(Tensor(a!) to, Tensor rows, Tensor weight) -> ()")


def _add_product(to: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> None:
    """`to += rows @ weight.T`, all but the last axis of each flattened; one kernel, without a sum's copy."""
    to.view(-1, to.shape[-1]).addmm_(rows.flatten(0, -2), weight.t())


for _device in ("CPU", "CUDA"):
    _LIBRARY.impl("add_product_", _add_product, _device)
torch.library.register_fake("llava_tuning::add_product_", lambda to, rows, weight: None, lib=_LIBRARY)


class _AddProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, to: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(rows, weight)
        ctx.mark_dirty(to)
        torch.ops.llava_tuning.add_product_(to, rows, weight)
        return to

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:  # type: ignore[override]
        rows, weight = ctx.saved_tensors
        return grad, grad @ weight, grad.flatten(0, -2).t() @ rows.flatten(0, -2)


@torch.compiler.allow_in_graph
def add_product(to: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`to + rows @ weight.T`, which takes the place of `to`.

    Args:
        to: (..., columns), no longer needed.
        rows: (..., rank).
        weight: (columns, rank).
    """
    total: torch.Tensor = _AddProduct.apply(to, rows, weight)
    return total


class _AddsInPlace:
    """Comes before a class of peft's adapted layers."""

    def forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        if args or kwargs or self.disable_adapters or self.merged or not _plain(self):
            output: torch.Tensor = super().forward(x, *args, **kwargs)  # type: ignore[misc]
            return output
        (name,) = self.active_adapters
        frozen = self.base_layer(x)
        x = self._cast_input_dtype(x, self.lora_A[name].weight.dtype)
        narrow = self.lora_A[name](self.lora_dropout[name](x))
        wide = self.lora_B[name].weight * self.scaling[name]
        return add_product(frozen, narrow.to(frozen.dtype), wide.to(frozen.dtype))


def _plain(layer: Any) -> bool:
    """One adapter that is nothing but two matrices, on a linear layer."""
    if len(layer.active_adapters) != 1 or not isinstance(layer.base_layer, (nn.Linear, FrozenLinear)):
        return False
    (name,) = layer.active_adapters
    # An adapter of other layers alone is active in this one too.
    return name in layer.lora_B and name not in layer.lora_variant and layer.lora_B[name].bias is None


@functools.cache
def _adding_in_place(kind: type) -> type:
    return type(kind.__name__, (_AddsInPlace, kind), {})


def add_in_place(adapted: Iterable[Any]) -> None:
    """Let peft's adapted layers add their product to the frozen one without a tensor of its own.

    Not under ZeRO-3, which gathers weights when their own module is called.
    """
    if is_deepspeed_zero3_enabled():
        return
    for layer in adapted:
        layer.__class__ = _adding_in_place(layer.__class__)
