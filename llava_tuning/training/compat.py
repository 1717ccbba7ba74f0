"""What XTuner 0.2.0 and mmengine 0.10.7 need to run beside current PyTorch and transformers.

Call `apply()` before anything of XTuner or mmengine is imported. Each line says why it is there.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import torch
import transformers.utils


def apply() -> None:
    """Patch in place; calling it twice changes nothing."""
    # XTuner imports a check that transformers 5 dropped, because safetensors became a requirement.
    if not hasattr(transformers.utils, "is_safetensors_available"):
        transformers.utils.is_safetensors_available = lambda: True  # type: ignore[attr-defined]
    # XTuner asks the device module for bfloat16 support; the CPU's module has no such question.
    if not hasattr(torch.cpu, "is_bf16_supported"):
        torch.cpu.is_bf16_supported = lambda: True  # type: ignore[attr-defined]
    # mmengine selects a CUDA device in every process of a distributed run, also where there is none.
    if not torch.cuda.is_available():
        torch.cuda.set_device = lambda device: None
    _add_onebit_optimizers()


def _add_onebit_optimizers() -> None:
    """mmengine registers three compressing optimizers of DeepSpeed, which DeepSpeed has since dropped."""
    name = "deepspeed.runtime.fp16.onebit"
    if importlib.util.find_spec("deepspeed") is None or name in sys.modules:
        return
    if importlib.util.find_spec(name) is None:
        absent = ModuleType(name)
        for optimizer in ("OnebitAdam", "OnebitLamb", "ZeroOneAdam"):
            setattr(absent, optimizer, type(optimizer, (torch.optim.Optimizer,), {}))
        sys.modules[name] = absent
