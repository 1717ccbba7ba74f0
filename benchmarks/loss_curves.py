"""The loss of XTuner's own step and of ours over the same batches, in the same order, from the same weights.

    llava-tuning data scenes --out data/scenes --count 13500 --size 112
    python -m benchmarks.loss_curves --data data/scenes [--steps 200] [--starts 3]

Both stages on the embedded model and drawn scenes, none seen twice: stage 1 trains the projector on captions,
from several random ones; stage 2, from a projector that XTuner trained, LoRA on conversations, from several
random adapters, without dropout, whose random numbers would differ. Training amplifies rounding, so XTuner in
float32 beside XTuner in float16 shows how far two runs of the same mathematics come apart. XTuner's float16
finds the scale of its loss by skipping updates; "scale settled" begins with one that it need not lower. What
each has trained is then given to XTuner's model in float32, for its loss on scenes that no run saw. Writes
benchmarks/results/loss_curves.json and .png; runs that are in the file already are not made again.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import itertools
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from llava_tuning.training import compat

compat.apply()

from benchmarks.train.report import environment  # noqa: E402
from benchmarks.train.shapes import SHAPES, Batch, Shapes, read_batches  # noqa: E402
from benchmarks.train.steps import Ours, Task, XTuner  # noqa: E402
from llava_tuning.models.default import PARTS  # noqa: E402
from llava_tuning.models.smollm2 import smollm2_directory  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
STAGES = {
    "pretrain": Task("pretrain", "frozen", lr=1e-3),
    "finetune": Task("finetune", "lora", rank=16, dropout=0.0, lr=2e-4),
}
SUBJECTS: dict[str, tuple[type, dict[str, Any]]] = {
    "XTuner": (XTuner, {}),
    "XTuner, scale settled": (XTuner, {"loss_scale": {"init_scale": 8192.0}}),
    "XTuner, float32": (XTuner, {"amp": False}),
    "ours, float32": (Ours, {"without": "compiled layers"}),
    "ours": (Ours, {"frozen_fp8": "backward"}),
    "ours, no float8": (Ours, {}),
    "ours, float8 both ways": (Ours, {"frozen_fp8": True}),
}
XTUNERS = ("XTuner", "XTuner, scale settled")
REFERENCES = (*XTUNERS, "ours, no float8")
SMOOTHING = 20  # steps of the moving average
HELD_OUT = 8  # batches
PROJECTOR_SEED = 3  # of the first start


def losses(
    subject: Any, data: list[Batch], projector: dict[str, torch.Tensor] | int
) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Each step's loss, and the trained weights; learning rate as in the configs.

    `projector` is what training starts from, or the seed of random numbers.
    """
    model, optimizer = subject.model, subject.optimizer
    if isinstance(projector, int):
        torch.manual_seed(projector)
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


def skipped_updates(subject: Any) -> int:
    """How often the loss's scale was halved, each time in place of an update."""
    scaler = getattr(subject.optimizer, "loss_scaler", None)
    if scaler is None:
        return 0
    return round(math.log2(scaler._init_scale / scaler.get_scale()))


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


def of(
    runs: list[dict[str, Any]], stage: str, against: str = REFERENCES[0]
) -> dict[str, dict[int, list[float]]]:
    """Each subject's smoothed curves of one stage, by start, where `against` was run from it too."""
    curves: dict[str, dict[int, list[float]]] = {}
    for run in runs:
        if run["stage"] == stage:
            curves.setdefault(run["subject"], {})[run["start"]] = smooth(run["losses"])
    reference = curves.get(against, {})
    shared = {
        n: {start: c for start, c in sorted(of_n.items()) if start in reference} for n, of_n in curves.items()
    }
    return {name: lines for name, lines in shared.items() if lines}


def mean(curves: Iterable[list[float]]) -> torch.Tensor:
    """Of several starts, (steps)."""
    return torch.tensor(list(curves), dtype=torch.float64).mean(dim=0)


def _lines(panel: Any, values: list[list[float]], colour: str, name: str) -> None:
    """Their mean, and pale each by itself, by the last step of each window."""
    steps = range(SMOOTHING, SMOOTHING + len(values[0]))
    for line in values:
        panel.plot(steps, line, color=colour, alpha=0.25, linewidth=0.7)
    panel.plot(steps, mean(values), color=colour, label=name, linewidth=1.4)
    panel.grid(alpha=0.3)


def draw(runs: list[dict[str, Any]], out: Path) -> None:
    """Panels of a stage: smoothed losses, and how far they lie off XTuner's; pale, each start by itself.

    A start that lies off by more than 4 % leaves its panel.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    stages = [stage for stage in STAGES if of(runs, stage)]
    if not stages:  # a part of a comparison, without XTuner's runs
        return
    references = [name for name in XTUNERS if any(name in of(runs, stage) for stage in stages)]
    figure, grid = pyplot.subplots(
        1 + len(references),
        len(stages),
        figsize=(5.5 * len(stages), 3.5 * (1 + len(references))),
        dpi=100,
        squeeze=False,
    )
    colours = dict(
        zip(
            SUBJECTS,
            ("#c0392b", "#d4ac0d", "#e59866", "#85c1e9", "#1f4e8c", "#8e44ad", "#27ae60"),
            strict=True,
        )
    )
    for column, stage in enumerate(stages):
        for name, lines in of(runs, stage).items():
            _lines(grid[0][column], list(lines.values()), colours[name], name)
        grid[0][column].set(title=stage, ylabel="loss (nats per supervised token)", yscale="log")
        grid[0][column].legend(fontsize=8)
        for row, against in enumerate(references, 1):
            curves = of(runs, stage, against)
            for name, lines in curves.items():
                off = [
                    [100 * (a / b - 1) for a, b in zip(line, curves[against][start], strict=True)]
                    for start, line in lines.items()
                ]
                _lines(grid[row][column], off, colours[name], name)
            grid[row][column].set(xlabel="step", ylabel=f"off {against} (%)", ylim=(-4, 4))
    figure.tight_layout()
    figure.savefig(out)


def by_start(shares: list[float]) -> dict[str, float]:
    """Mean over the starts of each one's share, and its standard error where there are several."""
    values = torch.tensor(shares, dtype=torch.float64)
    found = {"mean": round(float(values.mean()), 5)}
    if len(shares) > 1:
        found["standard_error"] = round(float(values.std() / len(shares) ** 0.5), 5)
    return found


def compare(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far the smoothed means over all starts lie from each of `REFERENCES`, as shares of its loss.

    `later` is without the windows that hold one of the first `SMOOTHING` steps. `last_by_start` compares
    each start's last smoothed loss, `held_out_by_start` its loss on held-out scenes.
    """
    held_out = {(run["stage"], run["subject"], run["start"]): run["held_out"] for run in runs}
    apart = []
    for stage, against in itertools.product(STAGES, REFERENCES):
        curves = of(runs, stage, against)
        for name, lines in curves.items():
            if name == against or (against not in XTUNERS and name in REFERENCES):  # said the other way round
                continue
            reference = [curves[against][start] for start in lines]
            off = mean(lines.values()) / mean(reference) - 1
            later = off[SMOOTHING:].abs()
            single = [mean([a]) / mean([b]) - 1 for a, b in zip(lines.values(), reference, strict=True)]
            unseen = [held_out[stage, name, n] / held_out[stage, against, n] - 1 for n in lines]
            apart.append(
                {
                    "stage": stage,
                    "subject": name,
                    "off": against,
                    "starts": len(lines),
                    "at_most": round(float(off.abs().max()), 5),
                    "mean": round(float(off.abs().mean()), 5),
                    "later_at_most": round(float(later.max()), 5),
                    "later_mean": round(float(later.mean()), 5),
                    "at_the_end": round(float(off[-1]), 5),
                    "last_by_start": by_start([float(one[-1]) for one in single]),
                    "held_out_by_start": by_start(unseen),
                    "single_starts_at_most": [round(float(one.abs().max()), 5) for one in single],
                    "later_single_starts_at_most": [
                        round(float(one[SMOOTHING:].abs().max()), 5) for one in single
                    ],
                }
            )
            print(
                f"{stage}: {name}, {len(lines)} starts: at most {off.abs().max():.2%}, on average "
                f"{off.abs().mean():.2%} off {against}; without the first steps {later.max():.2%} and "
                f"{later.mean():.2%}; in the end {off[-1]:+.2%}"
            )
    return apart


def main() -> None:
    """Train each subject from each start; print how far the smoothed curves lie apart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="directory of `data scenes`")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--starts", type=int, default=1, help="random projectors, or adapters, to start from")
    parser.add_argument("--from-start", type=int, default=0, help="leave out those before it")
    parser.add_argument("--merge", type=Path, nargs="*", default=[], help="files whose runs are added")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--subjects", default=";".join(SUBJECTS), help="separated by semicolons")
    parser.add_argument("--out", type=Path, default=RESULTS / "loss_curves.json")
    arguments = parser.parse_args()
    if arguments.steps < 2 * SMOOTHING:
        parser.error(f"--steps {arguments.steps}: a curve has {2 * SMOOTHING} or more")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = (str(smollm2_directory()), str(PARTS / "vision_tower"))
    shapes: Shapes = replace(SHAPES["demo"], weights=weights)
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"runs": []}
    circumstances = environment("benchmarks.loss_curves", sys.argv)
    if arguments.starts:
        result |= {key: value for key, value in circumstances.items() if key not in ("hardware", "date")}
    origin = {key: circumstances[key] for key in ("hardware", "date")}
    encoder = (PARTS / "vision_tower" / "model.safetensors").read_bytes()
    origin["encoder_sha256"] = hashlib.sha256(encoder).hexdigest()
    runs: list[dict[str, Any]] = result["runs"]
    for path in arguments.merge:
        made = [(run["stage"], run["subject"], run["start"]) for run in runs]
        other = json.loads(path.read_text(encoding="utf-8"))
        # Its runs name their own origin, but for those in old files.
        made_on = {key: other[key] for key in ("hardware", "date") if key in other}
        found = [{**made_on, **run} for run in other["runs"]]
        runs += [run for run in found if (run["stage"], run["subject"], run["start"]) not in made]
    runs.sort(key=lambda run: (list(STAGES).index(run["stage"]), run["start"]))
    start_of_stage_2 = arguments.out.with_suffix(".projector.safetensors")
    for stage in arguments.stages.split(",") if arguments.starts else ():
        task = STAGES[stage]
        data = read_batches(arguments.data, stage, weights, arguments.batch, arguments.steps + HELD_OUT)
        for start in range(arguments.from_start, arguments.starts):
            for name in arguments.subjects.split(";"):
                if device == "cpu" and (
                    name in ("XTuner, scale settled", "XTuner, float32") or "float8" in name
                ):
                    continue  # XTuner computes in float32 there anyway, and float8 pays on GPUs alone
                key = {"stage": stage, "subject": name, "start": start}
                if any(all(run[k] == v for k, v in key.items()) for run in runs):
                    continue
                build, options = SUBJECTS[name]
                torch.manual_seed(start if stage == "finetune" else 0)  # the adapters begin alike
                dtype = torch.float32 if name == "ours, float32" else shapes.dtype
                if device == "cpu" and build is Ours:  # as what its result file holds
                    options = {"without": "compiled layers"}
                subject = build(replace(shapes, dtype=dtype), task, device, **options)
                begin = PROJECTOR_SEED + start if stage == "pretrain" else load_file(start_of_stage_2)
                found, trained = losses(subject, data[:-HELD_OUT], begin)
                skipped = skipped_updates(subject)
                del subject
                gc.collect()
                torch._dynamo.reset()
                judge = XTuner(shapes, task, device, amp=False)
                judge.model.eval()
                held_out = round(held_out_loss(judge, trained, data[-HELD_OUT:]), 5)
                runs.append({**key, **origin, "skipped": skipped, "held_out": held_out, "losses": found})
                print(stage, name, start, [round(v, 4) for v in smooth(found)[::20]], held_out, flush=True)
                if stage == "pretrain" and name == "XTuner" and start == 0:
                    projector = {n.removeprefix("projector."): w for n, w in trained.items()}
                    save_file(projector, start_of_stage_2)
                write(arguments.out, result)
    result["smoothed_off"] = compare(runs)
    write(arguments.out, result)
    draw(runs, arguments.out.with_suffix(".png"))
    print(arguments.out)


def write(out: Path, result: dict[str, Any]) -> None:
    """The result so far."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
