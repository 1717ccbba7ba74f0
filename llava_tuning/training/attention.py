"""Causal attention inside each sample of a packed row: no padding is computed, and no mask is built."""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

PACKED = "packed"  # the name under which transformers' Llama finds it
# Whether the kernel shares keys and values among heads itself (PyTorch 2.12 and later).
GROUPED = "enable_gqa" in inspect.signature(varlen_attn).parameters


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over samples that lie one behind the other.

    Args:
        query: (1, heads, tokens, head size).
        key, value: (1, key-value heads, tokens, head size).
        cu_seq_lens_q: (samples + 1) int32, where each sample starts, and the number of tokens at the end;
            None for ordinary rows, e.g. while an answer is written.
        max_length_q: tokens of the longest sample.

    Returns:
        (1, tokens, heads, head size), and no weights.
    """
    if cu_seq_lens_q is None:
        output, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return output, None
    # Rotary positions are computed in float32, and autocast leaves them so.
    query, key = query.to(value.dtype), key.to(value.dtype)
    assert max_length_q is not None
    attend = _varlen if _has_kernel(value) else _each_sample
    if attend is _each_sample or not GROUPED:
        groups = query.shape[1] // key.shape[1]
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    return attend(query, key, value, cu_seq_lens_q, max_length_q, scaling), None


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    q, k, v = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))  # (tokens, heads, size)
    grouped = {"enable_gqa": True} if GROUPED else {}
    output = varlen_attn(
        q, k, v, starts, starts, longest, longest, scale=scaling, window_size=(-1, 0), **grouped
    )
    assert isinstance(output, torch.Tensor)
    return output.unsqueeze(0)


@torch.compiler.disable
def _each_sample(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    edges = starts.tolist()
    outputs = [
        functional.scaled_dot_product_attention(
            query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], is_causal=True, scale=scaling
        )
        for a, b in pairwise(edges)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2)


def _has_kernel(value: torch.Tensor) -> bool:
    """Variable-length kernels take half precision, on GPUs from Ampere on."""
    if value.device.type != "cuda" or value.dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_properties(value.device).major >= 8


AttentionInterface.register(PACKED, packed_attention)
