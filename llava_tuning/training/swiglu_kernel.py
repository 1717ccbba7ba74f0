"""The GPU kernel of `swiglu_grad_float8`: one program a row, which is read once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def _rows(gate, up, grad, out, scale, inner, smallest, largest, width: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, width)
    inside = column < inner
    at = row * inner + column
    g = tl.load(gate + at, mask=inside, other=0.0).to(tl.float32)
    u = tl.load(up + at, mask=inside, other=0.0).to(tl.float32)
    d = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
    sigmoid = tl.sigmoid(g)
    to_gate = d * u * sigmoid * (1 + g * (1 - sigmoid))
    to_up = d * g * sigmoid
    most = tl.maximum(tl.max(tl.abs(to_gate), axis=0), tl.max(tl.abs(to_up), axis=0))
    unit = tl.maximum(most, smallest) / largest
    tl.store(scale + row, unit)
    begin = out + row * 2 * inner
    tl.store(begin + column, (to_gate / unit).to(tl.float8e4nv), mask=inside)
    tl.store(begin + inner + column, (to_up / unit).to(tl.float8e4nv), mask=inside)


def swiglu_grad_rows(
    gate: torch.Tensor,
    up: torch.Tensor,
    grad: torch.Tensor,
    out: torch.Tensor,
    scale: torch.Tensor,
    inner: int,
    smallest: float,
    largest: float,
) -> None:
    """Fill `out`, (rows, 2 * inner), and `scale`, (rows, 1); all contiguous, on one GPU."""
    width = triton.next_power_of_2(inner)
    _rows[(gate.shape[0],)](
        gate, up, grad, out, scale, inner, smallest, largest, width, num_warps=16 if width > 4096 else 8
    )
