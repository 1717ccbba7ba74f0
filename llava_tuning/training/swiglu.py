"""The feed-forward part of a frozen Llama layer, whose gradient leaves in float8.

Its gradient is the widest tensor of a training step; written once, in 8 bits, it is a third of the traffic
that compilers make of the same formula.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.models.llama.modeling_llama import LlamaMLP

from llava_tuning.training.autocast import as_autocast
from llava_tuning.training.float8 import (
    LARGEST,
    SMALLEST,
    FrozenFloat8Linear,
    fits_float8,
    scaled_product,
    to_float8,
)
from llava_tuning.training.frozen import replace_layers


@torch.library.custom_op("llava_tuning::swiglu_grad_float8", mutates_args=())
def swiglu_grad_float8(
    gate: torch.Tensor, up: torch.Tensor, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of `silu(gate) * up` for both, side by side, in float8.

    Args:
        gate, up, grad: (rows, inner) each.

    Returns:
        (rows, 2 * inner) float8_e4m3fn, gate's first, and each row's scale, (rows, 1) float32.
    """
    gate, up, grad = (values.float() for values in (gate, up, grad))
    sigmoid = gate.sigmoid()
    to_gate = grad * up * sigmoid * (1 + gate * (1 - sigmoid))
    return to_float8(torch.cat([to_gate, grad * gate * sigmoid], dim=1))


@swiglu_grad_float8.register_kernel("cuda")
def _on_gpu(gate: torch.Tensor, up: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from llava_tuning.training.swiglu_kernel import swiglu_grad_rows

    gate, up, grad = (values.contiguous() for values in (gate, up, grad))
    out, scale = _empty(gate, up, grad)
    inner = gate.shape[1]
    swiglu_grad_rows(gate, up, grad, out, scale, inner, SMALLEST, LARGEST)
    return out, scale


@swiglu_grad_float8.register_fake
def _empty(gate: torch.Tensor, up: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows, inner = gate.shape
    out = gate.new_empty(rows, 2 * inner, dtype=torch.float8_e4m3fn)
    return out, gate.new_empty(rows, 1, dtype=torch.float32)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: torch.Tensor, gate: torch.Tensor, up: torch.Tensor, *transposed: torch.Tensor
    ) -> torch.Tensor:
        gated, raised = x @ gate.t(), x @ up.t()
        ctx.save_for_backward(gated, raised, *transposed)
        return functional.silu(gated) * raised

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        gated, raised, transposed, transposed_scale = ctx.saved_tensors
        float8, scale = torch.ops.llava_tuning.swiglu_grad_float8(gated, raised, grad)
        product = scaled_product(float8, scale, transposed, transposed_scale, grad.dtype)
        return product, None, None, None, None


@torch.compiler.allow_in_graph
def _swiglu(x: torch.Tensor, *frozen: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = _SwiGLU.apply(x, *frozen)
    return output


class FrozenSwiGLU(nn.Module):
    """A frozen `LlamaMLP` whose gradient is computed in float8; its output is exact."""

    gate: torch.Tensor
    up: torch.Tensor
    transposed: torch.Tensor
    transposed_scale: torch.Tensor

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        gate, up = mlp.gate_proj.weight.detach(), mlp.up_proj.weight.detach()
        transposed, scale = to_float8(torch.cat([gate, up]).t().contiguous())
        for name, values in (
            ("gate", gate),
            ("up", up),
            ("transposed", transposed),
            ("transposed_scale", scale),
        ):
            self.register_buffer(name, values, persistent=False)
        self.down_proj = FrozenFloat8Linear(mlp.down_proj, backward_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., hidden) to (..., hidden)."""
        x = as_autocast(x)
        weights = self.gate.to(x.dtype), self.up.to(x.dtype)
        inner = _swiglu(x.flatten(0, -2), *weights, self.transposed, self.transposed_scale)
        output: torch.Tensor = self.down_proj(inner).view(x.shape)
        return output


def convert_swiglu(layers: nn.Module) -> int:
    """Replace every frozen `LlamaMLP` below `layers` whose sizes the hardware takes; returns how many."""

    def fits(mlp: nn.Module) -> bool:
        if not isinstance(mlp, LlamaMLP) or mlp.config.hidden_act != "silu":
            return False
        return all(map(_fits, (mlp.gate_proj, mlp.up_proj, mlp.down_proj)))

    return replace_layers(layers, fits, FrozenSwiGLU)


def _fits(linear: nn.Module) -> bool:
    return fits_float8(linear) and getattr(linear, "bias", None) is None
