"""Causal attention inside each sample of a packed row: no padding is computed, and no mask is built."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "packed"  # the name under which transformers' Llama finds it
# Whether the kernel shares keys and values among heads itself (PyTorch 2.12 and later).
GROUPED = "enable_gqa" in inspect.signature(varlen_attn).parameters


@dataclass(frozen=True)
class Layout:
    """Where the samples of a packed row lie.

    Args:
        starts: (samples + 1) int32, where each sample starts, and the number of tokens at the end.
        longest: tokens of the longest sample.
        grid: (samples, longest, rounded up) int64, for each place in a padded batch its token, -1 at padding;
            None where the lengths differ too much for padding to pay.
        slots: (tokens) int64, the place of each token in that batch.
    """

    starts: torch.Tensor
    longest: int
    grid: torch.Tensor | None = None
    slots: torch.Tensor | None = None


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    layout: Layout | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over samples that lie one behind the other.

    Args:
        query: (1, heads, tokens, head size).
        key, value: (1, key-value heads, tokens, head size).
        layout: None for ordinary rows, e.g. while an answer is written.

    Returns:
        (1, tokens, heads, head size), and no weights.
    """
    if layout is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return output, None
    # Rotary positions are computed in float32, and autocast leaves them so.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if layout.grid is not None:
        return _padded(query, key, value, layout, scaling), None
    attend = _varlen if _has_kernel(value) else _each_sample
    if attend is _each_sample or not GROUPED:
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return attend(query, key, value, layout.starts, layout.longest, scaling), None


def _padded(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: Layout, scaling: float | None
) -> torch.Tensor:
    """As a padded batch: its kernels are faster than those for variable lengths.

    Padding comes last, and what is causal does not look at what comes later.
    """
    grid, slots = layout.grid, layout.slots
    assert grid is not None and slots is not None
    q, k, v = (
        pad(part[0].transpose(0, 1), grid, slots).transpose(1, 2)  # (samples, heads, longest, head size)
        for part in (query, key, value)
    )
    output = functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
    )
    return unpad(output.transpose(1, 2), grid, slots).unsqueeze(0)


class _Pad(torch.autograd.Function):
    """(tokens, ...) to (samples, longest, ...); at padding stands any token, without a gradient."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, grid: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(slots)
        return rows[grid.clamp(min=0)]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (slots,) = ctx.saved_tensors
        return grad.flatten(0, 1)[slots], None, None


class _Unpad(torch.autograd.Function):
    """(samples, longest, ...) to (tokens, ...)."""

    @staticmethod
    def forward(ctx: Any, batch: torch.Tensor, grid: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(grid)
        return batch.flatten(0, 1)[slots]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (grid,) = ctx.saved_tensors
        padding = (grid < 0).view(*grid.shape, *[1] * (grad.dim() - 1))
        return grad[grid.clamp(min=0)].masked_fill(padding, 0.0), None, None


@torch.compiler.allow_in_graph
def pad(rows: torch.Tensor, grid: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """(tokens, ...) to (samples, longest, ...) by `Layout`; gathered both ways, so nothing is summed."""
    padded: torch.Tensor = _Pad.apply(rows, grid, slots)
    return padded


@torch.compiler.allow_in_graph
def unpad(batch: torch.Tensor, grid: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """(samples, longest, ...) to (tokens, ...), the inverse of `pad`."""
    rows: torch.Tensor = _Unpad.apply(batch, grid, slots)
    return rows


# PyTorch's own operators take lists, which code that starts kernels from C++ cannot hand to Python.
_LIBRARY = torch.library.Library("llava_tuning", "FRAGMENT")
_LIBRARY.define(
    "causal_varlen(Tensor q, Tensor k, Tensor v, Tensor starts, SymInt longest, float scale)"
    " -> (Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    "causal_varlen_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, Tensor starts,"
    " SymInt longest, Tensor rng, float scale) -> (Tensor, Tensor, Tensor)"
)


def _forward_kernel(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, starts: torch.Tensor, longest: int, scale: float
) -> Any:
    grouped = {"enable_gqa": True} if GROUPED else {}
    return torch.ops.torch_attn._varlen_attn(
        q, k, v, starts, starts, longest, longest, True, scale=scale, window_size=[-1, 0], **grouped
    )


def _backward_kernel(
    grad: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    rng: torch.Tensor,
    scale: float,
) -> Any:
    places = (starts, starts, longest, longest)
    return torch.ops.torch_attn._varlen_attn_backward(
        grad, q, k, v, out, lse, *places, is_causal=True, rng_state=rng, scale=scale, window_size=[-1, 0]
    )


for _name, _kernel in (("causal_varlen", _forward_kernel), ("causal_varlen_backward", _backward_kernel)):
    _LIBRARY.impl(_name, _kernel, "CUDA")
    torch.library.register_fake(f"llava_tuning::{_name}", _kernel, lib=_LIBRARY)


class _CausalVarlen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *where: Any) -> torch.Tensor:  # type: ignore[override]
        starts, ctx.longest, ctx.scale = where
        out, lse, rng = torch.ops.llava_tuning.causal_varlen(q, k, v, *where)
        ctx.save_for_backward(q, k, v, out, lse, starts, rng)
        return out  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        *rows, starts, rng = ctx.saved_tensors
        grads = torch.ops.llava_tuning.causal_varlen_backward(
            grad.contiguous(), *rows, starts, ctx.longest, rng, ctx.scale
        )
        return (*grads, None, None, None)


@torch.compiler.allow_in_graph
def _causal_varlen(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, starts: torch.Tensor, longest: int, scale: float
) -> torch.Tensor:
    output: torch.Tensor = _CausalVarlen.apply(q, k, v, starts, longest, scale)
    return output


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    q, k, v = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))  # (tokens, heads, size)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return _causal_varlen(q, k, v, starts, longest, scale).unsqueeze(0)


@torch.compiler.disable
def _each_sample(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    lengths = [end - start for start, end in pairwise(starts.tolist())]
    # Not by slices, whose gradients would each be as long as the row.
    samples = zip(*(part.split(lengths, dim=2) for part in (query, key, value)), strict=True)
    outputs = [
        functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling) for q, k, v in samples
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _has_kernel(value: torch.Tensor) -> bool:
    """Variable-length kernels take half precision, on GPUs from Ampere on."""
    if value.device.type != "cuda" or value.dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_properties(value.device).major >= 8


AttentionInterface.register(PACKED, packed_attention)
# Ordinary rows may be padded: without a mask function transformers would let tokens look at the padding.
AttentionMaskInterface.register(PACKED, sdpa_mask)
