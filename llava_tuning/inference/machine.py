"""What this machine has: memory that is free, cards, and the number formats that it computes."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
_GROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60  # how control groups of version 1 say that there is no limit


@dataclass(frozen=True)
class Gpu:
    """A card; memory in bytes."""

    index: int
    name: str
    total: int
    free: int
    bfloat16: bool


@dataclass(frozen=True)
class Machine:
    """Memory in bytes: `total` and `free` are what this process may use, a container's limit respected.

    `bfloat16` and `int8` say whether the CPU computes in these formats.
    """

    cpu: str
    cores: int
    total: int
    free: int
    bfloat16: bool
    int8: bool
    gpus: tuple[Gpu, ...] = ()


def find_machine() -> Machine:
    """Look at this machine. Cards whose memory cannot be asked for, as on ZeroGPU, have 0 bytes of it."""
    import psutil
    import torch

    from llava_tuning.models.precision import cpu_features, fast_dtype, multiplies_int8

    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    for limit, used in _limits():
        total, free = min(total, limit), min(free, max(0, limit - used))
    features = cpu_features()
    return Machine(
        str(features.get("cpu_name") or platform.processor() or platform.machine()).strip(),
        _cores(),
        total,
        free,
        fast_dtype("cpu") == torch.bfloat16,
        multiplies_int8(features),
        tuple(_gpu(index) for index in range(torch.cuda.device_count())) if torch.cuda.is_available() else (),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu(index: int) -> Gpu:
    import torch

    properties = torch.cuda.get_device_properties(index)
    try:
        free, total = torch.cuda.mem_get_info(index)
    except (RuntimeError, AssertionError):
        free = total = 0
    return Gpu(index, properties.name, total, free, properties.major >= 8)


def _limits() -> list[tuple[int, int]]:
    """(limit, used) in bytes of each control group that this process is in and that has a limit."""
    found = []
    for folder in _control_groups():
        for limit_file, used_file, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            try:
                limit = int((folder / limit_file).read_text())
                used = int((folder / used_file).read_text())
                numbers = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):  # no such group, or its limit is "max"
                continue
            if limit < _UNLIMITED:
                found.append((limit, used - int(numbers.get(cache, 0))))
    return found


def _control_groups() -> list[Path]:
    """This process's own and those above it; in a container its own is the root."""
    groups = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _GROUPS / controllers if controllers else _GROUPS
        own = root / path.lstrip("/")
        groups += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return groups
