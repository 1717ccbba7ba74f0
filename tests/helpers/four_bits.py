"""Layers as bitsandbytes quantises them."""

from __future__ import annotations

import torch
from bitsandbytes.nn import Linear4bit, Params4bit


def quantised(rows: int, columns: int, bias: bool = False, nested: bool = False) -> Linear4bit:
    """A frozen NF4 layer of random weights; `nested` quantises its scales as well."""
    torch.manual_seed(0)
    layer = Linear4bit(columns, rows, bias=bias, compute_dtype=torch.float32, quant_type="nf4")
    options = {"requires_grad": False, "compress_statistics": nested, "quant_type": "nf4"}
    layer.weight = Params4bit(torch.randn(rows, columns), **options)
    return layer.requires_grad_(False).to("cpu")
