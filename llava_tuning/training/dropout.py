"""Dropout of adapters' inputs whose mask is a hash of the position: cheap enough to be computed twice.

Compiled code draws each random number of `nn.Dropout` from ten rounds of Philox, which took longer than all
else in the kernels around it, and keeps a byte per value for the backward pass. Three rounds of
multiplication and shift mix well enough for a mask, and the backward pass makes it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

# Odd multipliers of MurmurHash3's finaliser and of xxHash32 (public domain, BSD 2-clause), as signed numbers.
_FIRST, _SECOND, _THIRD = 0x9E3779B1 - 2**32, 0x85EBCA6B - 2**32, 0xC2B2AE35 - 2**32
_BITS = 24  # of the hash that are compared with the rate


def keep(shape: Sequence[int], seed: torch.Tensor, rate: float) -> torch.Tensor:
    """Which of `shape`'s values stay, a share of 1 - `rate`; `seed` is an int32 scalar, and decides."""
    positions = torch.zeros((), dtype=torch.int32, device=seed.device)
    for size in shape:
        positions = positions[..., None] * size + torch.arange(size, dtype=torch.int32, device=seed.device)
    mixed = (positions ^ seed) * _FIRST
    mixed = ((mixed ^ (mixed >> 15 & 0x1FFFF)) + seed) * _SECOND  # else masks would be permutations of others
    mixed = (mixed ^ (mixed >> 13 & 0x7FFFF)) * _THIRD
    return (mixed >> (32 - _BITS) & (2**_BITS - 1)) >= int(rate * 2**_BITS)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, seed: torch.Tensor, rate: float) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(seed)
        ctx.rate = rate
        return torch.where(keep(x.shape, seed, rate), x / (1 - rate), 0.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[override]
        (seed,) = ctx.saved_tensors
        kept = torch.where(keep(grad.shape, seed, ctx.rate), grad / (1 - ctx.rate), 0.0)
        return kept.to(grad.dtype), None, None


@torch.compiler.allow_in_graph
def hashed_dropout(x: torch.Tensor, seed: torch.Tensor, rate: float) -> torch.Tensor:
    """`x` with a share of `rate` set to zero and the rest divided by 1 - `rate`."""
    dropped: torch.Tensor = _Dropout.apply(x, seed, rate)
    return dropped


class HashedDropout(nn.Dropout):
    """`nn.Dropout`, but `hashed_dropout` in compiled code: call `draw_seeds` before each step."""

    seed: torch.Tensor

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.register_buffer("seed", torch.zeros((), dtype=torch.int32), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and torch.compiler.is_compiling():
            return hashed_dropout(x, self.seed, self.p)
        return super().forward(x)


def hash_dropouts(adapters: Iterable[Any]) -> list[HashedDropout]:
    """Replace the `nn.Dropout`s of peft's adapted layers; returns what stands in their place."""
    replaced = []
    for layer in adapters:
        for name, dropout in layer.lora_dropout.items():
            if type(dropout) is nn.Dropout:
                layer.lora_dropout[name] = HashedDropout(dropout.p)
                replaced.append(layer.lora_dropout[name])
    return replaced


def draw_seeds(dropouts: Sequence[HashedDropout]) -> None:
    """New masks, from the global random numbers of the dropouts' device."""
    if dropouts:
        seeds = [dropout.seed for dropout in dropouts]
        new = torch.randint(-(2**31), 2**31, (len(seeds),), dtype=torch.int32, device=seeds[0].device)
        torch._foreach_copy_(seeds, list(new.unbind()))
