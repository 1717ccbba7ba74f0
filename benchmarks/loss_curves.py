"""The loss of XTuner's own step and of ours over the same batches, in the same order, from the same weights.

    llava-tuning data scenes --out data/scenes --count 13500 --size 96
    python -m benchmarks.loss_curves --data data/scenes [--steps 200]

Both stages on the embedded model and drawn scenes, none seen twice: stage 1 trains the projector on captions;
stage 2, from XTuner's projector, LoRA on conversations, without dropout, whose random numbers would differ.
Training amplifies rounding, so XTuner in float32 beside XTuner in float16 shows how far two runs of the same
mathematics come apart. What each has trained is then given to XTuner's model in float32, for its loss on
scenes that no run saw. Writes benchmarks/results/loss_curves.json and .png.
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
    "XTuner, float32": (XTuner, {"amp": False}),
    "ours, float32": (Ours, {"without": "compiled layers"}),
    "ours": (Ours, {}),
    "ours, float8": (Ours, {"frozen_fp8": True}),
}
SMOOTHING = 20  # steps of the moving average
HELD_OUT = 8  # batches
PROJECTOR_SEED = 3


def batches(folder: Path, stage: str, weights: tuple[str, str], size: int, count: int) -> list[Batch]:
    """The first batches of a fixed random order of the records."""
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
    """Each step's loss, and the trained weights; learning rate as in the configs.

    `projector` is what training starts from; None for random numbers, always the same ones.
    """
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
        found.append(round(float(subject.step(subject.data(batch))), 5))
    trained = {n: w.detach().float().cpu() for n, w in model.named_parameters() if w.requires_grad}
    return found, trained


@torch.no_grad()
def held_out_loss(judge: XTuner, trained: dict[str, torch.Tensor], data: list[Batch]) -> float:
    """Mean loss over `data` of XTuner's model in float32 with the trained weights."""
    left = judge.model.load_state_dict(trained, strict=False)
    assert not left.unexpected_keys, left.unexpected_keys
    total = 0.0
    for batch in data:
        inputs = judge.model.data_preprocessor(judge.data(batch), True)
        total += float(judge.model(**inputs, mode="loss")["loss"])
    return total / len(data)


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

    figure, grid = pyplot.subplots(1, len(curves), figsize=(5.5 * len(curves), 4), dpi=110, squeeze=False)
    colours = ("#c0392b", "#e59866", "#85c1e9", "#1f4e8c", "#27ae60")
    for panel, (stage, lines) in zip(grid[0], curves.items(), strict=True):
        for colour, (name, values) in zip(colours, lines.items(), strict=False):
            panel.plot(values, color=colour, alpha=0.25, linewidth=0.7)
            means = smooth(values)
            panel.plot(range(SMOOTHING - 1, len(values)), means, color=colour, label=name, linewidth=1.4)
        panel.set(title=stage, xlabel="step", ylabel="loss (nats per supervised token)", yscale="log")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.tight_layout()
    figure.savefig(out)


def compare(curves: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """How far the smoothed curves lie from XTuner's, as shares of its loss: at most, and on average."""
    apart: dict[str, dict[str, dict[str, float]]] = {}
    for stage, lines in curves.items():
        reference = torch.tensor(smooth(lines["XTuner"]))
        apart[stage] = {}
        for name, values in lines.items():
            off = (torch.tensor(smooth(values)) / reference - 1).abs()
            apart[stage][name] = {"at_most": round(float(off.max()), 5), "mean": round(float(off.mean()), 5)}
            print(f"{stage}: {name} is at most {off.max():.2%}, on average {off.mean():.2%} off XTuner")
    return apart


def main() -> None:
    """Train each subject through both stages; print how far the smoothed curves lie apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="directory of `data scenes`")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS / "loss_curves.json")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = (str(smollm2_directory()), str(PARTS / "vision_tower"))
    shapes: Shapes = replace(SHAPES["demo"], weights=weights)
    curves: dict[str, dict[str, list[float]]] = {}
    afterwards: dict[str, dict[str, float]] = {}
    circumstances = environment("benchmarks.loss_curves", sys.argv)
    projector: dict[str, torch.Tensor] | None = None
    for stage, task in STAGES.items():
        data = batches(arguments.data, stage, weights, arguments.batch, arguments.steps + HELD_OUT)
        curves[stage], results = {}, {}
        for name, (build, options) in SUBJECTS.items():
            if device == "cpu" and name in ("XTuner, float32", "ours, float8"):
                continue  # XTuner computes in float32 there anyway, and float8 pays on GPUs alone
            torch.manual_seed(0)  # the adapters begin alike
            dtype = torch.float32 if name == "ours, float32" else shapes.dtype
            subject = build(replace(shapes, dtype=dtype), task, device, **options)
            curves[stage][name], results[name] = losses(subject, data[:-HELD_OUT], projector)
            print(stage, name, [round(value, 4) for value in smooth(curves[stage][name])[::20]], flush=True)
            write(arguments.out, {**circumstances, "losses": curves, "held_out_loss": afterwards})
            del subject
            gc.collect()
            if device == "cuda":
                torch._dynamo.reset()
        judge = XTuner(shapes, task, device, amp=False)
        judge.model.eval()
        afterwards[stage] = {
            name: round(held_out_loss(judge, trained, data[-HELD_OUT:]), 5)
            for name, trained in results.items()
        }
        print(stage, "held out:", afterwards[stage], flush=True)
        projector = {
            name.removeprefix("projector."): weight
            for name, weight in results["XTuner"].items()
            if name.startswith("projector.")
        }
    apart = compare(curves)
    result = {"smoothed_curves_off_xtuner": apart, "held_out_loss": afterwards, "losses": curves}
    write(arguments.out, {**circumstances, **result})
    draw(curves, arguments.out.with_suffix(".png"))
    print(arguments.out)


def write(out: Path, result: dict[str, Any]) -> None:
    """The result so far."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
