"""Matrix products in int8 on a CPU: a scale for each row of weights, and one for each token's inputs.

`torch._int_mm` sums products of int8 in int32, exactly where the CPU has VNNI; bitsandbytes and torchao use
it too. A token's scale is its own, so an answer does not depend on what else is in its batch.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap

import torch
from torch import nn

LARGEST = 127
_NOT_NEEDED = 4  # MADV_DONTNEED of madvise(2) on Linux


class Int8Linear(nn.Module):
    """A frozen `nn.Linear` with an int8 weight; input and output keep their dtype."""

    weight: torch.Tensor  # (out, in), int8
    scales: torch.Tensor  # (out,), float32
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        quantised, scales = _quantise(weight)
        self.register_buffer("weight", quantised, persistent=False)
        self.register_buffer("scales", scales[:, 0], persistent=False)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().clone(), False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) → (..., out)."""
        rows, scales = _quantise(x.reshape(-1, self.in_features).float())  # (tokens, in), (tokens, 1)
        product = torch._int_mm(rows, self.weight.t()).float()  # (tokens, out)
        product.mul_(scales).mul_(self.scales)
        if self.bias is not None:
            product.add_(self.bias)
        return product.to(x.dtype).reshape(*x.shape[:-1], self.out_features)


def _quantise(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's values as int8, and what they are multiples of, (rows, 1)."""
    scales = rows.abs().amax(-1, keepdim=True).clamp(min=1e-12) / LARGEST
    return rows.div(scales).round_().to(torch.int8), scales


def convert_int8(layers: nn.Module) -> None:
    """Replace every linear layer below `layers`, one at a time, so that little memory is taken twice."""
    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, Int8Linear(child))
                _forget(child.weight)


def _forget(weight: torch.Tensor) -> None:
    """Tell the system that a weight mapped from its file is not needed: its pages leave the memory now.

    The whole file stays mapped until its last tensor goes, and what was read of it counts as used so long.
    Nobody may use the weight afterwards: where it is not mapped, its values are lost.
    """
    page = mmap.PAGESIZE
    first = -(-weight.data_ptr() // page) * page
    length = (weight.data_ptr() + weight.nbytes - first) // page * page
    with contextlib.suppress(OSError, AttributeError):  # another C library
        if length > 0:
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _NOT_NEEDED)
