"""What of an adapter's first updates arrives in the loss: float32, and half precision two ways.

    llava-tuning data easy-vqa --out demo/data
    python -m benchmarks.adapter_precision --data demo/data

LoRA of rank 16 on the embedded model, from new adapters, over one batch again and again, with a learning rate
that warms up. In half precision peft's layers add the adapter's product to the frozen one, which is rounded
already; ours add the frozen product to twice the half of the adapter's and round the sum. On a GPU XTuner's
float16 AMP with its loss's scale settled stands beside them. Before that, the sum alone: how much of a small
addend arrives in it, by the ways to write it. Writes benchmarks/results/adapter_precision_cpu.json, or _cuda.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file

from llava_tuning.training import compat

compat.apply()

from benchmarks.loss_curves import STAGES  # noqa: E402
from benchmarks.train.report import environment  # noqa: E402
from benchmarks.train.shapes import SHAPES, Batch, read_batches  # noqa: E402
from benchmarks.train.steps import Ours, XTuner  # noqa: E402
from llava_tuning.models.default import PARTS  # noqa: E402
from llava_tuning.models.smollm2 import smollm2_directory  # noqa: E402
from llava_tuning.training import language_model  # noqa: E402
from llava_tuning.training.added_product import double_and_add_product  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
WARM_UP = 6  # steps, as in 200 of XTuner's


@contextlib.contextmanager
def pefts_layers() -> Iterator[None]:
    """Models that are built here keep peft's own order of sums."""
    with mock.patch.object(language_model, "add_in_place", lambda adapted: None):
        yield


def losses(subject: Any, batch: Batch, steps: int) -> list[float]:
    """The batch's loss before each of the steps, from the embedded projector and new adapters."""
    subject.model.projector.model.load_state_dict(load_file(PARTS / "projector.safetensors"))
    found = []
    for step in range(steps):
        subject.optimizer.param_groups[0]["lr"] = STAGES["finetune"].lr * min(1.0, (step + 1) / WARM_UP)
        found.append(round(float(subject.step(subject.data(batch)).detach()), 4))
    return found


def sums(device: str) -> dict[str, float]:
    """The share of an addend of 1e-3 that is in its sum with a bfloat16 product of 1, by how it is added."""
    torch.manual_seed(0)
    rows = torch.randn(8192, 576).bfloat16().to(device)
    weight = (torch.randn(1536, 576) / 24).bfloat16().to(device)
    addend = (torch.randn(8192, 1536) * 1e-3).bfloat16().to(device)
    halved = addend / 2  # exactly
    double_and_add_product(halved, rows, weight)
    ways = {
        "addend + product": rows @ weight.t() + addend,
        "product added in place": addend.clone().addmm_(rows, weight.t()),
        "product added in place to twice the half": halved,
        "torch.addmm": torch.addmm(addend, rows, weight.t()),
        "torch.addmm in float32": torch.addmm(addend.float(), rows.float(), weight.float().t()).bfloat16(),
    }
    exact, small = rows.double() @ weight.double().t(), addend.double()
    shares = {
        name: float(((found.double() - exact) * small).sum() / small.square().sum())
        for name, found in ways.items()
    }
    return {name: round(share, 4) for name, share in shares.items()}


def main() -> None:
    """Train each subject for a few steps; print its losses, and how much of float32's progress they make."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="directory of `data easy-vqa` or `data scenes`"
    )
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error(f"--steps {arguments.steps}: what a step gained shows in the next; give 2 or more")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    out = arguments.out or RESULTS / f"adapter_precision_{device}.json"
    shares = sums(device)
    print("\n".join(f"{way:42s} {share:.1%} of the addend" for way, share in shares.items()), flush=True)
    weights = (str(smollm2_directory()), str(PARTS / "vision_tower"))
    shapes = replace(SHAPES["demo"], weights=weights)
    (batch,) = read_batches(arguments.data, "finetune", weights, arguments.batch, 1)
    half, whole = torch.bfloat16, torch.float32
    subjects: list[tuple[str, type, torch.dtype, dict[str, Any]]] = [
        ("XTuner, float32", XTuner, whole, {"amp": False}),
        ("ours, float32", Ours, whole, {"without": "compiled layers"}),
        ("ours, bfloat16", Ours, half, {"without": "compiled layers"}),
        ("peft's layers, bfloat16", Ours, half, {"without": "compiled layers"}),
    ]
    if device == "cuda":
        subjects.append(("XTuner, float16", XTuner, half, {"loss_scale": {"init_scale": 8192.0}}))
    rows: list[dict[str, Any]] = []
    for name, build, dtype, options in subjects:
        torch.manual_seed(0)  # the adapters begin alike
        with pefts_layers() if name.startswith("peft") else contextlib.nullcontext():
            subject = build(replace(shapes, dtype=dtype), STAGES["finetune"], device, **options)
        found = losses(subject, batch, arguments.steps)
        share = (found[0] - found[1]) / (rows[0]["losses"][0] - rows[0]["losses"][1]) if rows else 1.0
        rows.append({"subject": name, "losses": found, "share_of_the_first_update": round(share, 3)})
        print(f"{name:24s} {found}  {share:.0%} of what float32's first update gains", flush=True)
        del subject
    result = {**environment("benchmarks.adapter_precision", sys.argv), "sums": shares, "rows": rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
