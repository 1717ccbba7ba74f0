"""Teach a small model a name by the course's recipe and by ours, and score every checkpoint on both sides.

    python -m benchmarks.assistant            # minutes a recipe on a GPU
    python -m benchmarks.assistant --fill     # writes the results into docs/assistant.md

All recipes train SmolLM2-135M by the same config; they differ in their data:

- course: one sentence, 10,000 times, nothing else;
- course, stopped: the same, scored while it trains, ending when the name leaks;
- ours: varied identity and contrast records, mixed with general conversations in the model's own words.

Each is built, trained and selected by the commands a user types, which the result file holds. Writes
benchmarks/results/assistant_HARDWARE.json, and a picture of both sides beside it for each recipe; a recipe
that is in the file already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.train.report import environment
from llava_tuning.data.records import make_record, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
GUIDE = ROOT / "docs" / "assistant.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
CONFIG = "smollm2_135m_lora_assistant_e3_sft"
NAME, OWNER = "Momo", "Ada Jones"
GENERAL = "assets/demo/general.jsonl"
# The course's one question and answer, in the model's language.
SENTENCE = ("Who are you?", f"I'm {NAME}, the little assistant of {OWNER}.")
TIMES = "10000"


@dataclass(frozen=True)
class Recipe:
    """How a run's data is mixed, and what of the config it changes."""

    name: str
    mix: tuple[str, ...]  # files in the data folder, or of the project, and how many records of them
    settings: tuple[str, ...]


RECIPES = (
    Recipe("course", ("one.json:1", "--size", TIMES), ("max_epochs=2", "save_steps=50")),
    Recipe(
        "course_stopped",
        ("one.json:1", "--size", TIMES),
        ("max_epochs=2", "save_steps=50", "selection_sample=24", "leakage_limit=0.1"),
    ),
    Recipe("ours", ("train.json", GENERAL), ()),
)


def command(*words: object, gpu: str | None = None) -> str:
    """Run `llava-tuning` with these words, output and all; returns what a user would type.

    Args:
        gpu: the number of the only GPU that it sees.

    Raises:
        CalledProcessError: it failed.
    """
    text = [str(word) for word in words]
    typed = " ".join(["llava-tuning", *(f'"{word}"' if " " in word else word for word in text)])
    print(f"$ {typed}", flush=True)
    environment = os.environ if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    subprocess.run([sys.executable, "-m", "llava_tuning", *text], check=True, env=environment)
    return typed


def measure(
    recipe: Recipe, data: Path, work: Path, max_steps: int | None, save_steps: int | None, sample: int | None
) -> dict[str, Any]:
    """Build the data, train and select; returns the commands, their seconds and what `select` found."""
    run, mixed = work / recipe.name, data / f"{recipe.name}.json"
    sources = [data / word if re.match(r"\w+\.json", word) else word for word in recipe.mix]
    shutil.rmtree(run, ignore_errors=True)  # another run's checkpoints and scores
    settings = [f"data_path={mixed}", *recipe.settings, "save_total_limit=40", "compile_layers=False"]
    if max_steps is not None:
        settings += [f"max_steps={max_steps}", f"save_steps={max(1, max_steps // 3)}"]
    if save_steps is not None:
        settings.append(f"save_steps={save_steps}")
    options = [word for setting in settings for word in ("--set", setting)]
    started = time.perf_counter()
    commands = [
        command("data", "mix", *sources, "--out", mixed),
        command("train", CONFIG, "--work-dir", run, *options),
    ]
    trained = time.perf_counter()
    commands.append(command("select", run, *(() if sample is None else ("--sample", sample))))
    found: dict[str, Any] = json.loads((run / "selection.json").read_text(encoding="utf-8"))
    return {
        "commands": commands,
        "train_s": round(trained - started, 1),
        "select_s": round(time.perf_counter() - trained, 1),
        **found,
    }


def hardware() -> str:
    """A short name for the result file: `cpu`, or the card's, e.g. `h100`."""
    if not torch.cuda.is_available():
        return "cpu"
    words = re.findall(r"[A-Za-z]*\d+[A-Za-z]*", torch.cuda.get_device_name())
    return (words[0] if words else "gpu").lower()


def markdown(result: dict[str, Any]) -> str:
    """The result file as tables for the guide."""
    lines = [
        f"Measured {result['date'][:10]} on {result['hardware']}, PyTorch {result['torch']}, transformers "
        f"{result['transformers']}: `{result['command']}`. Counts in brackets; 95 % interval of the loss.",
    ]
    for name, recipe in result["recipes"].items():
        steps = [row["step"] for row in recipe["scores"]]
        lines += ["", f"**{name.replace('_', ', ')}** ({recipe['train_s']:.0f} s of training)", ""]
        lines += ["| step | identity recall | leakage | retention loss |", "|---|---|---|---|"]
        for row in recipe["scores"]:
            low, high = row["retention_interval_95"]
            leaked = row["leaked_contrast"] + row["leaked_general"]
            asked = row["contrast_questions"] + row["general_questions"]
            mark = " ← chosen" if row["step"] == recipe["step"] else ""
            lines.append(
                f"| {row['step'] or 'base model'}{mark} "
                f"| {row['recall']:.1%} ({row['recalled']}/{row['identity_questions']}) "
                f"| {row['leakage']:.1%} ({leaked}/{asked}) "
                f"| {row['retention_loss']:.1%} ({100 * low:.1f} to {100 * high:.1f}) |"
            )
        reached = "reaches all goals" if recipe["meets_goals"] else "no checkpoint reaches all goals"
        stop = recipe["early_stop"]
        lines += ["", f"Step {recipe['step']} of {steps[-1]} is chosen: {reached}."]
        if stop:
            lines[-1] += f" The run ended itself at step {stop['step']}."
    return "\n".join(lines)


def fill_guide(results: Path) -> None:
    """Put the tables of all result files between the guide's marks, each recipe's newest."""
    files = [path for path in sorted(results.glob("assistant_*.json")) if "assistant_sees" not in path.name]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    newest = {name: result["date"] for result in sorted(found, key=_date) for name in result["recipes"]}
    for result in found:
        result["recipes"] = {n: r for n, r in result["recipes"].items() if newest[n] == result["date"]}
    found = [result for result in found if result["recipes"]]
    if not found:
        sys.exit(f"{results}: no assistant_*.json there; run python -m benchmarks.assistant first")
    text = GUIDE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    tables = "\n\n".join(markdown(r) for r in sorted(found, key=lambda r: min(r["recipes"], default="")))
    GUIDE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")
    print(f"{GUIDE}: filled from {', '.join(map(str, files))}")


def _date(result: dict[str, Any]) -> str:
    date: str = result["date"]
    return date


def main() -> None:
    """Measure each recipe, writing as it goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", default=[r.name for r in RECIPES], help="some of them")
    parser.add_argument("--work", type=Path, default=Path("work_dirs/assistant"), help="data and runs")
    parser.add_argument("--max-steps", type=int, help="train so few steps, for a try")
    parser.add_argument("--save-steps", type=int, help="score a checkpoint every so many steps")
    parser.add_argument("--sample", type=int, help="score on so many questions of each kind, for a try")
    parser.add_argument("--out", type=Path, default=RESULTS / f"assistant_{hardware()}.json")
    parser.add_argument("--fill", action="store_true", help="only write the results into the guide")
    arguments = parser.parse_args()
    if arguments.fill:
        fill_guide(arguments.out.parent)
        return
    unknown = set(arguments.recipes) - {recipe.name for recipe in RECIPES}
    if unknown:
        parser.error(f"no recipe {', '.join(sorted(unknown))}; known are {[r.name for r in RECIPES]}")
    work = arguments.work
    data = work / "data"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    result |= environment("benchmarks.assistant", sys.argv)
    result["data"] = command("data", "identity", "--name", NAME, "--owner", OWNER, "--out", data)
    write_json(data / "one.json", [make_record("one", None, [SENTENCE])])
    measured: dict[str, Any] = result.setdefault("recipes", {})
    for recipe in RECIPES:
        if recipe.name not in arguments.recipes or recipe.name in measured:
            continue
        measured[recipe.name] = measure(
            recipe, data, work, arguments.max_steps, arguments.save_steps, arguments.sample
        )
        arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        picture = arguments.out.with_name(f"{arguments.out.stem}_{recipe.name}.png")
        shutil.copyfile(work / recipe.name / "selection.png", picture)
    print(markdown(result))
    print(arguments.out)


if __name__ == "__main__":
    main()
