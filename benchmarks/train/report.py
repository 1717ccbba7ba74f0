"""What a result file says of its circumstances, and its rows as tables."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import peft
import torch
import transformers

from llava_tuning.training.estimate import FLOP_FORMULA


def environment(module: str, argv: list[str]) -> dict[str, Any]:
    """Date, command, hardware and versions; `module` is what `python -m` runs."""
    shown = [part for i, part in enumerate(argv) if "--out" not in (part, argv[i - 1])][1:]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    optional = {name: found for name in ("deepspeed",) if (found := _version(name))}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", module, *shown]),
        "hardware": gpu or f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "xtuner": "0.2.0",
        **optional,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe(result: dict[str, Any]) -> str:
    """A table for each task and kind of comparison; ratios are to the task's first row and to "ours"."""
    lines = [
        f"TFLOP/s: useful floating-point operations, {FLOP_FORMULA}; of a matrix product's rate in brackets"
    ]
    rows = result["rows"]
    peak = result.get("matmul_tflop_per_s") or float("nan")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["memory_gib"], row["techniques"]), []).append(row)
    for (task, memory, _), chosen in groups.items():
        mine = next((r for r in chosen if r["step"] == "ours" and "error" not in r), None)
        lines.append(f"\n{task}" + (f", {memory} GiB" if memory else ""))
        for row in chosen:
            if "error" in row:
                lines.append(f"  {row['step']:40s} batch {row['batch']:3d}  {row['error']}")
                continue
            ratio = mine["samples_per_s"] / row["samples_per_s"] if mine else float("nan")
            lines.append(
                f"  {row['step']:40s} batch {row['batch']:3d} {row['samples_per_s']:8.2f} samples/s "
                f"{row['tokens_per_s']:8,d} tokens/s {row['tflop_per_s']:6.1f} TFLOP/s "
                f"({row['tflop_per_s'] / peak:4.0%})  {row.get('peak_gib', float('nan')):5.1f} GiB  "
                f"ours is {ratio:.2f}×  loss {row['loss']:.3f}"
            )
    return "\n".join(lines)
