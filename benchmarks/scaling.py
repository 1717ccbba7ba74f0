"""Samples a second of whole training runs on one GPU and on several, through `llava-tuning train`.

    python -m benchmarks.scaling --gpus 1,2,4 --tasks pretrain,lora,full [--together]

Each run is the command that a user types: the project's config, a folder of JPEG files, records with lengths
like LLaVA's, workers that read them, the loop with its log. Weights are random, of InternLM2-Chat's and CLIP
ViT-L/14-336's shapes. A GPU gets as many samples whatever their number. Those differ in length, so efficiency
is what the smallest run takes for a step of its median tokens a GPU as a share of what this run takes for as
many, each by a line through its steps. A run is ended after a number of steps; its first ones, which compile,
and steps that took five times the median do not count (all are in the file). Without a GPU, processes on the
CPU take their place.

With --together, runs that fit on the machine's GPUs beside each other are made at the same time. Writes
benchmarks/results/scaling_HARDWARE.json as it goes; runs that it holds already are not made again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llava_tuning.training import compat

compat.apply()

from benchmarks.assistant import RESULTS, hardware  # noqa: E402
from benchmarks.train.folders import write_models, write_pictures, write_projector, write_records  # noqa: E402
from benchmarks.train.report import environment  # noqa: E402
from benchmarks.train.shapes import SHAPES  # noqa: E402

PICTURES, RECORDS = 2500, 16000  # so many that no epoch ends within a run on eight GPUs
SIZES = {"tiny": (40, 200)}
OUTLIER = 5  # times the median


@dataclass(frozen=True)
class Task:
    """A config and how it is run."""

    config: str
    deepspeed: str | None = None
    settings: tuple[str, ...] = ()

    @property
    def stage(self) -> str:
        """Which of the two, for the data."""
        return "pretrain" if self.config.endswith("pretrain") else "finetune"

    @property
    def shapes(self) -> str:
        """The key of `SHAPES`."""
        return "internlm2_7b" if "_7b_" in self.config else "internlm2_1_8b"


def _config(size: str, what: str) -> str:
    return f"llava_internlm2_chat_{size}_{what}"


ENDING = "clip_vit_large_p14_336_e1_gpu8"
TASKS = {
    "pretrain": Task(_config("1_8b", f"{ENDING}_pretrain")),
    "lora": Task(_config("1_8b", f"lora_{ENDING}_finetune")),
    "full": Task(_config("1_8b", f"{ENDING}_finetune")),
    "full_zero2": Task(_config("1_8b", f"{ENDING}_finetune"), "zero2"),
    "full_zero3": Task(_config("1_8b", f"{ENDING}_finetune"), "zero3"),
    "7b_pretrain": Task(_config("7b", f"{ENDING}_pretrain")),
    "7b_lora": Task(_config("7b", f"lora_{ENDING}_finetune")),
    "7b_full_zero2": Task(_config("7b", f"{ENDING}_finetune"), "zero2"),
    "7b_full_zero3": Task(_config("7b", f"{ENDING}_finetune"), "zero3"),
}


class Run:
    """One run of a task on some GPUs."""

    def __init__(self, name: str, gpus: list[int], work: Path, shapes: str | None, extra: list[str]) -> None:
        task = TASKS[name]
        self.name, self.gpus, self.task = name, gpus, task
        self.folder = work / "runs" / f"{name}_{len(gpus)}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        size = shapes or task.shapes
        llm, tower = write_models(work / size, SHAPES[size])
        settings = [
            f"llm={llm}",
            f"vision_tower={tower}",
            f"data_path={records_file(work, task.stage, shapes)}",
        ]
        settings += [f"image_folder={work}", "evaluation_images=[]", "evaluation_inputs=[]"]
        settings += ["max_steps=1500", "save_steps=1500", *task.settings, *extra]
        if task.stage == "finetune":
            settings.append(f"projector_checkpoint={write_projector(work / size, SHAPES[size])}")
        command = [sys.executable, "-W", "ignore", "-m", "llava_tuning", "train", task.config]
        command += ["--work-dir", str(self.folder), "--nproc-per-node", str(len(gpus))]
        command += [word for setting in settings for word in ("--set", setting)]
        if task.deepspeed:
            command += ["--deepspeed", task.deepspeed]
        # Runs beside each other must not meet at torchrun's usual port.
        command += ["--", "--standalone"] if len(gpus) > 1 or task.deepspeed else []
        shown = {str(llm): "LLM", str(tower): "VISION_TOWER", str(work): "WORK", sys.executable: "python"}
        self.command = " ".join(command)
        for path, word in shown.items():
            self.command = self.command.replace(path, word)
        self.log = (self.folder / "output.log").open("w")
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(visible(gpus))}
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        self.started = time.monotonic()

    def rows(self) -> list[dict[str, Any]]:
        """The steps made so far."""
        for path in self.folder.rglob("loss.jsonl"):
            text = path.read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return []

    def end(self) -> None:
        """Stop all of the run's processes."""
        for which in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, which)
                try:
                    self.process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    continue
        # torchrun's workers are groups of their own children; what is left of the session goes too
        subprocess.run(["pkill", "-KILL", "-f", str(self.folder)], check=False)
        self.log.close()

    def wait(self, warm_up: int, steps: int, patience: float) -> dict[str, Any]:
        """Let it make its steps, end it, and say how fast it was; or `error`, with its output's end."""
        while self.process.poll() is None and time.monotonic() - self.started < patience:
            if len(self.rows()) >= warm_up + steps:
                break
            time.sleep(0.5)
        made = self.rows()
        rows = made[warm_up : warm_up + steps]
        took = time.monotonic() - self.started
        self.end()
        found = {"task": self.name, "gpus": len(self.gpus), "command": self.command, "run_s": round(took, 1)}
        if len(rows) < min(steps, 8):
            tail = (self.folder / "output.log").read_text(errors="replace")[-1500:]
            return {**found, "error": f"{len(rows)} steps after the first {warm_up} in {took:.0f} s: {tail}"}
        typical = statistics.median(row["seconds"] for row in rows)
        counted = [row for row in rows if row["seconds"] < OUTLIER * typical]
        seconds = sum(row["seconds"] for row in counted)
        per_second = sum(row["samples"] for row in counted) / seconds
        return {
            **found,
            "steps": len(counted),
            "warm_up": warm_up,
            "left_out": len(rows) - len(counted),
            "samples_per_s": round(per_second, 2),
            "samples_per_s_and_gpu": round(per_second / len(self.gpus), 2),
            "tokens_per_s": round(sum(row["tokens"] for row in counted) / seconds),
            "median_step_s": round(typical, 4),
            "waited": round(sum(row["waited"] for row in counted) / seconds, 4),
            "peak_gib": made[-1]["memory_gib"],
            "loss": round(statistics.fmean(row["loss"] for row in rows), 4),
            "step_s": [round(row["seconds"], 4) for row in made],
            "step_tokens": [row["tokens"] for row in made],
            "losses": [round(row["loss"], 4) for row in made],
        }


def records_file(work: Path, stage: str, shapes: str | None) -> Path:
    """Where a stage's records are; named by their number, so that none are taken for others."""
    _, records = SIZES.get(shapes or "", (PICTURES, RECORDS))
    return work / f"{stage}_{records}.json"


def visible(gpus: list[int]) -> list[str]:
    """The machine's names of these GPUs, counted among those that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [allowed.split(",")[i] if allowed else str(i) for i in gpus]


def waves(todo: list[tuple[str, int]], available: int, together: bool) -> list[list[tuple[str, list[int]]]]:
    """Which runs are made at the same time, on which GPUs."""
    made: list[list[tuple[str, list[int]]]] = []
    used = available
    for name, gpus in todo:
        if not together or used + gpus > available:
            made.append([])
            used = 0
        made[-1].append((name, list(range(used, used + gpus))))
        used += gpus
    return made


def typical_seconds(row: dict[str, Any], tokens: float | None = None) -> tuple[float, float]:
    """What a step of so many tokens a GPU takes, and those tokens; the run's median where they are None.

    By a line through the counted steps that single slow ones do not move (Theil and Sen's).
    """
    counted = slice(row["warm_up"], row["warm_up"] + row["steps"] + row["left_out"])
    seconds = row["step_s"][counted]
    sizes = [n / row["gpus"] for n in row["step_tokens"][counted]]
    steps = [(n, s) for n, s in zip(sizes, seconds, strict=True) if s < OUTLIER * statistics.median(seconds)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(steps, 2) if a[0] != b[0]]
    slope = statistics.median(slopes) if slopes else 0.0
    tokens = statistics.median(n for n, _ in steps) if tokens is None else tokens
    return statistics.median(s + slope * (tokens - n) for n, s in steps), tokens


def efficiency(row: dict[str, Any], least: dict[str, Any]) -> tuple[float | None, float]:
    """A GPU's speed as a share of its speed in the run on the fewest.

    Returns:
        in steps of as many tokens, by `typical_seconds`, which single slow steps do not move (None where
        steps' tokens were not kept); and of all tokens a second, which they do.
    """
    in_all = (row["tokens_per_s"] / row["gpus"]) / (least["tokens_per_s"] / least["gpus"])
    if "step_tokens" not in row or "step_tokens" not in least:
        return None, in_all
    expected, tokens = typical_seconds(least)
    return expected / typical_seconds(row, tokens)[0], in_all


def table(rows: list[dict[str, Any]]) -> str:
    """Each task's runs, with the efficiency against the smallest number of GPUs."""
    lines = []
    for row in sorted(rows, key=lambda row: (list(TASKS).index(row["task"]), row["gpus"])):
        if "error" in row:
            lines.append(f"{row['task']:14s} {row['gpus']} GPUs  {row['error'].splitlines()[-1][:120]}")
            continue
        ran = [r for r in rows if r["task"] == row["task"] and "error" not in r]
        least = min(ran, key=lambda r: r["gpus"])
        share, in_all = efficiency(row, least)
        lines.append(
            f"{row['task']:14s} {row['gpus']} GPUs  {row['samples_per_s']:8.2f} samples/s  "
            f"{row['samples_per_s_and_gpu']:7.2f} a GPU  of {least['gpus']} GPU's {in_all:6.1%} in all, "
            f"in equal steps {'?' if share is None else format(share, '.1%')}  "
            f"waited {row['waited']:5.1%}  {row['peak_gib']:5.1f} GiB"
        )
    return "\n".join(lines)


def main() -> None:
    """Make the runs, writing as it goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", default="1,2,4", help="numbers of GPUs, the order in which they are tried")
    parser.add_argument("--tasks", default="pretrain,lora,full")
    parser.add_argument("--steps", type=int, default=40, help="measured steps of a run")
    parser.add_argument("--warm-up", type=int, default=16, help="steps before those, which compile")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--patience", type=float, default=300, help="seconds after which a run is ended")
    parser.add_argument("--work", type=Path, default=Path("work_dirs/scaling"))
    parser.add_argument("--shapes", choices=SHAPES, help="instead of the config's")
    parser.add_argument("--set", action="append", default=[], help="a setting of every run")
    parser.add_argument("--out", type=Path, default=RESULTS / f"scaling_{hardware()}.json")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the runs as well
    arguments.work.mkdir(parents=True, exist_ok=True)
    pictures, records = SIZES.get(arguments.shapes, (PICTURES, RECORDS))
    write_pictures(arguments.work, pictures)
    for stage in ("pretrain", "finetune"):
        path = records_file(arguments.work, stage, arguments.shapes)
        if not path.exists():  # else another call's runs may be reading it
            write_records(path.with_suffix(".part"), stage, records, pictures)
            path.with_suffix(".part").replace(path)
    counts = [int(word) for word in arguments.gpus.split(",")]
    available = torch.cuda.device_count() or max(counts)
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"rows": []}
    circumstances = environment("benchmarks.scaling", sys.argv)
    result |= circumstances
    done = {(row["task"], row["gpus"]) for row in result["rows"] if "error" not in row}
    todo = [
        (t, n) for n in counts for t in arguments.tasks.split(",") if (t, n) not in done and n <= available
    ]
    for wave in waves(todo, available, arguments.together):
        for name, _ in wave:  # before the clock starts
            shapes = arguments.shapes or TASKS[name].shapes
            write_models(arguments.work / shapes, SHAPES[shapes])
        runs = [Run(name, gpus, arguments.work, arguments.shapes, arguments.set) for name, gpus in wave]
        beside = [f"{run.name} on {len(run.gpus)}" for run in runs]
        try:
            for i, run in enumerate(runs):
                found = run.wait(arguments.warm_up, arguments.steps, arguments.patience)
                row = {**found, "date": circumstances["date"], "beside": beside[:i] + beside[i + 1 :]}
                kept = [r for r in result["rows"] if (r["task"], r["gpus"]) != (row["task"], row["gpus"])]
                result["rows"] = [*kept, row]
                print(json.dumps(row), flush=True)
                arguments.out.parent.mkdir(parents=True, exist_ok=True)
                arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        finally:
            for run in runs:  # they would go on by themselves, and take the GPUs from the next
                run.end()
    print(table(result["rows"]))
    print(arguments.out)


if __name__ == "__main__":
    main()
