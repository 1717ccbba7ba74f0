"""Which number formats a processor computes fast."""

from __future__ import annotations

from typing import Any

import torch


def cpu_features() -> dict[str, Any]:
    """The CPU's instructions by PyTorch's names; empty where this PyTorch (before 2.8) does not tell."""
    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return features


def fast_dtype(device: str) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, else float16 (older GPUs) or float32 (CPUs).

    On a CPU without AVX512-BF16 or AMX, bfloat16 is emulated and slower than float32.
    """
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    features = cpu_features()
    return torch.bfloat16 if features.get("avx512_bf16") or features.get("amx_bf16") else torch.float32


def multiplies_int8(features: dict[str, Any]) -> bool:
    """Whether a CPU with these features sums products of int8 exactly (VNNI); AVX2 alone saturates."""
    return bool(features.get("avx512_vnni") or features.get("avx_vnni"))
