"""Which number format a machine computes fastest in."""

from __future__ import annotations

import torch


def fast_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float16 (older GPUs) or float32 (CPUs).

    On a CPU without AVX512-BF16 or AMX, bfloat16 is emulated and slower than float32.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    features = torch.cpu.get_capabilities()
    return torch.bfloat16 if features.get("avx512_bf16") or features.get("amx_bf16") else torch.float32
