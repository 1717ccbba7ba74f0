"""One training step of XTuner 0.2.0, of transformers' LLaVA and of this project, on the same batches.

    python -m benchmarks.train_step [--shapes internlm2_1_8b] [--tasks pretrain,full] [--memory 24]
    python -m benchmarks.train_step --shapes demo --data demo/data --tasks pretrain,lora_r16

Weights are random and lengths follow `benchmarks/train/shapes.py`; with `--data` they are the embedded
model's, over records as `llava-tuning data` makes them. Each row is written to the result file as
soon as it is measured, and rows that the file holds are not measured again.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from llava_tuning.training import compat

compat.apply()

from benchmarks.train.report import describe, environment  # noqa: E402
from benchmarks.train.shapes import (  # noqa: E402
    SHAPES,
    Shapes,
    build_llm,
    load_of,
    make_batches,
    read_batches,
    training_of,
)
from benchmarks.train.steps import TASKS, Ours, Task, Transformers, XTuner  # noqa: E402
from llava_tuning.models.default import PARTS  # noqa: E402
from llava_tuning.models.smollm2 import smollm2_directory  # noqa: E402
from llava_tuning.training.estimate import flop  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP = 4
PASSES = 2  # over the timed batches, one step after the other; the faster one counts
UNCOMPILED = "ours, layers not compiled"
GRAPHED = "ours, CUDA graph of the vision tower"
# What the comparison runs: name, step, and its arguments.
RIVALS: list[tuple[str, type, dict[str, Any]]] = [
    ("XTuner as shipped", XTuner, {}),
    ("transformers, checkpointing", Transformers, {}),
    ("transformers", Transformers, {"checkpointing": False}),
    ("ours", Ours, {"frozen_fp8": "backward"}),  # as by default, where anything is frozen
    ("ours, no float8", Ours, {"frozen_fp8": False}),
    ("ours, float8 both ways", Ours, {"frozen_fp8": True}),
    (GRAPHED, Ours, {"frozen_fp8": "backward", "vision_cuda_graph": True}),
    (UNCOMPILED, Ours, {"without": "compiled layers"}),  # on a CPU; a GPU's is among --techniques
]
TECHNIQUES = (
    "compiled layers",
    "recomputing only where needed",
    "packing",
    "head at supervised positions",
    "bfloat16 vision tower",
    "no gradient through frozen parts",
    "fused AdamW",
    "float8 gradients",
)


def measure(
    build: type,
    arguments: dict[str, Any],
    shapes: Shapes,
    task: Task,
    size: int,
    steps: int,
    device: str,
    data: Path | None = None,
) -> dict[str, Any]:
    """Samples and tokens a second over `steps` steps, peak memory and the last loss; or `error`."""
    row: dict[str, Any] = {"batch": size}
    if data is None:
        batches = make_batches(shapes, task.stage, size, WARM_UP + steps)
    else:
        assert shapes.weights is not None
        batches = read_batches(data, task.stage, shapes.weights, size, WARM_UP + steps)
    subject: Any = None
    first = 0.0
    try:
        subject = build(shapes, task, device, **arguments)
        inputs = [subject.data(batch) for batch in batches]
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        # The longest first, so that a lack of memory shows at once.
        for i in sorted(range(WARM_UP), key=lambda i: -batches[i].tokens):
            start = _now(device)
            subject.step(pinned(inputs[i], device))
            first = first or _now(device) - start
        total = float("inf")
        for _ in range(PASSES):
            ready = [pinned(data, device) for data in inputs[WARM_UP:]]
            start = _now(device)
            losses = [subject.step(data) for data in ready]
            total = min(total, _now(device) - start)
        loss = float(losses[-1])
        timed = batches[WARM_UP:]
        work = sum(flop(training_of(shapes, task), load_of(batch)) for batch in timed)
        row |= {
            "samples_per_s": round(size * len(timed) / total, 2),
            "tokens_per_s": round(sum(batch.tokens for batch in timed) / total),
            "tflop_per_s": round(work / total / 1e12, 2),
            "seconds_a_step": round(total / steps, 4),
            "first_step_s": round(first, 1),
            "loss": round(loss, 4),
        }
        if device == "cuda":
            hidden = getattr(subject.model, "hidden_bytes", 0)
            row["peak_gib"] = round((torch.cuda.max_memory_allocated() + hidden) / 2**30, 2)
        recompute = getattr(subject.model, "_text_memory", None)
        if recompute is not None:
            row["layers_recomputed"] = recompute.recomputed
    except torch.OutOfMemoryError:
        row["error"] = "out of memory"
    del subject
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch._dynamo.reset()
    return row


def pinned(data: dict[str, Any], device: str) -> dict[str, Any]:
    """A copy of a batch in pinned memory, as data loaders hand them out."""

    def pin(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: pin(part) for name, part in value.items()}
        return value.pin_memory() if device == "cuda" and isinstance(value, torch.Tensor) else value

    return cast("dict[str, Any]", pin(data))


def largest_that_fits(build: type, arguments: dict[str, Any], most: int, *rest: Any) -> dict[str, Any]:
    """`measure` at the largest of the usual batch sizes, `most` at most, that memory has room for."""
    row: dict[str, Any] = {}
    for size in (size for size in (32, 16, 8, 4, 2, 1) if size <= most):
        shapes, task, *circumstances = rest
        row = measure(build, arguments, shapes, task, size, *circumstances)
        if "error" not in row:
            break
    return row


def matmul_rate() -> float:
    """TFLOP/s of a bfloat16 product of two random 8192 × 8192 matrices on the GPU."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    start = _now("cuda")
    for _ in range(20):
        a @ b
    return 20 * 2 * 8192**3 / (_now("cuda") - start) / 1e12


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measure what is asked for, write each row, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", choices=SHAPES, default="internlm2_1_8b")
    parser.add_argument("--data", type=Path, help="directory of records for the demo's shapes")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--rivals", default="", help="separated by semicolons; all by default")
    parser.add_argument("--techniques", action="store_true", help="each technique left out, one at a time")
    parser.add_argument("--memory", type=int, help="GiB: pretend that the card has no more; largest batch")
    parser.add_argument(
        "--batch", type=int, help="samples a step, instead of the config's; with --memory, at most"
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    asked = arguments.rivals.split(";") if arguments.rivals else []
    if unknown := set(asked) - {name for name, *_ in RIVALS}:
        parser.error(
            f"--rivals {';'.join(sorted(unknown))}: choose of {'; '.join(name for name, *_ in RIVALS)}"
        )
    if UNCOMPILED in asked and device != "cpu":
        parser.error(f"--rivals {UNCOMPILED}: for a CPU; on a GPU it is among --techniques")
    shapes = SHAPES[arguments.shapes]
    if arguments.data and arguments.shapes != "demo":
        parser.error("--data: the embedded model's tokens; give --shapes demo")
    if arguments.data:
        shapes = replace(shapes, weights=(str(smollm2_directory()), str(PARTS / "vision_tower")))
    if device == "cpu":
        shapes = replace(shapes, dtype=_cpu_dtype())
    if arguments.memory and device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, arguments.memory / total))
    records = f"_{arguments.data.name}" if arguments.data else ""
    out = arguments.out or RESULTS / f"train_step_{arguments.shapes}{records}.json"
    result = json.loads(out.read_text()) if out.exists() else {"rows": []}
    circumstances = environment("benchmarks.train_step", sys.argv)
    if result["rows"] and result["hardware"] != circumstances["hardware"]:
        parser.error(f"{out} holds results of {result['hardware']}: give --out for those of this machine")
    print(f"{len(result['rows'])} rows were measured before, {result.get('date', 'never')}", flush=True)
    result |= circumstances
    if device == "cuda" and "matmul_tflop_per_s" not in result:
        result["matmul_tflop_per_s"] = round(matmul_rate(), 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.tasks.split(","):
            task = TASKS[name]
            if name.startswith("qlora"):
                if device == "cpu":
                    continue
                build_llm(shapes, torch.bfloat16, "sdpa", device).save_pretrained(folder)
                task = replace(task, four_bit=folder)
            subjects = [rival for rival in RIVALS if not asked or rival[0] in asked]
            if arguments.techniques:
                ours = {"frozen_fp8": "backward"}
                subjects = [("ours", Ours, ours)]
                subjects += [(f"without {t}", Ours, {**ours, "without": t}) for t in TECHNIQUES]
            for rival, build, options in subjects:
                if (rival == UNCOMPILED and device != "cpu") or (rival == GRAPHED and not task.vision_rank):
                    continue
                if build is Ours and (device == "cpu" or task.kind == "full" or task.four_bit):
                    if rival not in ("ours", UNCOMPILED, *(f"without {t}" for t in TECHNIQUES[:-1])):
                        continue  # no such hardware, next to nothing is frozen, or it is in 4 bits
                    options = {**options, "frozen_fp8": False}
                key = {"task": name, "step": rival, "memory_gib": arguments.memory}
                key["techniques"] = arguments.techniques
                if any(all(row[k] == v for k, v in key.items()) for row in result["rows"]):
                    continue
                if build is Ours and arguments.memory:
                    options = {**options, "memory_limit": 0.97 * arguments.memory}
                rest = (shapes, task, arguments.steps, device, arguments.data)
                if arguments.memory:
                    row = largest_that_fits(build, options, arguments.batch or 32, *rest)
                else:
                    size = arguments.batch or shapes.batch[task.stage]
                    row = measure(build, options, shapes, task, size, *rest[2:])
                    if "error" in row:
                        row = measure(build, options, shapes, task, size // 2, *rest[2:])
                origin = {name: circumstances[name] for name in ("date", "command")}
                result["rows"].append({**key, **origin, **row})
                print(json.dumps(result["rows"][-1]), flush=True)
                out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(describe(result))
    print(out)


def _cpu_dtype() -> torch.dtype:
    from llava_tuning.models.precision import fast_dtype

    return fast_dtype("cpu")


if __name__ == "__main__":
    main()
