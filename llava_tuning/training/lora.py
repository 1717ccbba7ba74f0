"""LoRA (arXiv:2106.09685): peft's layers, with the frozen product added in place to the adapter's."""

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

from llava_tuning.training.added_product import added_product, half_product
from llava_tuning.training.autocast import as_autocast
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


class _AddedToAdapter:
    """Comes before a class of peft's adapted layers.

    The frozen product is added to the adapter's, not the other way round: in half precision the frozen one,
    once rounded, leaves no place for what is smaller than half its last digit, and an adapter begins so. Why
    half of the adapter's is held, `added_product` says. A bias comes after both. What is not one plain
    adapter on a frozen linear layer goes peft's way.
    """

    def forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        if args or kwargs or self.disable_adapters or self.merged or x.dim() < 2 or not _plain(self):
            output: torch.Tensor = super().forward(x, *args, **kwargs)  # type: ignore[misc]
            return output
        (name,) = self.active_adapters
        frozen, shape = self.base_layer, x.shape[:-1]
        rows = as_autocast(x.flatten(0, -2))
        x = self._cast_input_dtype(x, self.lora_A[name].weight.dtype)
        narrow = self.lora_A[name](self.lora_dropout[name](x)).flatten(0, -2).to(rows.dtype)
        wide = (self.lora_B[name].weight * self.scaling[name]).to(rows.dtype)
        half = half_product(narrow, wide)  # (rows, out_features)
        if isinstance(frozen, FrozenLinear):
            output = frozen.product(rows, half)
        else:
            output = added_product(half, rows, as_autocast(frozen.weight))
        if frozen.bias is not None:
            output = output + frozen.bias.to(output.dtype)
        return output.view(*shape, output.shape[-1])


def _plain(layer: Any) -> bool:
    """One adapter that is nothing but two matrices, on a linear layer."""
    frozen = layer.base_layer
    # Not a subclass, whose weight may be packed, nor one with hooks, which wait to be called.
    linear = type(frozen) is nn.Linear and not frozen.weight.requires_grad and not _has_hooks(frozen)
    if len(layer.active_adapters) != 1 or not (linear or isinstance(frozen, FrozenLinear)):
        return False
    (name,) = layer.active_adapters
    # An adapter of other layers alone is active in this one too.
    return name in layer.lora_B and name not in layer.lora_variant and layer.lora_B[name].bias is None


def _has_hooks(layer: nn.Module) -> bool:
    hooks = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_pre_hooks, layer._backward_hooks)
    return any(map(len, hooks))


@functools.cache
def _added_to_adapter(kind: type) -> type:
    return type(kind.__name__, (_AddedToAdapter, kind), {})


def add_in_place(adapted: Iterable[Any]) -> None:
    """Let peft's adapted layers add the frozen product to their own without another tensor.

    Not under ZeRO-3, which gathers weights when their own module is called.
    """
    if is_deepspeed_zero3_enabled():
        return
    for layer in adapted:
        layer.__class__ = _added_to_adapter(layer.__class__)
