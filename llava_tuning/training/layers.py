"""The steps of a training forward pass: one layer each, compiled once for all layers and all lengths."""

from __future__ import annotations

import functools
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from llava_tuning.training.attention import Layout, packed_attention

Step = Callable[..., torch.Tensor]
FUSED = "fused_projections"  # where `fuse_projections` leaves a module's weights


def vision_layer(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    """A layer of CLIP; `hidden` is (pictures, 1 + patches, vision hidden)."""
    output: torch.Tensor = layer(hidden, None)
    return output


def decoder_layer(
    layer: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    layout: Layout,
) -> torch.Tensor:
    """A layer of Llama over a packed row; `hidden` is (1, tokens, hidden).

    Args:
        rotary: cosine and sine, (1, tokens, head size) each.
        layout: where the samples lie.
    """
    hidden = hidden + _attend(layer, hidden, rotary, layout)
    return hidden + _feed_forward(layer, hidden)


def last_decoder_layer(
    layer: Any,
    hidden: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    layout: Layout,
    at: torch.Tensor,
) -> torch.Tensor:
    """The last layer, which has to go on only at the positions `at`: (positions, hidden)."""
    attended = _attend(layer, hidden, rotary, layout)
    hidden = hidden[0, at] + attended[0, at]
    return hidden + _feed_forward(layer, hidden)


def _attend(
    layer: Any, hidden: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor], layout: Layout
) -> torch.Tensor:
    attention = layer.self_attn
    normed = layer.input_layernorm(hidden)
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    query, key, value = (
        part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)  # (1, heads, tokens, head size)
        for part in _project(normed, projections, getattr(attention, FUSED, None))
    )
    query, key = apply_rotary_pos_emb(query, key, *rotary)
    attended, _ = packed_attention(attention, query, key, value, layout=layout, scaling=attention.scaling)
    output: torch.Tensor = attention.o_proj(attended.flatten(-2))
    return output


def _feed_forward(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    mlp = layer.mlp
    normed = layer.post_attention_layernorm(hidden)
    gate, up = _project(normed, (mlp.gate_proj, mlp.up_proj), getattr(mlp, FUSED, None))
    output: torch.Tensor = mlp.down_proj(mlp.act_fn(gate) * up)
    return output


def _project(x: torch.Tensor, linears: Sequence[Any], fused: torch.Tensor | None) -> Sequence[torch.Tensor]:
    if fused is None:
        return [linear(x) for linear in linears]
    return functional.linear(x, fused).split([linear.out_features for linear in linears], dim=-1)


def fuse_projections(layers: nn.ModuleList) -> None:
    """One matrix product where frozen projections read the same input: query, key and value; gate and up.

    The weights of the single projections become views of the fused ones, so no memory is added. Call it
    where the weights will stay: moving them to another device would part them again.
    """
    for layer in layers:
        attention, mlp = layer.self_attn, layer.mlp
        _fuse(attention, (attention.q_proj, attention.k_proj, attention.v_proj))
        _fuse(mlp, (mlp.gate_proj, mlp.up_proj))


def _fuse(module: Any, linears: Sequence[Any]) -> None:
    if any(
        type(part) is not nn.Linear or part.weight.requires_grad or part.bias is not None for part in linears
    ):
        return
    fused = torch.cat([linear.weight.detach() for linear in linears])
    for linear, rows in zip(linears, fused.split([part.out_features for part in linears]), strict=True):
        linear.weight.data = rows
    torch._dynamo.mark_static(fused)  # type: ignore[no-untyped-call]
    setattr(module, FUSED, fused)


@functools.cache
def compiled(step: Step) -> Step:
    """`step` compiled for any number of tokens and pictures; itself where nothing can be compiled.

    The weights are inputs of the compiled code, so all layers of a stack share it.
    """
    if not torch.cuda.is_available():
        return step
    if not (os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))):
        warnings.warn("no C compiler found: the layers are not compiled; install gcc", stacklevel=2)
        return step
    return torch.compile(step, dynamic=True)
