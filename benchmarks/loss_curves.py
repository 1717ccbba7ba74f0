"""The loss of XTuner's own step and of ours over the same batches, in the same order, from the same weights.

    llava-tuning data easy-vqa --out data/easy_vqa
    python -m benchmarks.loss_curves --data data/easy_vqa [--steps 200]

Both stages on the embedded model and easy-VQA: stage 1 trains the projector on captions; stage 2, from each
step's own projector, LoRA on conversations, without dropout, whose random numbers would differ. Writes
benchmarks/results/loss_curves.json and .png.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from llava_tuning.training import compat

compat.apply()

from benchmarks.train.report import environment  # noqa: E402
from benchmarks.train.shapes import SHAPES, Batch, Sample, Shapes  # noqa: E402
from benchmarks.train.steps import Ours, Task, XTuner  # noqa: E402
from llava_tuning.models.default import PARTS  # noqa: E402
from llava_tuning.models.smollm2 import smollm2_directory  # noqa: E402
from llava_tuning.training.dataset import RecordsDataset  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
STAGES = {
    "pretrain": Task("pretrain", "frozen", lr=1e-3),
    "finetune": Task("finetune", "lora", rank=16, dropout=0.0, lr=2e-4),
}
SUBJECTS: dict[str, tuple[type, dict[str, Any]]] = {
    "XTuner": (XTuner, {}),
    "ours": (Ours, {}),
    "ours, float8": (Ours, {"frozen_fp8": True}),
}
SMOOTHING = 20  # steps of the moving average
PROJECTOR_SEED = 3


def batches(folder: Path, stage: str, weights: tuple[str, str], size: int, count: int) -> list[Batch]:
    """The first batches of a fixed random order of easy-VQA's records."""
    data = RecordsDataset(str(folder / f"{stage}.json"), str(folder), *weights, max_length=512)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    out = []
    for step in range(count):
        rows = [data[order[(step * size + i) % len(order)]] for i in range(size)]
        out.append(Batch([Sample(r["input_ids"], r["labels"], r.get("pixel_values")) for r in rows]))
    return out


def losses(
    subject: Any, data: list[Batch], projector: dict[str, torch.Tensor] | None
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Each step's loss, and the projector afterwards; learning rate as in the configs."""
    model, optimizer = subject.model, subject.optimizer
    if projector is None:
        torch.manual_seed(PROJECTOR_SEED)
        projector = {
            name: torch.randn(value.shape) * value.shape[-1] ** -0.5
            for name, value in model.projector.state_dict().items()
        }
    model.projector.load_state_dict(projector)
    highest, warm_up, total = optimizer.param_groups[0]["lr"], max(2, len(data) // 33), len(data)
    found = []
    for step, batch in enumerate(data):
        done = torch.tensor(max(0, step - warm_up) / max(1, total - warm_up))
        share = (step + 1) / warm_up if step < warm_up else float(0.5 + 0.5 * torch.cos(torch.pi * done))
        optimizer.param_groups[0]["lr"] = highest * share
        found.append(float(subject.step(subject.data(batch))))
    return found, {name: value.float().cpu() for name, value in model.projector.state_dict().items()}


def smooth(values: list[float]) -> list[float]:
    """Means over `SMOOTHING` steps."""
    rows = torch.tensor(values, dtype=torch.float64).unfold(0, SMOOTHING, 1)
    means: list[float] = rows.mean(dim=1).tolist()
    return means


def draw(curves: dict[str, dict[str, list[float]]], out: Path) -> None:
    """One panel a stage: each step's loss, pale, and its moving average."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(curves), figsize=(11, 4), dpi=110)
    colours = ("#c0392b", "#1f4e8c", "#27ae60")
    for panel, (stage, lines) in zip(panels, curves.items(), strict=True):
        for colour, (name, values) in zip(colours, lines.items(), strict=False):
            panel.plot(values, color=colour, alpha=0.25, linewidth=0.7)
            means = smooth(values)
            panel.plot(range(SMOOTHING - 1, len(values)), means, color=colour, label=name, linewidth=1.4)
        panel.set(title=stage, xlabel="step", ylabel="loss (nats per supervised token)", yscale="log")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.tight_layout()
    figure.savefig(out)


def main() -> None:
    """Train each subject through both stages; print how far the smoothed curves lie apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="directory of `data easy-vqa`")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, default=RESULTS / "loss_curves.json")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = (str(smollm2_directory()), str(PARTS / "vision_tower"))
    shapes: Shapes = replace(SHAPES["demo"], weights=weights)
    curves: dict[str, dict[str, list[float]]] = {}
    projectors: dict[str, dict[str, torch.Tensor] | None] = dict.fromkeys(SUBJECTS)
    for stage, task in STAGES.items():
        data = batches(arguments.data, stage, weights, arguments.batch, arguments.steps)
        curves[stage] = {}
        for name, (build, options) in SUBJECTS.items():
            if options and device == "cpu":
                continue  # float8 pays on GPUs alone
            torch.manual_seed(0)  # the adapters begin alike
            subject = build(shapes, task, device, **options)
            found, projectors[name] = losses(subject, data, projectors[name])
            curves[stage][name] = found
            print(stage, name, [round(value, 4) for value in smooth(found)[::20]], flush=True)
            del subject
            gc.collect()
            if device == "cuda":
                torch._dynamo.reset()
    apart: dict[str, dict[str, float]] = {}
    for stage, lines in curves.items():
        reference = torch.tensor(smooth(lines["XTuner"]))
        for name, values in lines.items():
            difference = (torch.tensor(smooth(values)) / reference - 1).abs()
            apart.setdefault(stage, {})[name] = round(float(difference.max()), 5)
            mean = difference.mean()
            print(f"{stage}: {name} is at most {difference.max():.2%}, on average {mean:.2%} off XTuner")
    result = {
        **environment("benchmarks.loss_curves", sys.argv),
        "largest_difference_of_smoothed_curves": apart,
        "losses": {
            s: {n: [round(v, 5) for v in vs] for n, vs in lines.items()} for s, lines in curves.items()
        },
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")
    draw(curves, arguments.out.with_suffix(".png"))
    print(arguments.out)


if __name__ == "__main__":
    main()
